"""Boltzmann machines against enumeration, and what training by moments must reach."""

import math
from itertools import pairwise

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.ebm.boltzmann_machine import (
    AnnealedUnits,
    BoltzmannMachine,
    SmallBoltzmann,
    SummedHidden,
    gibbs,
)
from pofx.ebm.contrastive_divergence import StochasticMaximumLikelihood
from pofx.ebm.energy import binary_states
from pofx.evaluation.likelihood import likelihood
from pofx.mcmc.ais import ais, reverse_ais, temperatures
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, DataSpec
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")


def states(n: int) -> torch.Tensor:
    return binary_states(0, 2**n, n, torch.zeros(()))


def machine(visible=4, hidden=3, scale=0.8, kind=SmallBoltzmann) -> BoltzmannMachine:
    model = kind((visible,), hidden)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn_like(p))
        model.base_rate.uniform_(0.2, 0.8)
    return model


def joint(model: BoltzmannMachine) -> torch.Tensor:
    """-E(s) by its definition, a sum over pairs."""
    s, j = states(len(model.bias)), model.coupling
    total = s @ model.bias
    for a in range(len(model.bias)):
        for b in range(a):
            total = total + j[a, b] * s[:, a] * s[:, b]
    return total


def test_energies_are_sums_over_pairs_and_hidden_states():
    model = machine()
    negative = joint(model)
    assert torch.allclose(-model.state_energy(states(7)), negative, atol=1e-12)
    free = negative.view(16, 8).logsumexp(1)
    assert torch.allclose(-model.energy(states(4)), free, atol=1e-12)
    assert torch.allclose(model.exact_log_partition(), negative.logsumexp(0), atol=1e-10)
    assert math.isclose(float(model.log_prob(states(4)).exp().sum().detach()), 1.0, abs_tol=1e-10)


def test_without_hidden_units_the_energy_is_quadratic():
    model = machine(5, 0)
    assert torch.allclose(-model.energy(states(5)), joint(model), atol=1e-12)
    assert math.isclose(float(model.log_prob(states(5)).exp().sum().detach()), 1.0, abs_tol=1e-10)
    assert torch.allclose(model.energy_bound(states(5)), model.energy(states(5)), atol=1e-12)


def test_the_mean_field_is_a_stationary_bound_which_its_sweeps_tighten():
    model = machine(4, 3, 1.5)
    x = states(4)
    bounds = []
    for model.mean_field in (0, 1, 2, 4, 200):
        bounds.append(model.energy_bound(x).detach())
    assert all(bool((b >= model.energy(x) - 1e-12).all()) for b in bounds)
    assert all(bool((b <= a + 1e-12).all()) for a, b in pairwise(bounds))
    s = model.held(x).detach()
    logits = (s @ model.coupling + model.bias)[:, 4:]
    assert torch.allclose(s[:, 4:], logits.sigmoid(), atol=1e-6)
    assert torch.equal(s[:, :4], x)


def test_with_hidden_units_apart_the_mean_field_is_exact():
    model = machine()
    with torch.no_grad():
        model.weight[4:, 4:] = 0.0
    assert torch.allclose(model.energy_bound(states(4)), model.energy(states(4)), atol=1e-12)


def test_a_sweep_leaves_the_machine_as_it_is():
    """By enumeration, and in any order; drawn, it goes where enumeration says."""
    model = machine(3, 2)
    s = states(5)
    p = joint(model).softmax(0).detach()
    number = s @ torch.tensor([16.0, 8, 4, 2, 1])
    after = p
    for i in (3, 0, 4, 1, 2):
        on = torch.sigmoid(s @ model.coupling[i] + model.bias[i]).detach()
        bit = 2 ** (4 - i)
        off_number = (number - s[:, i] * bit).long()
        mass = after + after[(number + (1 - 2 * s[:, i]) * bit).long()]
        after = mass * torch.where(s[:, i] > 0, on[off_number], 1 - on[off_number])
    assert torch.allclose(after, p, atol=1e-12)
    x = s[torch.multinomial(p, 40_000, replacement=True)]
    moved = gibbs(x, model.bias, model.coupling, 2, [3, 0, 4, 1, 2])
    share = torch.bincount((moved @ torch.tensor([16.0, 8, 4, 2, 1])).long(), minlength=32) / 40_000
    assert float(((share - p) / (p * (1 - p) / 40_000).sqrt()).abs().max().detach()) < 5


def test_samples_follow_the_machine_and_completions_what_is_known():
    model = machine(3, 2)
    model.sweeps = 60
    p = model.log_prob(states(3)).exp().detach()
    share = torch.bincount((model.sample(20_000) @ torch.tensor([4.0, 2, 1])).long(), minlength=8)
    assert float(((share / 20_000 - p) / (p * (1 - p) / 20_000).sqrt()).abs().max()) < 5
    known = torch.tensor([True, False, False])
    done = model.complete(torch.tensor([[1.0, math.nan, math.nan]]).expand(20_000, 3), known)
    assert bool((done[:, 0] == 1).all())
    given = p[4:] / p[4:].sum()
    share = torch.bincount((done[:, 1:] @ torch.tensor([2.0, 1])).long(), minlength=4) / 20_000
    assert float(((share - given) / (given * (1 - given) / 20_000).sqrt()).abs().max()) < 5


