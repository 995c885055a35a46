"""Annealed importance sampling of any energy, both ways, against sums and integrals."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Gamma, Independent, Normal

from pofx.ebm.energy import binary_states
from pofx.ebm.harmonium import Harmonium
from pofx.ebm.units import Bits
from pofx.errors import UserError
from pofx.evaluation.likelihood import likelihood
from pofx.evaluation.partition import partition
from pofx.mcmc.ais import ais, reverse_ais, temperatures
from pofx.mcmc.chains import take
from pofx.mcmc.geometric_path import GeometricPath
from pofx.mcmc.gibbs import sites
from pofx.mcmc.hmc import hmc
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real

pytestmark = pytest.mark.usefixtures("double")


TABLE = DataSpec((3,), Mixed((Categorical(3), Binary(), Categorical(4))))


def states(n: int) -> torch.Tensor:
    return binary_states(0, 2**n, n, torch.zeros(()))


class Cubic:
    """An energy of any discrete elements with nothing that factorises."""

    def __init__(self, size: int, scale: float = 0.7) -> None:
        self.pairs = scale * torch.randn(size, size)
        self.triples = scale * torch.randn(size, size, size) / size

    def energy(self, x, cond=None):
        x = x.flatten(1)
        return torch.einsum("ni,nj,ij->n", x, x, self.pairs) + torch.einsum(
            "ni,nj,nk,ijk->n", x, x, x, self.triples
        )


def test_a_sweep_over_sites_leaves_the_density_as_it_is():
    """Three sweeps from exact samples are still exact samples."""
    cubic = Cubic(3)
    p = (-cubic.energy(states(3))).softmax(0)
    x = states(3)[torch.multinomial(p, 40_000, replacement=True)]
    sweep = sites([torch.arange(2.0)] * 3)
    for _ in range(3):
        x = sweep(x, lambda x: -cubic.energy(x))
    share = torch.bincount((x @ torch.tensor([4.0, 2, 1])).long(), minlength=8) / 40_000
    assert float(((share - p) / (p * (1 - p) / 40_000).sqrt()).abs().max()) < 5


def test_a_sweep_over_sites_forgets_where_it_began():
    cubic = Cubic(3)
    x, sweep = torch.zeros(20_000, 3), sites([torch.arange(2.0)] * 3)
    for _ in range(12):
        x = sweep(x, lambda x: -cubic.energy(x))
    p = (-cubic.energy(states(3))).softmax(0)
    share = torch.bincount((x @ torch.tensor([4.0, 2, 1])).long(), minlength=8) / 20_000
    assert float(((share - p) / (p * (1 - p) / 20_000).sqrt()).abs().max()) < 5


def test_weights_are_unbiased_for_z_and_log_z_lies_above_their_logs():
    """With three temperatures: the mean weight is Z, and the mean of its log is below log Z."""
    cubic = Cubic(4, 0.5)
    z = (-cubic.energy(states(4))).exp().sum()
    base = Independent(Bernoulli(torch.full((4,), 0.5)), 1)
    path = GeometricPath(base, cubic.energy, sites([torch.arange(2.0)] * 4))
    w = ais(path, [0.0, 0.5, 1.0], 20_000).log_weights.exp()
    assert abs(float(w.mean() - z)) < 5 * float(w.std()) / 20_000**0.5
    assert float(w.log().mean()) < float(z.log()) - 0.02
    p = (-cubic.energy(states(4))).softmax(0)
    ends = states(4)[torch.multinomial(p, 20_000, replacement=True)]
    back = reverse_ais(path, [0.0, 0.5, 1.0], ends).log_weights
    assert float(back.mean()) > float(z.log()) + 0.02
    one_over = (-back).exp()
    assert abs(float(one_over.mean() - 1 / z)) < 5 * float(one_over.std()) / 20_000**0.5


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (DataSpec((6,), Binary()), [[0, 1]] * 6),
        (DataSpec((1, 2, 2), Bytes(3)), [[-1, 0, 1]] * 4),
        (TABLE, [[0, 1, 2], [0, 1], [0, 1, 2, 3]]),
    ],
    ids=["bits", "bytes", "table"],
)
def test_any_discrete_energy_s_log_z_is_held_from_both_sides(spec, values):
    cubic = Cubic(spec.size, 0.3)
    x = torch.tensor(list(itertools.product(*values))).double().view(-1, *spec.shape)
    log_p = -cubic.energy(x)
    log_z = float(log_p.logsumexp(0))
    data = x[torch.randint(0, len(x), (200,))]
    ends = x[torch.multinomial(log_p.softmax(0), 200, replacement=True)]
    forward, backward = partition(cubic, spec, data, steps=100, chains=200, ends=ends)
    assert abs(forward.log_z - log_z) < min(0.15, 4 * forward.stderr)
    assert abs(backward.log_z - log_z) < min(0.15, 4 * backward.stderr)


def test_any_continuous_energy_s_log_z_is_held_from_both_sides():
    """Two normals far from the data's mean, in columns of different scales."""
    scale = torch.tensor([1.0, 100.0])
    parts = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7])),
        Independent(Normal(torch.tensor([[-1.0, 0.5], [1.0, -0.5]]) * scale, 0.8 * scale), 1),
    )

    class Shifted:
        def energy(self, x, cond=None):
            return 5.0 - parts.log_prob(x)

        def sample(self, n):
            return parts.sample((n,))

    forward, backward = partition(Shifted(), DataSpec((2,)), parts.sample((500,)), steps=200)
    for estimate in (forward, backward):
        assert abs(estimate.log_z + 5.0) < min(0.15, 5 * estimate.stderr + 1e-3)


