"""Energies trained by chains and by noise against closed forms, and their constants."""

import math

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.capabilities import Density, Energy, Normalizer, NormalizerAbove, Samples, Score
from pofx.ebm.langevin_contrast import DataChains, Diverged, ReplayChains, Walk
from pofx.ebm.noise_contrastive import NoiseContrastive
from pofx.ebm.normalized_energy import AnnealedEnergy, GridEnergy, network_energy
from pofx.ebm.reference import Reference
from pofx.ebm.score_objectives import Denoising
from pofx.errors import UserError
from pofx.evaluation.likelihood import likelihood
from pofx.functional.gradients import score_of
from pofx.functional.noise_contrastive import noise_contrastive
from pofx.functional.random import noise
from pofx.recipe import RecipeError
from pofx.spec import Binary, DataSpec, Interval, Mixed, Real
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")


class Normal(nn.Module):
    """The energy of N(0, v), with a constant of its own."""

    spec = DataSpec((1,))

    def __init__(self, v=1.0, constant=0.0):
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(1 / v))
        self.constant = nn.Parameter(torch.tensor(constant))

    def potential(self, y):
        return self.precision * y[:, 0].square() / 2 + self.constant

    def start(self, n):
        return 3 * torch.randn(n, 1)

    def base_energy(self, y):
        return y[:, 0].square() / (2 * 3**2)


def slope(objective, x):
    """The gradient of one update's loss by the model's precision, and a standard error of it."""
    (update,) = objective.updates(Batch(x))
    (gradient,) = torch.autograd.grad(update.loss, objective.model.precision)
    return float(gradient), math.sqrt(2 / len(x))


@pytest.mark.parametrize("step", [0.1, 0.5])
@pytest.mark.parametrize("k", [1, 4])
def test_contrastive_divergence_rests_where_langevin_s_bias_lets_it(step, k):
    """Data of variance 1 and chains of an energy of variance v agree where v = (1 + sqrt(1 - step))
    / 2, for any number of steps.
    """
    x = torch.randn(200_000, 1)
    x = (x - x.mean()) / x.std()
    v = (1 + math.sqrt(1 - step)) / 2
    assert abs(v - {0.1: 0.974342, 0.5: 0.853553}[step]) < 1e-6
    rest, error = slope(DataChains(Normal(v), Walk(k, step)), x)
    assert abs(rest) < 4 * error
    wrong, _ = slope(DataChains(Normal(1.0), Walk(k, step)), x)
    # one step from a right energy widens chains by step / 4 of a variance
    assert abs(wrong) > 0.8 * step**2 / 8
    if step > 0.1:
        assert abs(wrong) > 8 * error


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_adjusted_steps_have_no_bias(temperature):
    """At a temperature of T the chains of N(0, 1) are those of N(0, T)."""
    walk = Walk(20, 0.8, temperature, adjusted=True)
    y = walk(Normal(1.0), temperature**0.5 * torch.randn(100_000, 1))
    assert abs(float(y.var()) / temperature - 1) < 5 * (2 / 100_000) ** 0.5


def test_jumping_chains_find_the_weights_of_modes():
    """Chains that all start in one of two far modes of equal weight."""

    class Pair(Normal):
        def potential(self, y):
            return -(-(y - torch.tensor([-3.0, 3.0])).square() / (2 * 0.3**2)).logsumexp(1)

    walk = Walk(2, 0.01, adjusted=True, jumps=10)
    objective = ReplayChains(Pair(), walk, examples=2000, fresh=0.0)
    objective.buffer.chains.fill_(-3.0)
    objective.buffer.alive.fill_(True)
    for _ in range(8):
        list(objective.updates(Batch(torch.zeros(2000, 1))))
    assert abs(float((objective.buffer.chains > 0).double().mean()) - 0.5) < 0.06


@pytest.mark.parametrize(("jumps", "sees"), [(0, False), (20, True)])
def test_contrastive_divergence_sees_how_modes_are_weighed_where_chains_jump(jumps, sees):
    """Half the data in each of two far modes, and a model that puts 73% in the left one: the
    gradient by the log of its odds is the share of chains there less a half.
    """

    class Pair(Normal):
        def potential(self, y):
            far = -(y - torch.tensor([-3.0, 3.0])).square() / (2 * 0.5**2)
            return -(far + self.constant * torch.tensor([1.0, 0.0])).logsumexp(1)

    x = 0.5 * torch.randn(4000, 1) + torch.tensor([-3.0, 3.0]).repeat(2000)[:, None]
    objective = DataChains(Pair(constant=1.0), Walk(2, 0.01, adjusted=True, jumps=jumps))
    (update,) = objective.updates(Batch(x))
    (slope,) = torch.autograd.grad(update.loss, objective.model.constant)
    truth = 1 / (1 + math.exp(-1)) - 0.5
    assert (abs(float(slope) - truth) < 0.04) if sees else (abs(float(slope)) < 1e-6)


