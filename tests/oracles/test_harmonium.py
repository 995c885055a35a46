"""Gaussian and categorical visible units, and deep belief networks, against sums and mixtures."""

import math

import pytest
import torch
from torch.distributions import Categorical as Choice
from torch.distributions import Independent, MixtureSameFamily, Normal

from pofx import catalogue
from pofx.batch import Batch
from pofx.ebm.belief_network import DBN, SmallDBN, tie
from pofx.ebm.energy import binary_states
from pofx.ebm.harmonium import AnnealedPath, Harmonium, SmallHarmonium
from pofx.ebm.interpolated_path import InterpolatedPath
from pofx.ebm.units import Bits, Categories, Normals
from pofx.errors import UserError
from pofx.evaluation.likelihood import likelihood
from pofx.mcmc.ais import ais, reverse_ais, temperatures
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")

TABLE = DataSpec((3,), Mixed((Categorical(3), Binary(), Categorical(4))))


def randomised(model, scale=1.0):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn_like(p))
    return model


def states(n: int) -> torch.Tensor:
    return binary_states(0, 2**n, n, torch.zeros(()))


def gaussian(visible=3, hidden=4) -> SmallHarmonium:
    model = randomised(SmallHarmonium(Normals((visible,)), hidden), 0.7)
    with torch.no_grad():
        model.visible.moments[0].normal_()
        model.visible.moments[1] = model.visible.moments[0] ** 2 + 2.0
    return model


def as_mixture(model: SmallHarmonium) -> MixtureSameFamily:
    """P(v) by its definition: a normal for each h, weighted by the integral of exp(-E(v, h))."""
    h = states(model.hidden_shape[0])
    sigma2 = 1 / model.visible.precision
    mu, mean = model.visible.mu, model.visible.mu + h @ model.weight
    weight = h @ model.hidden_bias + ((mean**2 - mu**2) / (2 * sigma2)).sum(1)
    normals = Independent(Normal(mean, sigma2.sqrt().expand_as(mean)), 1)
    return MixtureSameFamily(Choice(logits=weight), normals)


def test_a_gaussian_rbm_is_a_mixture_of_normals():
    model = gaussian()
    x = 3 * torch.randn(50, 3)
    assert torch.allclose(model.log_prob(x), as_mixture(model).log_prob(x), atol=1e-10)


def test_its_energy_is_that_of_the_paper():
    """Differences of E(v, h), since its constant is free."""
    model = gaussian()
    v, h = torch.randn(40, 3), torch.randint(0, 2, (40, 4)).double()
    s2 = 1 / model.visible.precision
    energy = (
        ((v - model.visible.mu) ** 2 / (2 * s2)).sum(1)
        - h @ model.hidden_bias
        - ((h @ model.weight) * v / s2).sum(1)
    )
    ours = -model.log_visible(v, h) + model.hidden_free_energy(h)
    apart = ours - energy
    assert torch.allclose(apart, apart[0].expand(40), atol=1e-10)


def test_its_conditionals_are_normal_and_bernoulli():
    model = gaussian()
    h = torch.tensor([1.0, 0, 1, 1]).expand(40_000, 4)
    v = model.draw_visible(h).detach()
    mean = (model.visible.mu + h[0] @ model.weight).detach()
    s = model.visible.precision.detach().rsqrt()
    assert torch.allclose(model.decode(h[:1])[0], mean)
    assert float(((v.mean(0) - mean) / s).abs().max()) < 5 / 200
    assert torch.allclose(v.std(0) / s, torch.ones(3), atol=5 / 280)
    x, each = torch.randn(6, 3), states(4)
    joint = model.log_visible(x.repeat_interleave(16, 0), each.repeat(6, 1)).view(6, 16)
    p = (joint - model.hidden_free_energy(each)).softmax(1)
    assert torch.allclose(model.encode(x), p @ each, atol=1e-10)


def test_its_chains_draw_from_the_mixture():
    model = randomised(SmallHarmonium(Normals((2,)), 2), 0.5)
    x = model.sample(20_000, sweeps=60)
    mixture = as_mixture(model)
    error = (x.mean(0) - mixture.mean) / (mixture.variance / 20_000).sqrt()
    assert float(error.abs().max().detach()) < 5
    assert torch.allclose(x.var(0) / mixture.variance, torch.ones(2), atol=0.06)


def sandwich(model, betas, ends):
    """Log Z from below and from above, as many chains as there are examples of the model."""
    path = AnnealedPath(model)
    back = reverse_ais(path, betas, path.state(model.visible.read(ends)))
    return ais(path, betas, len(ends)), back