@pytest.mark.parametrize("scale", [0.4, 0.8])
def test_log_z_lies_between_its_two_estimates(scale):
    model = machine(6, 4, scale)
    log_p = joint(model).detach()
    log_z = float(log_p.logsumexp(0))
    ends = states(10)[torch.multinomial(log_p.softmax(0), 200, replacement=True)]
    with torch.no_grad():
        path, betas = AnnealedUnits(model), temperatures(200)
        forward, backward = ais(path, betas, 200), reverse_ais(path, betas, ends)
    assert abs(forward.log_z - log_z) < min(0.15, 4 * forward.stderr)
    assert abs(backward.log_z - log_z) < min(0.15, 4 * backward.stderr)


def test_ais_without_weights_is_exact():
    model = machine()
    with torch.no_grad():
        model.weight.zero_()
        model.base_rate.copy_((model.bias[:4].sigmoid() - 0.005) / 0.99)
        model.bias[4:] = 0.0
        found = ais(AnnealedUnits(model), [0.0, 0.3, 1.0], 10)
        log_z = float(model.exact_log_partition())
    assert math.isclose(found.log_z, log_z, abs_tol=1e-10)


def test_the_update_s_gradient_is_that_of_the_likelihood():
    """With chains that are exact samples, in expectation: held moments less free ones."""
    model = machine(3, 2)
    n = 40_000
    x = states(3)[torch.randint(0, 8, (n,))]
    objective = StochasticMaximumLikelihood(model, n)
    p = joint(model).softmax(0).detach()
    objective.chains.copy_(states(5)[torch.multinomial(p, n, replacement=True)])
    (update,) = objective.updates(Batch(x))
    found = torch.autograd.grad(update.loss, list(model.parameters()))
    exact = torch.autograd.grad(-model.log_prob(x).mean(), list(model.parameters()))
    for a, b in zip(found, exact, strict=True):
        assert float((a - b).abs().max()) < 5 * 0.5 / n**0.5


def descend(model: SmallBoltzmann, x: torch.Tensor, share: torch.Tensor) -> float:
    """Trains by the exact gradient, to the end; the NLL there."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -(share * model.log_prob(x)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(closure().detach())


def test_three_units_match_the_moments_of_the_data():
    model = machine(3, 0)
    share = torch.rand(8) + 0.1
    share /= share.sum()
    descend(model, states(3), share)
    p = model.log_prob(states(3)).exp().detach()
    s = states(3)
    for weight in (p - share, share - p):
        assert float((weight @ s).abs().max()) < 1e-4
        assert float(((s * weight[:, None]).T @ s).abs().max()) < 1e-4
    assert float((p - share).abs().max()) > 1e-3, "the third moment is not one of them"


def test_bars_and_stripes_cannot_be_learned_beyond_their_entropy():
    """Bars and stripes of 3 x 3: 14 patterns, of entropy log 14."""
    rows = states(3)
    x = torch.cat([rows[:, :, None].expand(8, 3, 3), rows[:, None].expand(8, 3, 3)]).flatten(1)
    x = x.unique(dim=0)
    assert len(x) == 14
    model = machine(9, 3, 0.5)
    nll = descend(model, x, torch.full((14,), 1 / 14))
    assert math.log(14) < nll < math.log(14) + 0.6


def test_training_by_chains_reaches_what_the_exact_gradient_does():
    torch.set_default_dtype(torch.float32)
    truth = machine(5, 0, 0.8)
    p = truth.log_prob(states(5)).exp().detach()
    entropy = float(-(p * p.log()).sum())
    training = Training(catalogue.build("boltzmann", DataSpec((5,), Binary()), hidden=0, lr=0.1))

    def batches():
        while True:
            yield Batch(states(5)[torch.multinomial(p, 100, replacement=True)])

    for _ in train(training, batches(), Budget(steps=1000)):
        pass
    with torch.no_grad():
        nll = -float((p * training.model.log_prob(states(5))).sum())
    assert entropy - 1e-4 < nll < entropy + 0.02


def test_a_machine_with_a_mean_field_learns_too():
    """Hidden units that are joined, more of them than are summed over; bits of a common cause."""
    torch.set_default_dtype(torch.float32)
    flips = states(6).float().sum(1)
    p = (0.15**flips * 0.85 ** (6 - flips) + 0.85**flips * 0.15 ** (6 - flips)) / 2
    x = states(6).float()[torch.multinomial(p, 2000, replacement=True)]
    truth = float((p * p.log()).sum())
    spec = DataSpec((6,), Binary())
    options = {"hidden": 11, "lr": 0.1, "mean_field": 2, "batch_size": 50, "temperatures": 200}
    training = Training(catalogue.build("boltzmann", spec, **options))

    def batches():
        while True:
            yield Batch(x[torch.randint(0, 2000, (50,))])

    before = likelihood(training.model, x, None, spec)
    for _ in train(training, batches(), Budget(steps=400)):
        pass
    after = likelihood(training.model, x, None, spec)
    assert before.kind == after.kind == "estimate"
    assert "of a bound" in after.detail
    assert before.nats < truth - 0.9
    assert truth - 0.3 < after.nats < truth + 0.15


def test_as_much_is_said_as_can_be_summed():
    spec = DataSpec((64,), Binary())
    kinds = {0: SummedHidden, 10: SummedHidden, 11: BoltzmannMachine}
    for hidden, kind in kinds.items():
        assert type(catalogue.build("boltzmann", spec, hidden=hidden).model) is kind
    small = catalogue.build("boltzmann", DataSpec((12,), Binary()), hidden=4).model
    assert isinstance(small, SmallBoltzmann)
    with pytest.raises(RecipeError, match="0 or 1"):
        catalogue.build("boltzmann", DataSpec((4,), Bytes(4)))