def test_an_interval_s_log_z_counts_what_lies_within():
    """The energy is 0 everywhere: log Z is that of the square's area, 4."""

    class Flat:
        def energy(self, x, cond=None):
            return 0.0 * x.sum(1)

        def sample(self, n):
            return 2 * torch.rand(n, 2) - 1

    spec = DataSpec((2,), Interval())
    forward, backward = partition(Flat(), spec, 2 * torch.rand(500, 2) - 1, steps=200, chains=400)
    assert abs(forward.log_z - math.log(4)) < min(0.2, 5 * forward.stderr)
    assert abs(backward.log_z - math.log(4)) < min(0.2, 5 * backward.stderr)


def test_states_that_are_forbidden_weigh_nothing():
    """The first of eight bits must be off: half of the chains start where they cannot be."""
    base = Independent(Bernoulli(torch.full((8,), 0.5)), 1)
    bits = [torch.arange(2.0)] * 8
    path = GeometricPath(base, lambda x: torch.where(x[:, 0] > 0, math.inf, x.sum(1)), sites(bits))
    found = ais(path, temperatures(20), 1000)
    log_z = 7 * math.log1p(math.exp(-1))
    assert abs(found.log_z - log_z) < 4 * found.stderr < 0.4
    assert 0.4 < float((found.log_weights == -math.inf).double().mean()) < 0.6
    closed = GeometricPath(base, lambda x: torch.full((len(x),), math.inf), sites(bits))
    x = torch.randint(0, 2, (5, 8)).double()
    assert torch.equal(closed.transition(x, 0.5), x), "where no value is possible chains stay"
    with pytest.raises(UserError, match="none found an example"):
        ais(closed, [0.0, 1.0], 5)


@pytest.mark.parametrize(
    ("base", "energy", "log_z"),
    [
        (Normal(torch.zeros(1), 3.0), lambda x: 3 * (x.square() - 1).square().sum(1), 0.114006),
        (Gamma(torch.full((1,), 2.0), 1.0), lambda x: 2 * x.sum(1), -math.log(2)),
    ],
    ids=["overflow", "half a line"],
)
def test_moves_beyond_what_a_base_takes_are_refused(base, energy, log_z):
    """Leaps that overflow, or go below 0, where the distribution would raise an error."""

    def kernel(y, log_f):
        return take(hmc(lambda y: -log_f(y), y, 0.2, 5), 1)

    found = ais(GeometricPath(Independent(base, 1), energy, kernel), temperatures(200), 400)
    assert abs(found.log_z - log_z) < 4 * found.stderr < 0.4


def flat(x):
    return 0.0 * x.sum(1)


def pair(energy=flat, base=None, values=2):
    base = Independent(Bernoulli(torch.full((2,), 0.5)), 1) if base is None else base
    return GeometricPath(base, energy, sites([torch.arange(2.0)] * values))