def test_a_gaussian_rbm_s_log_z_lies_between_its_two_estimates():
    model = gaussian()
    log_z = model.exact_log_partition().item()
    ends = as_mixture(model).sample((200,))
    forward, backward = sandwich(model, temperatures(1000), ends)
    assert forward.log_z - 3 * forward.stderr <= log_z <= backward.log_z + 3 * backward.stderr
    assert abs(forward.log_z - log_z) < min(0.1, 5 * forward.stderr + 1e-3)
    assert abs(backward.log_z - log_z) < min(0.1, 5 * backward.stderr + 1e-3)


def test_a_gaussian_rbm_learns_a_mixture_and_its_width():
    """Two clusters that a chain goes between: a single hidden unit is enough."""
    torch.set_default_dtype(torch.float32)
    mean = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    truth = MixtureSameFamily(
        Choice(torch.tensor([0.3, 0.7])), Independent(Normal(mean, torch.full((2, 2), 0.7)), 1)
    )
    x = truth.sample((4000,))
    training = Training(catalogue.build("gaussian-rbm", DataSpec((2,)), hidden=1, k=1, lr=0.02))

    def batches():
        while True:
            yield from (Batch(part) for part in x[torch.randperm(len(x))].split(100))

    for _ in train(training, batches(), Budget(steps=1000)):
        pass
    model = training.model
    with torch.no_grad():
        short = float((truth.log_prob(x) - model.log_prob(x)).mean())
        assert abs(short) < 0.01
        assert torch.allclose(model.visible.precision.rsqrt(), torch.full((2,), 0.7), atol=0.02)


def categorical(hidden=3) -> SmallHarmonium:
    model = randomised(SmallHarmonium(Categories(TABLE), hidden))
    with torch.no_grad():
        model.visible.moments.mul_(torch.rand(12) + 0.5)
    return model


def rows() -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.arange(4.0)).double()


def test_softmax_units_sum_out_by_either_side_and_to_one():
    model = categorical()
    x, h = rows(), states(3)
    one_hot = torch.zeros(24, 3, 4).scatter(2, x.long()[:, :, None], 1.0).flatten(1)
    joint = (
        (one_hot @ model.visible.bias)[:, None]
        + h @ model.hidden_bias
        + one_hot @ model.weight.T @ h.T
    )
    assert torch.allclose(-model.energy(x), joint.logsumexp(1), atol=1e-12)
    assert torch.allclose(-model.hidden_free_energy(h), joint.logsumexp(0), atol=1e-12)
    assert math.isclose(float(model.log_prob(x).exp().sum().detach()), 1.0, abs_tol=1e-10)
    wide = randomised(SmallHarmonium(Categories(TABLE), 6))
    assert math.isclose(float(wide.log_prob(x).exp().sum().detach()), 1.0, abs_tol=1e-10)


def test_softmax_units_of_two_levels_are_bits():
    """Only the difference of two units counts, so an RBM of bits is a special case."""
    bits = randomised(SmallHarmonium(Bits((4,)), 3))
    both = SmallHarmonium(Categories(DataSpec((4,), Categorical(2))), 3)
    with torch.no_grad():
        both.weight.zero_()[:, 1::2] = bits.weight
        both.visible.bias.zero_()[1::2] = bits.visible.bias
        both.hidden_bias.copy_(bits.hidden_bias)
    assert torch.allclose(both.log_prob(states(4)), bits.log_prob(states(4)), atol=1e-10)


def test_rows_are_drawn_with_their_probabilities():
    model = categorical()
    p = model.log_prob(rows()).exp().detach()
    x = model.sample(20_000, sweeps=40)
    share = torch.bincount((x @ torch.tensor([8.0, 4, 1])).long(), minlength=24) / 20_000
    z = (share - p) / (p * (1 - p) / 20_000).sqrt()
    assert float(z.abs().max()) < 5


def test_rows_are_completed_with_their_conditional_probabilities():
    model = categorical()
    model.sweeps = 40
    p = model.log_prob(rows()).exp().detach().view(3, 2, 4)[2]
    known = torch.tensor([True, False, False])
    x = model.complete(torch.tensor([[2.0, math.nan, math.nan]]).expand(10_000, 3), known)
    assert bool((x[:, 0] == 2).all())
    share = torch.bincount((x[:, 1:] @ torch.tensor([4.0, 1])).long(), minlength=8) / 10_000
    given = (p / p.sum()).flatten()
    z = (share - given) / (given * (1 - given) / 10_000).sqrt()
    assert float(z.abs().max()) < 5


