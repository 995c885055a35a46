"""Annealed importance sampling of any energy, both ways, against sums and integrals."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal

from pofx.ebm.energy import binary_states
from pofx.ebm.harmonium import Harmonium
from pofx.ebm.units import Bits
from pofx.errors import UserError
from pofx.evaluation.likelihood import likelihood
from pofx.evaluation.partition import partition
from pofx.mcmc.ais import ais, reverse_ais
from pofx.mcmc.geometric_path import GeometricPath
from pofx.mcmc.gibbs import sites
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