@pytest.mark.parametrize(
    ("path", "betas", "chains", "says"),
    [
        *((pair(), betas, 5, "rise from 0 to 1") for betas in ([1, 0.5, 0], [0, 0.5], [0.0], [])),
        (pair(), [0.5, 1.0], 5, r"from 0 to 1, and \[0.5, 1\] came"),
        (pair(), [0.0, 1.0], 0, "a chain or more, and 0 came"),
        (pair(lambda x: x.sum()), [0.0, 1.0], 5, r"\(5,\), and \(\) came"),
        (pair(base=Bernoulli(torch.full((2,), 0.5))), [0.0, 1.0], 5, r"\(5, 2\) came"),
        (pair(lambda x: x.sum(1) * math.nan), [0.0, 1.0], 5, "5 of 5 are not"),
        (pair(lambda x: x.sum(1) * math.nan), [0.0, 0.5, 1.0], 5, "came as NaN or plus infinity"),
        (pair(lambda x: x.sum(1) - math.inf), [0.0, 1.0], 5, "5 of 5 are not"),
        (pair(values=1), [0.0, 0.5, 1.0], 5, "1 came, and examples have 2 elements"),
        (pair(values=3), [0.0, 0.5, 1.0], 5, "3 came, and examples have 2 elements"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path, betas, chains, says):
    with pytest.raises(UserError, match=says):
        ais(path, betas, chains)


class Unit:
    """N(0, 1) without its constant."""

    def energy(self, x, cond=None):
        return x.square().sum(1) / 2

    def sample(self, n):
        return torch.randn(n, 1)


def test_log_z_is_estimated_in_inference_mode_too():
    with torch.inference_mode():
        forward, backward = partition(Unit(), DataSpec((1,)), torch.randn(100, 1), steps=50)
    assert abs(forward.log_z - 0.5 * math.log(2 * math.pi)) < 0.1
    assert abs(backward.log_z - 0.5 * math.log(2 * math.pi)) < 0.1


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        (torch.randn(1, 1), {}, "two examples or more, all of them finite, and 1 came, 1 of"),
        (torch.randn(0, 1), {}, "and 0 came"),
        (torch.full((3, 1), math.nan), {}, "and 3 came, 0 of them finite"),
        (torch.randn(3, 2), {}, r"shape of the data, \(1,\), and \(2,\) came"),
        (torch.randn(9, 1), {"ends": torch.zeros(1, 1)}, "two samples of the model"),
        *((torch.randn(9, 1), {"chains": c}, f"2 chains on, and {c} came") for c in (1, 0, -3)),
    ],
)
def test_too_little_to_estimate_from_is_refused(x, options, says):
    with pytest.raises(UserError, match=says):
        partition(Unit(), DataSpec((1,)), x.double(), **options)


@pytest.mark.parametrize("support", [Real(), Binary()])
def test_an_energy_of_all_examples_together_has_no_log_z(support):
    class Whole(Unit):
        def energy(self, x, cond=None):
            return x.sum()

    ends = torch.ones(9, 1)
    with pytest.raises(UserError, match=r"and \(\) came"):
        partition(Whole(), DataSpec((1,), support), torch.ones(9, 1), ends=ends, chains=9)


def test_what_cannot_be_estimated_is_refused():
    spec = DataSpec((2,), Mixed((Real(), Binary())))
    with pytest.raises(UserError, match="give some as ends"):
        partition(Cubic(2), spec, torch.zeros(5, 2))
    with pytest.raises(UserError, match="all discrete or all continuous"):
        partition(Cubic(2), spec, torch.zeros(5, 2), ends=torch.zeros(5, 2))


def test_a_likelihood_says_its_constant_from_both_sides():
    model = Harmonium(Bits((6,)), 20, temperatures=200, sweeps=50)
    said = likelihood(model, states(6), None, DataSpec((6,), Binary()))
    assert said.kind == "estimate"
    (forward, _), (backward, _) = model.log_partition(), model.log_partition_above()
    assert f"log Z = {forward:.0f}" in said.detail
    assert "from above" in said.detail
    assert abs(backward - forward) < 0.1
