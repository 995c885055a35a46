"""Restricted Boltzmann machines against enumeration, and the figures of a known small case."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM

from pofx import catalogue
from pofx.batch import Batch
from pofx.ebm.contrastive_divergence import ContrastiveDivergence, PersistentContrastiveDivergence
from pofx.ebm.energy import binary_states, enumerate_log_partition, pseudo_log_prob
from pofx.ebm.harmonium import AnnealedPath, Harmonium, SmallHarmonium
from pofx.ebm.units import Bits, Normals
from pofx.errors import UserError
from pofx.functional.random import noise
from pofx.mcmc.ais import reverse_annealed_importance_sampling, temperatures
from pofx.mcmc.gibbs import bernoulli
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, DataSpec
from pofx.training.fit import fit
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")


def random_rbm(visible=6, hidden=4, scale=1.0, kind=SmallHarmonium) -> Harmonium:
    rbm = kind(Bits((visible,)), hidden)
    with torch.no_grad():
        for p in rbm.parameters():
            p.copy_(scale * torch.randn_like(p))
        rbm.visible.moments.uniform_(0.1, 0.9)
    return rbm


def states(n: int) -> torch.Tensor:
    return binary_states(0, 2**n, n, torch.zeros(()))


def joint(rbm: Harmonium) -> torch.Tensor:
    """-E(v, h) by its definition, `(visible states, hidden states)`."""
    v, h = states(rbm.visible.width), states(rbm.hidden_shape[0])
    return (v @ rbm.visible.bias)[:, None] + h @ rbm.hidden_bias + v @ rbm.weight.T @ h.T


def test_free_energies_sum_out_the_other_side():
    rbm = random_rbm()
    negative = joint(rbm)
    v, h = states(6), states(4)
    assert torch.allclose(-rbm.energy(v), negative.logsumexp(1), atol=1e-12)
    assert torch.allclose(-rbm.hidden_free_energy(h), negative.logsumexp(0), atol=1e-12)


@pytest.mark.parametrize(("visible", "hidden"), [(6, 4), (4, 6)])
def test_log_z_by_either_side_is_that_of_the_joint(visible, hidden):
    rbm = random_rbm(visible, hidden)
    log_z = joint(rbm).logsumexp((0, 1))
    assert torch.allclose(rbm.exact_log_partition(), log_z, atol=1e-10)
    assert torch.allclose(enumerate_log_partition(rbm.energy, visible, log_z, 7), log_z, atol=1e-10)
    assert math.isclose(rbm.log_prob(states(visible)).exp().sum().item(), 1.0, abs_tol=1e-10)


def test_bits_of_eight_bit_logits_are_drawn_with_their_whole_probability():
    on = bernoulli(torch.full((1 << 20,), -12.0, dtype=torch.bfloat16)).sum()
    assert on < 60  # 6.4 are expected; a uniform number of eight bits would turn on 4,096


def test_energies_under_autocast_are_as_exact_as_the_logits():
    rbm = random_rbm(60, 40, scale=0.3, kind=Harmonium).float()
    x = torch.randint(0, 2, (100, 60)).float()
    with torch.autocast("cpu", torch.bfloat16):
        energy, _ = rbm.free_energy(x)
    assert energy.dtype == torch.float32
    assert (energy - rbm.energy(x)).abs().max() < 0.2
    assert (energy - rbm.energy(x)).abs().mean() < 0.04  # bfloat16 itself is good to 0.1 at 30


def test_conditionals_are_those_of_the_joint():
    rbm = random_rbm()
    v, h = states(6), states(4)
    p = joint(rbm).softmax(1)
    assert torch.allclose(rbm.encode(v), p @ h, atol=1e-12)
    assert torch.allclose(rbm.decode(h), joint(rbm).softmax(0).T @ v, atol=1e-12)


def test_a_gibbs_sweep_leaves_the_model_as_it_is():
    """Detailed balance of v -> h -> v', by enumeration, at any temperature of the annealed path."""
    rbm = random_rbm(4, 3)
    v, h = states(4), states(3)
    for beta in (0.0, 0.3, 1.0):
        path = AnnealedPath(rbm)
        with torch.no_grad():
            log_f = path.log_f(path.state(v), beta)
            up = torch.distributions.Bernoulli(logits=beta * path.state(v).hidden[:, None])
            bias = (1 - beta) * path.base[0] + beta * rbm.visible.bias
            down = torch.distributions.Bernoulli(logits=(bias + beta * h @ rbm.weight)[:, None])
            step = up.log_prob(h).sum(2).exp() @ down.log_prob(v).sum(2).exp()
            flow = log_f.softmax(0)[:, None] * step
        assert torch.allclose(step.sum(1), torch.ones(16), atol=1e-12)
        assert torch.allclose(flow, flow.T, atol=1e-12)