def test_softmax_units_log_z_lies_between_its_two_estimates():
    model = categorical()
    log_z = model.exact_log_partition().item()
    p = model.log_prob(rows()).exp().detach()
    ends = rows()[torch.multinomial(p, 200, replacement=True)]
    forward, backward = sandwich(model, temperatures(500), ends)
    assert forward.log_z - 3 * forward.stderr <= log_z <= backward.log_z + 3 * backward.stderr
    assert abs(forward.log_z - log_z) < 0.05
    assert abs(backward.log_z - log_z) < 0.05


@pytest.mark.parametrize(("kind", "of"), [(Bits, (5,)), (Categories, TABLE), (Normals, (5,))])
def test_without_weights_ais_from_the_units_themselves_is_exact(kind, of):
    units = kind(of)
    model = randomised(SmallHarmonium(units, 3), 0.5)
    with torch.no_grad():
        model.weight.zero_()
    found = model.ais([0.0, 0.4, 1.0], 10, base=units.natural().detach())
    assert math.isclose(found.log_z, model.exact_log_partition().item(), abs_tol=1e-10)
    assert float(found.log_weights.std()) < 1e-10


@pytest.mark.parametrize(("kind", "of"), [(Bits, (5,)), (Categories, TABLE), (Normals, (3,))])
def test_between_two_harmoniums_the_ratio_of_constants_is_exact_to_its_error(kind, of):
    a, b = (randomised(SmallHarmonium(kind(of), 3, sweeps=50), 0.5) for _ in range(2))
    with torch.no_grad():
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            q.copy_(p + 0.2 * q)
    log_z = float(b.exact_log_partition().detach())
    path = InterpolatedPath(a, b, log_z=float(a.exact_log_partition().detach()), sweeps=50)
    betas = torch.linspace(0, 1, 50).tolist()
    with torch.no_grad():
        forward = ais(path, betas, 500)
        backward = reverse_ais(path, betas, path.state(b.sample(500)))
    for estimate in (forward, backward):
        assert abs(estimate.log_z - log_z) < min(0.05, 4 * estimate.stderr)


def test_units_begin_where_the_data_are():
    x = torch.tensor([[0.0, 1, 3], [0, 0, 2], [2, 1, 2], [0, 1, 2]])
    units = Categories(TABLE)
    units.observe(units.powers(units.read(x)).sum(0), torch.tensor(4))
    shares = units.mean(units.bias[None], units.natural()).view(3, 4)
    assert torch.allclose(shares[1, :2], torch.tensor([1.25, 3.25]) / 4.5)
    assert torch.allclose(shares[0, 3:], torch.zeros(1)), "a column of three levels has no fourth"
    normals = Normals((2,))
    y = torch.randn(1000, 2) * torch.tensor([1.0, 3.0]) + 2
    normals.observe(normals.powers(y).sum(0), torch.tensor(1000))
    assert torch.allclose(normals.mu, y.mean(0))
    assert torch.allclose(normals.log_sigma.exp(), y.std(0, correction=0))


def test_recipes_refuse_what_their_units_cannot_be():
    for kind in (Bytes(17), Mixed((Real(), Binary()))):
        with pytest.raises(RecipeError, match="bits or categories"):
            catalogue.build("rbm", DataSpec((2,), kind))
    with pytest.raises(RecipeError, match="rbm takes bits and categories"):
        catalogue.build("gaussian-rbm", DataSpec((2,), Binary()))
    with pytest.raises(RecipeError, match="rbm is the model of one"):
        catalogue.build("dbn", DataSpec((12,), Binary()), hidden=(4,))
    with pytest.raises(RecipeError, match="rbm is the model of one"):
        catalogue.build("dbn", DataSpec((12,), Binary()), hidden=())


@pytest.mark.parametrize("name", ["rbm", "gaussian-rbm", "dbn", "boltzmann", "deep-energy"])
def test_an_error_of_log_z_takes_two_chains(name):
    spec = DataSpec((3,)) if name in ("gaussian-rbm", "deep-energy") else DataSpec((6,), Binary())
    catalogue.build(name, spec, chains=2)
    with pytest.raises(RecipeError, match="--chains must be at least 2"):
        catalogue.build(name, spec, chains=1)


@pytest.mark.parametrize("name", ["rbm", "gaussian-rbm", "dbn", "boltzmann"])
def test_weights_are_not_made_to_grow(name):
    spec = DataSpec((4,), Real() if name == "gaussian-rbm" else Binary())
    with pytest.raises(RecipeError, match="--weight-decay must be at least 0"):
        catalogue.build(name, spec, weight_decay=-1e-4)