def test_the_loss_is_the_gap_and_the_size_of_energies():
    model, x = Normal(0.5, 2.0), torch.randn(50, 1)
    plain, weighed = (DataChains(model, energy_decay=a) for a in (0.0, 0.3))
    with noise(0, 50):
        (a,) = plain.updates(Batch(x))
    with noise(0, 50):
        (b,) = weighed.updates(Batch(x))
    assert torch.equal(a.loss, a.metrics["energy_gap"])
    data, gap = model.potential(x), a.metrics["energy_gap"]
    assert torch.allclose(a.metrics["energy_data"], data.mean())
    with noise(0, 50):
        chains = model.potential(plain.negatives(x))
    assert torch.allclose(gap, data.mean() - chains.mean(), atol=1e-12)
    size = (data.square() + chains.square()).mean()
    assert torch.allclose(b.loss, gap + 0.3 * size, atol=1e-12)


def test_replayed_chains_reach_the_model():
    model = Normal(0.25)
    objective = ReplayChains(model, Walk(20, 0.05), examples=2000, slots=2, fresh=0.0)
    for _ in range(12):
        list(objective.updates(Batch(torch.zeros(2000, 1))))
    assert bool(objective.buffer.alive.double().mean() > 0.99)
    variance = float(objective.buffer.chains.var())
    assert abs(variance / (0.25 / (1 - 0.05)) - 1) < 0.1, "that of Langevin dynamics"


def test_chains_go_on_start_anew_and_are_shared_by_micro_batches():
    model, x = Normal(), torch.zeros(6, 1)
    still = Walk(1, 1e-12)
    objective = ReplayChains(model, still, examples=6, slots=1, fresh=0.0)
    list(objective.updates(Batch(x)))
    before = objective.buffer.chains.clone()
    list(objective.updates(Batch(x)))
    assert torch.allclose(objective.buffer.chains, before, atol=1e-4)
    objective.fresh = 1.0
    with noise(0, 6):
        list(objective.updates(Batch(x)))
    whole = objective.buffer.chains.clone()
    assert float((whole - before).abs().min()) > 1e-3
    streams = [objective.updates(Batch(part)) for part in x.split(2)]
    for i, stream in enumerate(streams):
        with noise(0, 2, first=2 * i):
            next(stream)
    assert [next(s, None) for s in streams] == [None] * 3
    assert torch.allclose(objective.buffer.chains, whole, atol=1e-12)
    with pytest.raises(UserError, match="at most 6 examples"):
        list(objective.updates(Batch(torch.zeros(7, 1))))


def test_a_chain_that_overflows_starts_again():
    objective = ReplayChains(Normal(), Walk(1, 0.1), examples=3, slots=1, fresh=0.0)
    list(objective.updates(Batch(torch.zeros(3, 1))))
    objective.buffer.chains[1] = float("nan")
    (update,) = objective.updates(Batch(torch.zeros(3, 1)))
    assert bool(update.loss.isfinite())
    assert bool(objective.buffer.chains.isfinite().all())


def test_a_run_that_blows_up_says_so():
    with pytest.raises(Diverged, match=r"nats apart; lower --lr or --step-size"):
        list(DataChains(Normal(1.0), Walk(1, 1e4)).updates(Batch(torch.randn(10, 1))))


def quantiles(distribution, n=20_000):
    return distribution.icdf((torch.arange(n) + 0.5) / n)


@pytest.mark.parametrize("ratio", [1.0, 5.0])
def test_noise_contrastive_estimation_recovers_log_z(ratio):
    """Data of variance 0.5; the energy's constant ends at its log Z."""
    normal = torch.distributions.Normal
    x, y = quantiles(normal(0.0, 0.5**0.5)), quantiles(normal(0.0, 1.5))
    model, noisy = Normal(2.0, 0.3), Reference(DataSpec((1,)), 1.5)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=200, tolerance_grad=1e-11, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        g = [-model.potential(z[:, None]) - noisy.log_prob(z[:, None]) for z in (x, y)]
        loss = noise_contrastive(*g, ratio)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(float(model.precision.detach()) - 2.0) < 5e-3
    assert abs(float(model.constant.detach()) - 0.5 * math.log(2 * math.pi * 0.5)) < 2e-3


