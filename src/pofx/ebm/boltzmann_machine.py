r"""boltzmann_machine: binary units of which any two may be joined, some of them hidden.

.. math:: E(s) = -b^T s - \tfrac12 s^T J s, \qquad s = (v, h), \qquad
    p(s_i = 1 | s_{-i}) = \sigma\Big(b_i + \sum_j J_{ij} s_j\Big)

What is not a sum of a few terms is bounded or estimated: the free energy by a mean field,

.. math:: F(v) \le E(v, \mu) + \sum_j \mu_j \log \mu_j + (1 - \mu_j) \log (1 - \mu_j), \qquad
    \mu_j = \sigma\Big(b_j + \sum_i J_{ji} s_i\Big), \quad s = (v, \mu)

and log Z by annealed importance sampling.

References:
    A learning algorithm for Boltzmann machines (Ackley et al., 1985), eq. 1 and 3.
    A mean field theory learning algorithm for neural networks (Peterson and Anderson, 1987).
    Deep Boltzmann machines (Salakhutdinov and Hinton, 2009), eq. 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.ebm.energy import binary_states, enumerate_log_partition
from pofx.mcmc.ais import ais, reverse_ais, temperatures
from pofx.mcmc.chains import Chains
from pofx.mcmc.gibbs import bernoulli
from pofx.parameters import Count
from pofx.typing import Cond, Data, PerExample

_SUMMED_HIDDEN = 10
"""Hidden units whose 1,024 states are summed over for each example."""
_SUMMED_UNITS = 16
"""Units whose 65,536 states are summed over for log Z."""


class BoltzmannMachine(nn.Module):
    """A Boltzmann machine: capabilities Samples, Walks, Completes, EnergyBound and Normalizer.

    Args:
        shape: of an example, whose elements are the visible units.
        hidden: number of hidden units.
        sweeps: Gibbs sweeps to a sample.
        mean_field: sweeps to the mean field.
        temperatures: of annealed importance sampling.
        chains: of annealed importance sampling.
    """

    base_rate: Tensor
    seen: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden: int,
        *,
        sweeps: int = 500,
        mean_field: int = 10,
        temperatures: int = 1000,
        chains: int = 100,
    ) -> None:
        super().__init__()
        self.shape, self.hidden, self.size = shape, hidden, math.prod(shape)
        self.moments_shape: tuple[int, ...] = (self.size,)
        self.state_shape: tuple[int, ...] = (self.size + hidden,)
        self.sweeps, self.mean_field = sweeps, mean_field
        self.temperatures, self.chains = temperatures, chains
        units = self.size + hidden
        self.weight = nn.Parameter(0.01 * torch.randn(units, units))
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("base_rate", torch.full((self.size,), 0.5))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def coupling(self) -> Tensor:
        """J: symmetric, made of the weights below the diagonal; no unit is joined to itself."""
        lower = self.weight.tril(-1)
        return lower + lower.t()

    def state_energy(self, s: Tensor) -> PerExample:
        """E(s), nats; linear in each unit, so that it takes means of independent ones too."""
        return -(s @ self.bias) - 0.5 * ((s @ self.coupling) * s).sum(1)

    def visible(self, s: Tensor) -> Data:
        """The example of a state."""
        return s[:, : self.size].unflatten(1, self.shape)

    def held(self, x: Data) -> Tensor:
        """The mean field of states with the visible units held at examples, unit after unit."""
        coupling = self.coupling
        s = F.pad(x.flatten(1), (0, self.hidden), value=0.5)
        for _ in range(self.mean_field):
            for j in range(self.size, len(self.bias)):
                s[:, j] = torch.sigmoid(s @ coupling[j] + self.bias[j])
        return s

    def energy_bound(self, x: Data, cond: Cond | None = None) -> PerExample:
        """The mean field's bound of F(x)."""
        with torch.no_grad():  # the bound is flat in the mean field
            s = self.held(x)
        mu = s[:, self.size :]
        return self.state_energy(s) + (torch.xlogy(mu, mu) + torch.xlogy(1 - mu, 1 - mu)).sum(1)

    def positive_energy(self, x: Data) -> PerExample:
        return self.energy_bound(x)

    @torch.no_grad()
    def sweep(self, s: Tensor, k: int) -> Tensor:
        return gibbs(s, self.bias, self.coupling, k, range(len(self.bias)))

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None, *, sweeps: Count | None = None) -> Data:
        """Draws `n` examples, each the end of a chain.

        Args:
            n: how many.
            cond: not used.
            sweeps: of Gibbs sampling.
        """
        s = bernoulli(self.base().expand(n, -1))
        return self.visible(self.sweep(s, self.sweeps if sweeps is None else sweeps))

    @torch.no_grad()
    def walk(self, n: int) -> Iterator[Chains]:
        """The chains of `sample`, sweep after sweep."""
        s = bernoulli(self.base().expand(n, -1))
        for _ in range(self.sweeps):
            s = self.sweep(s, 1)
            yield Chains(self.visible(s))

    @torch.no_grad()
    def complete(self, x: Data, known: Tensor, cond: Cond | None = None) -> Data:
        """Chains that move the other units alone."""
        known = F.pad(known.flatten(), (0, self.hidden))
        s = bernoulli(self.base().expand(len(x), -1))
        s = torch.where(known, F.pad(x.flatten(1), (0, self.hidden)), s)
        free = (~known).nonzero()[:, 0].tolist()
        return self.visible(gibbs(s, self.bias, self.coupling, self.sweeps, free))

    def base(self) -> Tensor:
        """Logits of independent units: the data's shares, and even ones of what is hidden."""
        return F.pad((0.99 * self.base_rate + 0.005).logit(), (0, self.hidden))

    def powers(self, x: Data) -> Tensor:
        return x.flatten(1)

    @torch.no_grad()
    def observe(self, total: Tensor, examples: Tensor) -> None:
        """Keeps the mean of the data; visible biases start at that of the first step (Hinton)."""
        if not self.seen:
            self.bias[: self.size] = ((total + 0.5) / (examples + 1)).logit()
        self.seen += examples
        self.base_rate.lerp_(total / examples, examples / self.seen)

    @torch.no_grad()
    def log_partition(self) -> tuple[float, float]:
        """Log Z by annealed importance sampling, and its standard error, in nats."""
        found = ais(AnnealedUnits(self), temperatures(self.temperatures), self.chains)
        return found.log_z, found.stderr

    @torch.no_grad()
    def log_partition_above(self) -> tuple[float, float]:
        """The same backwards, from chains; from above as far as they follow the model."""
        s = self.sweep(bernoulli(self.base().expand(self.chains, -1)), self.sweeps)
        found = reverse_ais(AnnealedUnits(self), temperatures(self.temperatures), s)
        return found.log_z, found.stderr