def network(visible=5, widths=(4, 3), kind=SmallDBN) -> DBN:
    lower = Harmonium(Bits((visible,)), widths[0])
    return randomised(kind([lower, SmallHarmonium(Bits((widths[0],)), widths[1])], depth=2))


def exact(model: DBN, x: torch.Tensor) -> torch.Tensor:
    """Log p(v) = log of the sum over h of p(v | h) p(h)."""
    lower, top = model.layers
    h = states(lower.hidden_shape[0])
    given = torch.stack([lower.log_visible(x, row.expand(len(x), -1)) for row in h], 1)
    return (given + top.log_prob(h)).logsumexp(1)


def test_a_dbn_s_bound_is_below_and_is_what_the_sum_says():
    model = network()
    x = states(5)
    truth = exact(model, x)
    assert math.isclose(float(truth.exp().sum().detach()), 1.0, abs_tol=1e-10)
    h = states(4)
    q = torch.distributions.Bernoulli(logits=model.layers[0].hidden_parameters(x)[:, None])
    log_q = q.log_prob(h).sum(2)
    given = torch.stack([model.layers[0].log_visible(x, row.expand(32, -1)) for row in h], 1)
    bound = (log_q.exp() * (given + model.layers[1].log_prob(h) - log_q)).sum(1)
    assert bool((bound < truth).all())
    drawn = torch.stack([model.elbo(x) for _ in range(2000)])
    z = (drawn.mean(0) - bound) / (drawn.std(0) / 2000**0.5)
    assert float(z.detach().abs().max()) < 5


def test_a_dbn_of_tied_weights_is_its_rbm():
    rbm = randomised(SmallHarmonium(Bits((5,)), 4))
    lower = Harmonium(Bits((5,)), 4)
    lower.load_state_dict(rbm.state_dict())
    top = SmallHarmonium(Bits((4,)), 5)
    tie(lower, top)
    model = SmallDBN([lower, top], depth=2)
    x = states(5)
    assert torch.allclose(exact(model, x), rbm.log_prob(x), atol=1e-10)
    for _ in range(3):
        assert torch.allclose(model.elbo(x), rbm.log_prob(x), atol=1e-10), "no draw differs"


def test_units_left_over_hardly_move_a_tied_dbn():
    rbm = randomised(SmallHarmonium(Bits((5,)), 4))
    top = SmallHarmonium(Bits((4,)), 9)
    tie(rbm, top)
    x = states(5)
    assert torch.allclose(SmallDBN([rbm, top], depth=2).elbo(x), rbm.log_prob(x), atol=0.2)
    narrow = SmallHarmonium(Bits((4,)), 3)
    before = narrow.weight.clone()
    tie(rbm, narrow)
    assert torch.equal(narrow.weight, before)


def test_a_dbn_s_samples_follow_the_sum():
    model = network(3, (3, 2))
    p = exact(model, states(3)).exp().detach()
    x = model.sample(20_000, sweeps=80)
    share = torch.bincount((x @ torch.tensor([4.0, 2, 1])).long(), minlength=8) / 20_000
    assert float(((share - p) / (p * (1 - p) / 20_000).sqrt()).abs().max()) < 5


def test_a_dbn_of_one_layer_so_far_is_its_rbm():
    model = network()
    model.depth -= 1
    rbm = SmallHarmonium(Bits((5,)), 4)
    rbm.load_state_dict(model.layers[0].state_dict())
    x = states(5)
    assert torch.equal(model.energy_bound(x), rbm.energy(x))
    assert torch.equal(model.decode(model.encode(x)), rbm.decode(rbm.encode(x)))


def test_a_large_dbn_s_figure_is_an_estimate_of_the_bound():
    model = network(kind=DBN)
    model.top.temperatures = 300
    x = states(5)
    said = likelihood(model, x, None, DataSpec((5,), Binary()))
    assert said.kind == "estimate"
    assert "of a bound" in said.detail
    small = SmallDBN(list(model.layers), depth=2)
    bound = likelihood(small, x, None, DataSpec((5,), Binary()))
    assert bound.kind == "bound"
    assert abs(said.nats - bound.nats) < 0.1