def test_the_objective_is_the_loss_of_its_own_noise():
    model, x = Normal(0.5, 0.1), torch.randn(40, 1)
    objective = NoiseContrastive(model, Reference(DataSpec((1,)), 2.0), ratio=3, log_z=0.7)
    with noise(1, 40):
        loss, metrics = objective.loss(Batch(x))
    with noise(1, 40):
        y = torch.cat([2 * torch.randn(40, 1) for _ in range(3)])
    expected = noise_contrastive(objective.log_ratio(x), objective.log_ratio(y), 3)
    assert torch.allclose(loss, expected, atol=1e-12)
    assert 0.5 < float(metrics["told_apart"]) < 1
    base = torch.distributions.Normal(0.0, 2.0).log_prob(x[:, 0])
    by_hand = -x[:, 0].square() - 0.1 - 0.7 - base
    assert torch.allclose(objective.log_ratio(x), by_hand, atol=1e-12)


class Quadratic(nn.Module):
    """f(y) = |y - 1|^2: tilts N(0, 4) into another normal."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor(1.0))

    def forward(self, y):
        return (y - self.centre).square().sum(1, keepdim=True)


def tilted_log_z(d):
    """Of exp(-(y - 1)^2 - y^2 / 8) in d dimensions."""
    a = 2 + 1 / 4
    return d * (0.5 * math.log(2 * math.pi / a) - 1 + (2 / a) ** 2 * a / 2)


@pytest.mark.parametrize("d", [1, 2])
def test_log_z_on_a_grid_is_that_of_the_tilted_normal(d):
    model = GridEnergy(Quadratic(), DataSpec((d,)))
    log_z, error = model.log_partition()
    assert abs(log_z - tilted_log_z(d)) < 1e-9
    assert error < 1e-9


def test_log_z_by_annealed_importance_sampling_is_within_its_error():
    model = AnnealedEnergy(
        Quadratic(), DataSpec((5,)), temperatures=200, chains=500, step=0.3, sampling_steps=100
    )
    for log_z, error in (model.log_partition(), model.log_partition_above()):
        assert abs(log_z - tilted_log_z(5)) < 4 * error
        assert error < 0.1


def test_its_likelihood_is_an_estimate_and_says_so():
    model = GridEnergy(Quadratic(), DataSpec((2,)))
    x = torch.randn(50, 2)
    said = likelihood(model, x, None, model.spec)
    assert said.kind == "estimate"
    assert "log Z" in said.detail
    variance, mean = 4 / 9, 8 / 9
    truth = torch.distributions.Normal(mean, variance**0.5).log_prob(x).sum(1).mean()
    assert abs(said.nats - float(truth)) < 1e-9


def test_samples_and_score_are_those_of_the_energy():
    model = GridEnergy(Quadratic(), DataSpec((2,)), step=0.1, sampling_steps=60)
    x = model.sample(20_000)
    variance = 4 / 9
    biased = variance / (1 - 0.1 / (4 * variance))
    assert abs(float(x.mean()) - 8 / 9) < 0.02
    assert abs(float(x.var()) / biased - 1) < 0.03
    t = torch.zeros(5)
    assert torch.allclose(model.score(x[:5], t), -(2.25 * x[:5] - 2), atol=1e-12)
    assert torch.allclose(model.score(x[:5], t), score_of(model.energy)(x[:5]), atol=1e-12)


def test_samples_in_inference_mode_are_the_same():
    model = GridEnergy(Quadratic(), DataSpec((2,)), step=0.1, sampling_steps=5)
    with noise(0, 4):
        expected = model.sample(4)
    with torch.inference_mode(), noise(0, 4):
        assert torch.equal(model.sample(4), expected)
    with torch.inference_mode():
        found = model.score(torch.ones(3, 2), torch.zeros(3))
    assert torch.allclose(found, torch.full((3, 2), -0.25), atol=1e-12)


def test_what_a_model_can_do_depends_on_the_data():
    for spec, normalizes in ((DataSpec((2,)), True), (DataSpec((4,), Binary()), False)):
        model = catalogue.build("deep-energy", spec).model
        assert isinstance(model, Samples)
        assert isinstance(model, Energy)
        assert isinstance(model, Score)
        assert isinstance(model, Normalizer) == normalizes
        assert not isinstance(model, Density)
    assert isinstance(catalogue.build("deep-energy", DataSpec((3,))).model, NormalizerAbove)


def test_layers_of_bounded_norm():
    model = catalogue.build("deep-energy", DataSpec((2,)), spectral=True, hidden=(32, 32)).model
    layers = [m for m in model.network.modules() if isinstance(m, nn.Linear)]
    for _ in range(50):
        model.energy(torch.randn(4, 2))
    assert len(layers) == 3
    norms = [float(torch.linalg.matrix_norm(m.weight.detach(), 2)) for m in layers]
    assert norms == pytest.approx([1.0] * 3, abs=0.02)


def test_energies_learn_two_normals_by_noise():
    """A few seconds of the recipe: most of the way from the base to the truth."""
    torch.set_default_dtype(torch.float32)
    centres = torch.tensor([[-1.5, 0.0], [1.5, 0.0]])

    def draw(n):
        return centres[torch.randint(2, (n,))] + 0.4 * torch.randn(n, 2)

    def batches():
        while True:
            yield Batch(draw(256))

    recipe = catalogue.build(
        "deep-energy", DataSpec((2,)), objective="nce", steps=400, lr=5e-3, hidden=(64, 64)
    )
    training = Training(recipe)
    for _ in train(training, batches(), Budget(steps=400)):
        pass
    model, x = training.sampled, draw(5000)
    log_z, _ = model.log_partition()
    assert abs(log_z - math.log(2 * math.pi * 4)) < 0.1, "that of its noise"
    parts = -(x[:, None] - centres).square().sum(2) / 0.32 - math.log(2 * math.pi * 0.16 * 2)
    with torch.no_grad():
        divergence = float((parts.logsumexp(1) + model.energy(x)).mean()) + log_z
    assert divergence < 0.03


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"step_size": 0.0}, "--step-size must be above 0"),
        ({"base": 0.0}, "--base must be above 0"),
        ({"fresh": 1.5}, "--fresh must be from 0 to 1"),
        ({"k": 0}, "--k must be at least 1"),
        ({"energy_decay": -1.0}, "--energy-decay must be at least 0"),
        ({"objective": "score-matching", "smoothing": 0.0}, "positive level"),
    ],
)
def test_mistakes_are_told(arguments, says):
    with pytest.raises((RecipeError, UserError), match=says):
        catalogue.build("deep-energy", DataSpec((2,)), **arguments)


@pytest.mark.parametrize(
    ("size", "count", "decay"), [(2, 400, 0.0), (9, 400, 0.01), (9, None, 0.0)]
)
def test_energies_of_many_elements_are_kept_near_zero(size, count, decay):
    spec = DataSpec((size,), count=count)
    assert catalogue.build("deep-energy", spec).objective.energy_decay == decay


def test_energies_under_autocast_are_exact():
    model = catalogue.build("deep-energy", DataSpec((2,))).model.float()
    x = torch.randn(50, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        energy = model.energy(x)
    assert torch.equal(energy, model.energy(x))


class Slope(nn.Module):
    """A plane, steepest in the first element: chains are pressed to one wall of each."""

    def __init__(self, *slopes):
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes))

    def forward(self, y):
        return (y @ self.slopes)[:, None]


def between_walls(slope, sd):
    """Of exp(-slope y - y^2 / 2 sd^2) on [-1, 1], by midpoints: log Z, and the means of y, of its
    square and of y < -0.95.
    """
    y = (torch.arange(100_000) + 0.5) / 50_000 - 1
    log_f = -slope * y - y.square() / (2 * sd**2)
    means = [float((log_f.softmax(0) * v).sum()) for v in (y, y.square(), y < -0.95)]
    return float(log_f.logsumexp(0)) - math.log(50_000), *means


BOX = DataSpec((2,), Interval())
HALF = DataSpec((2,), Mixed((Interval(), Real())))


@pytest.mark.parametrize("spec", [BOX, HALF], ids=["box", "half"])
@pytest.mark.parametrize("kind", ["network", "plane"])
def test_a_density_of_bounded_data_is_all_between_its_walls(spec, kind):
    """By the midpoint rule over the interval, and over the line where there is one."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    network = network if kind == "network" else Slope(3.0, -0.5)
    model = network_energy(network, spec, temperatures=10, chains=10, base=1.5)
    log_z, error = model.log_partition()
    sides = [1.0 if isinstance(c, Interval) else 15.0 for c in spec.columns]
    middles = (torch.arange(300) + 0.5) / 150 - 1
    y = torch.cartesian_prod(*(side * middles for side in sides))
    with torch.no_grad():
        whole = float((-model.energy(y) - log_z).exp().mean()) * 4 * math.prod(sides)
        far = model.potential(torch.tensor([[1.25, 0.3], [-4.0, 0.3], [4.5, 0.3]]))
        near = model.potential(torch.tensor([[0.75, 0.3], [0.0, 0.3], [0.5, 0.3]]))
    assert abs(whole - 1) < 1e-4
    assert error < 1e-4
    assert torch.allclose(far, near, atol=1e-12), "mirror images"