def test_the_transition_draws_from_that_sweep():
    rbm = random_rbm(3, 2)
    path = AnnealedPath(rbm)
    v = torch.tensor([1.0, 0.0, 1.0]).expand(40_000, 3)
    with torch.no_grad():
        drawn = path.transition(path.state(v), 0.7).v
        up = torch.sigmoid(0.7 * path.state(v[:1]).hidden)
        each = torch.distributions.Bernoulli(up).log_prob(states(2)).sum(1).exp()
        bias = 0.3 * path.base[0] + 0.7 * rbm.visible.bias
        mean = each @ torch.sigmoid(bias + 0.7 * states(2) @ rbm.weight)
    assert torch.allclose(drawn.mean(0), mean, atol=5 * 0.5 / 200)


def test_contrast_with_exact_negatives_is_the_likelihood_s_gradient():
    """With negatives that are the whole distribution, the gradient is autograd's through log Z."""
    rbm = random_rbm()
    x = states(6)[torch.randint(0, 64, (10,))]
    expected = torch.autograd.grad(-rbm.log_prob(x).mean(), list(rbm.parameters()))
    p = rbm.log_prob(states(6)).exp().detach()
    loss = rbm.energy(x).mean() - (p * rbm.energy(states(6))).sum()
    found = torch.autograd.grad(loss, list(rbm.parameters()))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(expected, found, strict=True))


def transition(rbm: Harmonium) -> torch.Tensor:
    """P(v' | v) of a Gibbs sweep, `(visible states, visible states)`."""
    up = joint(rbm).softmax(1)
    down = joint(rbm).softmax(0).T
    return up @ down