def test_layers_are_trained_one_after_the_other_and_each_begins_as_its_rbm():
    spec = DataSpec((6,), Binary())
    recipe = catalogue.build("dbn", spec, hidden=(6, 6), steps=20, batch_size=10)
    training = Training(recipe)
    first, second = training.model.layers
    assert training.model.top is first
    x = torch.randint(0, 2, (10, 6)).double()
    start = second.weight.clone()
    for i in range(10):
        assert training.train_step(Batch(x, progress=i / 20))["layer"] == 1
    assert torch.equal(second.weight, start)
    begins = training.objective.updates(Batch(x, progress=0.5))
    next(begins)  # no step is taken yet
    begins.close()
    assert not torch.equal(second.weight, start)
    assert torch.equal(second.weight, first.weight.T)
    assert torch.equal(second.visible.bias, first.hidden_bias)
    assert training.model.top is second
    kept = first.weight.clone()
    begun, draw_visible = [], second.draw_visible
    second.draw_visible = lambda h: begun.append(h.clone()) or draw_visible(h)
    for i in range(10, 20):
        assert training.train_step(Batch(x, progress=i / 20))["layer"] == 2
    assert set(begun[0].flatten().tolist()) == {0.0, 1.0}, "chains are states from the first step"
    assert torch.equal(first.weight, kept)
    assert not torch.equal(second.weight, first.weight.T)
    assert training.train_step(Batch(x, progress=0.1))["layer"] == 2, "of a longer budget"


def test_a_dbn_resumes_on_either_side_of_a_layer_s_start():
    torch.set_default_dtype(torch.float32)
    batches = [Batch(torch.randint(0, 2, (10, 6)).float(), progress=i / 8) for i in range(8)]

    def begun():
        torch.manual_seed(0)
        return Training(catalogue.build("dbn", DataSpec((6,), Binary()), hidden=(6, 6)))

    whole = begun()
    for batch in batches:
        whole.train_step(batch)
    for half in (3, 4, 5):
        first, rest = begun(), begun()
        for batch in batches[:half]:
            first.train_step(batch)
        tensors, numbers = first.state()
        rest.load_state({k: v.clone() for k, v in tensors.items()}, numbers)
        for batch in batches[half:]:
            rest.train_step(batch)
        for key, value in whole.state()[0].items():
            assert torch.equal(value, rest.state()[0][key]), (half, key)


def test_the_loss_of_a_layer_is_logged_whole_and_its_gradient_falls():
    torch.set_default_dtype(torch.float32)
    recipe = catalogue.build("dbn", DataSpec((6,), Binary()), hidden=(6, 4), steps=20)
    objective, x = recipe.objective, torch.randint(0, 2, (10, 6)).float()
    for progress, share in ((0.0, 1.0), (0.25, 0.5), (0.4, 0.2)):
        (update,) = objective.updates(Batch(x, progress=progress))
        weight = objective.model.layers[0].weight
        whole, scaled = (
            torch.autograd.grad(loss, weight, retain_graph=True)[0]
            for loss in (update.metrics["energy_gap"], update.loss)
        )
        assert torch.equal(update.loss, update.metrics["energy_gap"])
        assert torch.allclose(scaled, share * whole, atol=1e-7)
        assert float(whole.abs().max()) > 0


def test_a_dbn_learns_beyond_its_rbm():
    """On bars: the bound of the second layer is above the first layer's likelihood."""
    torch.set_default_dtype(torch.float32)
    bars = torch.zeros(8, 4, 4)
    for i in range(4):
        bars[i, i], bars[4 + i, :, i] = 1.0, 1.0
    x = bars.flatten(1)
    recipe = catalogue.build(
        "dbn", DataSpec((16,), Binary()), hidden=(8, 16), steps=2000, batch_size=40, lr=0.2
    )
    training = Training(recipe)

    def batches():
        while True:
            yield Batch(x[torch.randint(0, 8, (40,))])

    for _ in train(training, batches(), Budget(steps=2000)):
        pass
    model = training.model
    lower = SmallHarmonium(Bits((16,)), 8)
    lower.load_state_dict(model.layers[0].state_dict())
    with torch.no_grad():
        before = float(lower.log_prob(x).mean())
        after = float(torch.stack([model.elbo(x) for _ in range(50)]).mean())
    assert before < after - 0.05, (before, after)
    assert after < math.log(1 / 8) + 0.02, "no model does better than the data's entropy"


def test_a_path_refuses_nothing_and_keeps_its_moments():
    path = AnnealedPath(gaussian())
    start = path.start(50_000).v
    mean, square = path.visible.moments
    assert torch.allclose(start.mean(0), mean, atol=0.05)
    assert torch.allclose((start**2).mean(0), square, atol=0.3)
    with pytest.raises(UserError, match="at least 2"):
        catalogue.build("gaussian-rbm", DataSpec((2,)), temperatures=1)