def test_constants_of_boxes_are_held_from_both_sides():
    slopes = (3.0, -2.0, 1.0)
    model = AnnealedEnergy(
        Slope(*slopes), DataSpec((3,), Interval()),
        base=0.8, temperatures=100, chains=400, step=0.2, sampling_steps=100,
    )  # fmt: skip
    truth = sum(between_walls(s, 0.8)[0] for s in slopes)
    for log_z, error in (model.log_partition(), model.log_partition_above()):
        assert abs(log_z - truth) < 4 * error < 0.2
    log_z, _, square, _ = between_walls(0.0, 0.8)
    start = model.start(50_000)
    assert abs(model.reference.log_partition() - 3 * log_z) < 1e-9
    assert float(start.abs().max()) <= 1
    assert abs(float(start.square().mean()) - square) < 5e-3
    inside = 0.99 * torch.ones(1, 3)
    assert torch.allclose(
        model.reference.log_prob(inside), -model.base_energy(inside) - 3 * log_z, atol=1e-9
    )


def test_chains_between_walls_have_the_density_there():
    """Adjusted steps exactly, as many examples at a wall as there should be; a plain step of
    Langevin dynamics is biased as ever.
    """
    model = GridEnergy(Slope(3.0, -2.0), BOX, base=1.0, step=0.02, sampling_steps=150)
    walk = Walk(50, 0.3, adjusted=True)
    y, x = model.reference.home(walk(model, model.start(10_000))), model.sample(5000)
    _, mean, _, edge = between_walls(3.0, 1.0)
    assert abs(float(y[:, 0].mean()) - mean) < 0.01
    assert abs(float((y[:, 0] < -0.95).double().mean()) - edge) < 5 * (edge / 10_000) ** 0.5
    assert abs(float(x[:, 0].mean()) - mean) < 0.03
    assert float(x.abs().max()) <= 1