def contrast(rbm: Harmonium, p: torch.Tensor, q: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of the mean free energy under p less that under q."""
    loss = ((p - q).detach() * rbm.energy(states(rbm.visible.width))).sum()
    return list(torch.autograd.grad(loss, list(rbm.parameters())))


def test_the_bias_of_cd_is_what_enumeration_says_and_goes_with_k():
    rbm = random_rbm(4, 3)
    data = torch.rand(16)
    data /= data.sum()
    sweep = transition(rbm).detach()
    exact = contrast(rbm, data, rbm.log_prob(states(4)).exp())
    bias = {}
    for k in (1, 2, 5, 200):
        found = contrast(rbm, data, data @ torch.linalg.matrix_power(sweep, k))
        bias[k] = max(float((a - b).abs().max()) for a, b in zip(found, exact, strict=True))
    assert bias[1] > bias[2] > bias[5] > bias[200]
    assert bias[1] > 1e-2
    assert bias[200] < 1e-6
    n = 40_000
    x = states(4)[torch.multinomial(data, n, replacement=True)]
    for k in (1, 2):
        (update,) = ContrastiveDivergence(rbm, k).updates(Batch(x))
        drawn = torch.autograd.grad(update.loss, list(rbm.parameters()))
        expected = contrast(rbm, data, data @ torch.linalg.matrix_power(sweep, k))
        for a, b in zip(drawn, expected, strict=True):
            assert float((a - b).abs().max()) < 5 / n**0.5


def test_the_pseudo_likelihood_is_that_of_the_conditionals():
    rbm = random_rbm(5, 3)
    p = rbm.log_prob(states(5)).exp().detach()
    expected = torch.zeros(32)
    for i in range(5):
        other = (torch.arange(32) ^ (1 << (4 - i))).long()
        expected += (p / (p + p[other])).log()
    assert torch.allclose(pseudo_log_prob(rbm.energy, states(5)), expected, atol=1e-12)


def test_scikit_learn_s_estimate_of_it_agrees_in_the_mean():
    """Theirs flips one random bit of each example, and multiplies by their number."""
    rbm = random_rbm(20, 8, 0.3)
    theirs = BernoulliRBM(8, random_state=0, n_iter=0)
    theirs.components_ = rbm.weight.detach().numpy()
    theirs.intercept_hidden_ = rbm.hidden_bias.detach().numpy()
    theirs.intercept_visible_ = rbm.visible.bias.detach().numpy()
    x = torch.randint(0, 2, (20_000, 20)).double()
    ours = pseudo_log_prob(rbm.energy, x).detach()
    estimate = torch.from_numpy(theirs.score_samples(x.numpy()))
    error = float((estimate - ours).std()) / 20_000**0.5
    assert abs(float(estimate.mean() - ours.mean())) < 4 * error
    assert abs(float(estimate.mean() / ours.mean()) - 1) < 0.02


def test_bars_and_stripes_are_learned_nearly_to_their_entropy():
    """Of 4 x 4: 30 patterns, of entropy log 30, which no model goes below."""
    torch.set_default_dtype(torch.float32)
    rows = states(4).float()
    x = torch.cat([rows[:, :, None].expand(16, 4, 4), rows[:, None].expand(16, 4, 4)])
    x = x.flatten(1).unique(dim=0)
    assert len(x) == 30
    training = Training(
        catalogue.build("rbm", DataSpec((16,), Binary()), hidden=16, lr=0.2, batch_size=60, k=2)
    )

    def batches():
        while True:
            yield Batch(x.repeat(2, 1))

    for _ in train(training, batches(), Budget(steps=2500)):
        pass
    with torch.no_grad():
        nll = -float(training.model.double().log_prob(x.double()).mean())
    assert math.log(30) < nll < math.log(30) + 0.6


@pytest.mark.parametrize("persistent", [True, False])
def test_the_update_s_loss_is_the_gap_of_free_energies(persistent):
    """Chains that start from the model stay there, so the expected gap and gradient are zero."""
    rbm = random_rbm(5, 3)
    n = 20_000
    v = states(5)[torch.multinomial(rbm.log_prob(states(5)).exp(), n, replacement=True)]
    objective = (
        PersistentContrastiveDivergence(rbm, n) if persistent else ContrastiveDivergence(rbm)
    )
    if persistent:
        with torch.no_grad():
            objective.chains.copy_(rbm.draw_hidden(rbm.free_energy(v)[1]))
    (update,) = objective.updates(Batch(v))
    spread = rbm.energy(v).std().item() * math.sqrt(2 / n)
    assert abs(update.loss.item()) < 5 * spread, "at the solution the expected gap is zero"
    gradients = torch.autograd.grad(update.loss, list(rbm.parameters()))
    assert all(float(g.abs().max()) < 5 * math.sqrt(2 / n) for g in gradients)


def test_persistent_chains_go_on_and_micro_batches_share_them():
    rbm = random_rbm(5, 3)
    objective = PersistentContrastiveDivergence(rbm, 6)
    x = states(5)[:6]
    with noise(0, 6):
        list(objective.updates(Batch(x)))
    whole = objective.chains.clone()
    objective.chains.zero_()
    streams = [objective.updates(Batch(part)) for part in x.split(2)]
    for i, stream in enumerate(streams):
        with noise(0, 2, first=2 * i):
            next(stream)
    assert [next(s, None) for s in streams] == [None] * 3
    assert torch.equal(objective.chains, whole)
    assert not torch.equal(whole, torch.zeros_like(whole))
    with pytest.raises(UserError, match="at most 6 examples"):
        list(objective.updates(Batch(states(5)[:7])))


def test_the_model_knows_the_mean_of_the_data():
    rbm = Harmonium(Bits((3,)), 2)
    objective = ContrastiveDivergence(rbm)
    x = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    list(objective.updates(Batch(x[:2])))
    list(objective.updates(Batch(x[2:])))
    objective.after_step()
    assert torch.allclose(rbm.visible.moments[0], x.mean(0))
    assert torch.allclose(rbm.visible.bias, ((x.sum(0) + 0.5) / 5).logit())
    before = rbm.visible.bias.clone()
    list(objective.updates(Batch(1 - x)))
    objective.after_step()
    assert torch.allclose(rbm.visible.moments[0], torch.full((3,), 0.5))
    assert torch.equal(rbm.visible.bias, before), "biases start once"


def test_ais_without_weights_is_exact():
    rbm = random_rbm(8, 5)
    with torch.no_grad():
        rbm.weight.zero_()
    found = rbm.ais([0.0, 0.4, 1.0], 10, base=rbm.visible.natural().detach())
    assert math.isclose(found.log_z, rbm.exact_log_partition().item(), abs_tol=1e-10)
    assert float(found.log_weights.std()) < 1e-10


@pytest.mark.parametrize("scale", [0.3, 0.6, 1.0, 1.5])
def test_ais_and_its_reverse_hold_log_z_between_them(scale):
    rbm = random_rbm(10, 8, scale)
    log_z = rbm.exact_log_partition().item()
    betas = temperatures(1000)
    forward = rbm.ais(betas, 100)
    p = (-rbm.energy(states(10))).softmax(0).detach()
    path = AnnealedPath(rbm)
    with torch.no_grad():
        exact = path.state(states(10)[torch.multinomial(p, 100, replacement=True)])
        backward = reverse_annealed_importance_sampling(
            path.log_f, path.transition, path.log_z(), exact, betas
        )
    for estimate in (forward, backward):
        assert abs(estimate.log_z - log_z) < min(0.1, 5 * estimate.stderr + 1e-3)
    assert forward.log_z - 3 * forward.stderr <= log_z <= backward.log_z + 3 * backward.stderr


def test_samples_follow_the_model():
    rbm = random_rbm(4, 3, scale=0.8)
    p = rbm.log_prob(states(4)).exp().detach()
    x = rbm.sample(20_000, sweeps=100)
    numbers = (x @ torch.tensor([8.0, 4, 2, 1])).long()
    share = torch.bincount(numbers, minlength=16) / 20_000
    z = (share - p) / (p * (1 - p) / 20_000).sqrt()
    assert float(z.abs().max()) < 5


def test_it_refuses_what_is_not_binary():
    with pytest.raises(RecipeError, match="--binarize threshold"):
        catalogue.build("rbm", DataSpec((1, 8, 8), Bytes(17)))
    with pytest.raises(RecipeError, match="at least 1"):
        catalogue.build("rbm", DataSpec((4,), Binary()), k=0)


def test_few_units_make_the_likelihood_exact():
    assert isinstance(
        catalogue.build("rbm", DataSpec((64,), Binary()), hidden=16).model, SmallHarmonium
    )
    large = catalogue.build("rbm", DataSpec((64,), Binary()), hidden=17).model
    assert not hasattr(large, "log_prob")


def bits_of_digits() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(load_digits().data >= 8, dtype=torch.float32)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
    return x[order[:1500]], x[order[1500:]]


@pytest.mark.parametrize("arguments", [{}, {"persistent": False}], ids=["pcd-1", "cd-1"])
def test_binarised_digits_reach_the_known_likelihood(arguments):
    """64-16 units, 300 epochs: test NLL by exact Z, and AIS beside it."""
    torch.set_default_dtype(torch.float32)
    x, test = bits_of_digits()
    recipe = catalogue.build("rbm", DataSpec((64,), Binary()), hidden=16, **arguments)
    training = Training(recipe)

    def batches():
        while True:
            yield from (Batch(part) for part in x[torch.randperm(len(x))].split(100))

    for _ in train(training, batches(), Budget(steps=4500)):
        pass
    rbm = training.model.double()
    with torch.no_grad():
        nll = -float(rbm.log_prob(test.double()).mean())
    assert nll <= 20.1
    assert nll > 15, "no model of 16 units is that good: the constant would be wrong"
    exact = rbm.exact_log_partition().item()
    estimate = rbm.ais(temperatures(1000), 100)
    assert abs(estimate.log_z - exact) < 0.05
    assert abs(estimate.log_z - exact) < 4 * estimate.stderr


def test_a_gap_of_energies_is_named_with_its_cure():
    objective = ContrastiveDivergence(random_rbm(20, 3))

    def said(gap, spread=0.5):
        metrics = {"energy_gap": gap, "energy_spread": spread}
        return [(s.name, s.advice) for s in objective.symptoms(metrics)]

    for gap in (0.0, 3.4, -3.4):
        assert not said(gap)
    assert not said(60.0, spread=20.0), "the data's own energies are that far apart"
    ((name, advice),) = said(4.0)
    assert name == "spurious valleys"
    assert "4.0 nats below the data" in advice
    assert "--weight-decay" in advice
    ((name, advice),) = said(-4.0)
    assert name == "lagging chains"
    assert "--k" in advice
    for gap, spread in ((22.0, 0.5), (-22.0, 0.5), (100.0, 1000.0)):
        ((name, advice),) = said(gap, spread)
        assert name == "divergence", "weights that run away spread the data's energies too"
        assert "lower --lr" in advice
    assert "lie 2.5e+29 nats below" in said(2.5e29)[0][1]
    assert not list(objective.symptoms({"skipped": 1.0}))


def test_tails_of_real_numbers_may_spread_energies():
    """An outlier moves the mean as far as it widens the spread."""
    objective = ContrastiveDivergence(SmallHarmonium(Normals((2,)), 3))
    assert not list(objective.symptoms({"energy_gap": 12.0, "energy_spread": 120.0}))
    assert list(objective.symptoms({"energy_gap": 12.0, "energy_spread": 1.0}))


@pytest.mark.parametrize(("lr", "name"), [(0.05, None), (1000.0, "divergence")])
@pytest.mark.parametrize("recipe", ["rbm", "boltzmann"])
def test_a_run_that_blows_up_says_so(recipe, lr, name, tmp_path, capfd):
    torch.set_default_dtype(torch.float32)
    x = bits_of_digits()[0].numpy().astype(np.uint8)
    x, hidden = (x, 64) if recipe == "rbm" else (x.reshape(len(x), -1)[:, 20:32], 4)
    out = fit(recipe, x, out=tmp_path / "run", hidden=hidden, lr=lr, sweeps=5, steps=6)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["energy_gap"]) for line in lines if "energy_gap" in line)
    symptoms = [line["symptom"] for line in lines if "symptom" in line]
    symptoms = [s for s in symptoms if s != "budget too small"]  # six steps are
    assert symptoms[:1] == ([name] if name else [])
    assert ("lower --lr" in capfd.readouterr().err) == bool(name)