class SummedHidden(BoltzmannMachine):
    """One of so few hidden units that their states are summed over: capability Energy besides."""

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        v, coupling = x.flatten(1), self.coupling
        h = binary_states(0, 2**self.hidden, self.hidden, self.bias)
        own, among = coupling[: self.size, : self.size], coupling[self.size :, self.size :]
        field = self.bias[self.size :] + v @ coupling[: self.size, self.size :]
        states = field @ h.t() + 0.5 * ((h @ among) * h).sum(1)
        visible = v @ self.bias[: self.size] + 0.5 * ((v @ own) * v).sum(1)
        return -visible - states.logsumexp(1)

    def positive_energy(self, x: Data) -> PerExample:
        return self.energy(x)


class SmallBoltzmann(SummedHidden):
    """One of so few units that log Z is a sum: capability Density besides."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return -self.energy(x) - self.exact_log_partition()

    def exact_log_partition(self) -> Tensor:
        """Log Z, a scalar in nats."""
        return enumerate_log_partition(self.state_energy, len(self.bias), self.bias)


class AnnealedUnits:
    """From independent units (beta = 0) to the machine (beta = 1), linear in the energy."""

    def __init__(self, model: BoltzmannMachine) -> None:
        self.base, self.bias, self.coupling = model.base(), model.bias, model.coupling

    def log_z(self) -> float:
        return float(F.softplus(self.base.double()).sum())

    def start(self, n: int) -> Tensor:
        return bernoulli(self.base.expand(n, -1))

    def log_f(self, s: Tensor, beta: float) -> PerExample:
        return s @ torch.lerp(self.base, self.bias, beta) + beta * 0.5 * (
            (s @ self.coupling) * s
        ).sum(1)

    def transition(self, s: Tensor, beta: float) -> Tensor:
        order = torch.randperm(len(self.bias)).tolist()  # of any order, for a reversible sweep
        return gibbs(s, torch.lerp(self.base, self.bias, beta), beta * self.coupling, 1, order)


def gibbs(s: Tensor, bias: Tensor, coupling: Tensor, k: int, order: Sequence[int]) -> Tensor:
    """`k` sweeps over the units in `order`, each drawn given all the others; the rest stay."""
    s = s.clone()
    for _ in range(k):
        threshold = torch.rand_like(s).logit()
        for i in order:
            s[:, i] = (s @ coupling[i] + bias[i] > threshold[:, i]).to(s.dtype)
    return s


def boltzmann_machine(shape: tuple[int, ...], hidden: int, **options: int) -> BoltzmannMachine:
    """A machine that says as much of its likelihood as is a small sum."""
    if hidden > _SUMMED_HIDDEN:
        return BoltzmannMachine(shape, hidden, **options)
    small = math.prod(shape) + hidden <= _SUMMED_UNITS
    return (SmallBoltzmann if small else SummedHidden)(shape, hidden, **options)