def test_noise_on_bounded_data_bounces_off_the_walls():
    """Evenly spread data with noise on it is evenly spread between walls: denoising ends where the
    whole energy is flat, and on the line it would not.
    """
    x, eps, slopes = 2 * torch.rand(100_000, 1) - 1, torch.randn(100_000, 1), {}
    for spec in (DataSpec((1,), Interval()), DataSpec((1,))):
        model = GridEnergy(Quadratic(), spec, base=1.0)
        model.network.centre.data.zero_()
        weighed = [Denoising(Weighed(model, spec, w), 0.5).criterion(x, eps) for w in (-0.1, 0.1)]
        each = (weighed[1] - weighed[0]).detach() / 0.2  # exact: the loss is quadratic
        slopes[spec.support] = float(each.mean()) / (float(each.std()) / 100_000**0.5)
    assert abs(slopes[Interval()]) < 4
    assert abs(slopes[Real()]) > 40


class Weighed(nn.Module):
    """The square of where chains are, times a weight."""

    def __init__(self, model, spec, weight):
        super().__init__()
        self.model, self.spec, self.weight = model, spec, weight

    def potential(self, y):
        return self.weight * self.model.base_energy(y)


def test_constants_under_autocast_are_exact():
    torch.set_default_dtype(torch.float32)
    for size in (1, 3):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 1))
        network[2].weight.data.mul_(30)
        model = network_energy(network, DataSpec((size,)), temperatures=20, chains=10)
        torch.manual_seed(0)
        expected, _ = model.log_partition()
        x = torch.ones(1, size)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            found, _ = model.log_partition()
            rough = network(x).float()
        assert float((rough - network(x)).abs().detach()) > 1e-3, "eight bits would show"
        assert abs(found - expected) < 1e-3


def test_likelihoods_ask_models_that_are_not_in_training():
    class Noisy(GridEnergy):
        def log_partition(self):
            asked.append((self.training, torch.is_grad_enabled()))
            return super().log_partition()

    asked = []
    model = Noisy(Quadratic(), DataSpec((2,))).train()
    likelihood(model, torch.randn(5, 2), None, model.spec)
    assert asked == [(False, False)]
    assert model.training
