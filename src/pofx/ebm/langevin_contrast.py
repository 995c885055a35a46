r"""Contrastive divergence of any energy, its second half by Langevin dynamics.

As for an energy with Gibbs sweeps (`pofx.ebm.contrastive_divergence`) the likelihood's gradient is
that of

.. math:: L = \mathbb{E}_{data} E(x) - \mathbb{E}_{chains} E(x)
    + \alpha\, \mathbb{E} \left[ E(x_{data})^2 + E(x_{chains})^2 \right]

where the last term, which is no part of the likelihood, keeps energies near 0. Chains of k steps
start from the data (CD-k) or from a buffer of what earlier chains left, a few of them anew.

References:
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 5.
    Implicit generation and modeling with energy-based models (Du and Mordatch, 2019), algorithm 1
    and section 3.3. https://arxiv.org/abs/1903.08689

Note:
    An unadjusted chain of step epsilon has a wider distribution than its energy says, and training
    answers with a narrower energy: on normal data of variance s2 it ends at
    `(s2 + sqrt(s2^2 - s2 epsilon)) / 2`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.ebm.replay import ReplayBuffer
from pofx.errors import UserError
from pofx.functional.dequantize import relax
from pofx.functional.gradients import score_of
from pofx.functional.reductions import expand_like
from pofx.mcmc.chains import take
from pofx.mcmc.independence import independence
from pofx.mcmc.langevin import langevin
from pofx.mcmc.mala import mala
from pofx.objective import Objective, Update
from pofx.spec import DataSpec

_RUNAWAY = 1000.0
"""Nats for each element of an example by which data and chains do not differ in a sound run."""


class Walk(NamedTuple):
    """How chains move between two updates.

    Args:
        k: steps.
        step: epsilon of Langevin dynamics.
        temperature: of its noise.
        adjusted: whether every step is put to Metropolis' test, which takes the bias away and holds
            where an energy is steep.
        jumps: proposals to start anew, before the steps, that Metropolis' test accepts or refuses.
    """

    k: int = 20
    step: float = 0.01
    temperature: float = 1.0
    adjusted: bool = False
    jumps: int = 0

    def __call__(self, model: Startable, y: Tensor) -> Tensor:
        t = self.temperature

        def energy(y: Tensor) -> Tensor:
            return model.potential(y) / t

        if self.jumps:
            y = take(independence(energy, y, model.start, model.base_energy), self.jumps)
        if not self.adjusted:
            chains = langevin(score_of(model.potential), y, self.step, temperature=t)
        else:  # the same proposals, of the energy over the temperature
            chains = mala(energy, y, self.step * t)
        return take(chains, self.k)


class Diverged(UserError):
    """Data and chains are so far apart that training has failed."""


class Startable(Protocol):
    """An energy of relaxed examples that knows where chains start."""

    spec: DataSpec

    def potential(self, y: Tensor) -> Tensor:
        """The energy of relaxed examples."""
        ...

    def start(self, n: int) -> Tensor:
        """Where new chains are, relaxed: draws of a distribution that covers the data."""
        ...

    def base_energy(self, y: Tensor) -> Tensor:
        """The energy of that distribution, up to a constant."""
        ...


class LangevinContrast(Objective):
    """What both kinds share; they differ in where chains start.

    Args:
        model: what is trained.
        walk: how chains move.
        energy_decay: alpha; 1 in the paper.
        smoothing: standard deviation of normal noise on the data.
    """

    def __init__(
        self,
        model: Startable,
        walk: Walk = Walk(),  # noqa: B008, frozen
        *,
        energy_decay: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model
        self.walk, self.energy_decay, self.smoothing = walk, energy_decay, smoothing

    @property
    def players(self) -> dict[str, nn.Module]:
        assert isinstance(self.model, nn.Module)
        return {"model": self.model}

    @abstractmethod
    def negatives(self, y: Tensor) -> Tensor:
        """Where as many chains are as there are examples `y`, cut from any graph."""

    def updates(self, batch: Batch) -> Iterator[Update]:
        x = batch.x
        y = relax(x, self.model.spec)
        if self.smoothing:
            y = y + self.smoothing * torch.randn_like(y)
        negative = self.negatives(y)
        data, chains = self.model.potential(torch.cat([y, negative])).chunk(2)
        gap = data.mean() - chains.mean()
        self._watch(float(gap.detach()), y[0].numel())
        size = (data.square() + chains.square()).mean()
        metrics = {"energy_gap": gap, "energy_data": data.mean()}
        yield Update("model", gap + self.energy_decay * size, metrics)

    def _watch(self, gap: float, size: int) -> None:
        if abs(gap) > _RUNAWAY * size:
            raise Diverged(
                f"the energies of data and chains should be close, and are {gap:.3g} nats apart; "
                "lower --lr or --step-size, or raise --energy-decay."
            )


class DataChains(LangevinContrast):
    """CD-k: every chain starts from the data."""

    def negatives(self, y: Tensor) -> Tensor:
        return self.walk(self.model, y)


class ReplayChains(LangevinContrast):
    """Persistent chains, of which a step continues some that it draws from a buffer.

    Args:
        model: what is trained.
        walk: how chains move.
        examples: in a step, at most.
        slots: of the buffer, for each example in a step.
        fresh: how often a chain starts anew instead; 0.05 in the paper.
        options: as for `LangevinContrast`.
    """

    def __init__(
        self,
        model: Startable,
        walk: Walk = Walk(),  # noqa: B008, frozen
        *,
        examples: int,
        slots: int = 1,
        fresh: float = 0.05,
        **options: float,
    ) -> None:
        super().__init__(model, walk, **options)
        self.fresh = fresh
        self.buffer = ReplayBuffer(examples, slots, tuple(model.start(1).shape[1:]))

    def updates(self, batch: Batch) -> Iterator[Update]:
        try:
            yield from super().updates(batch)
        finally:
            self.buffer.rewind()

    def negatives(self, y: Tensor) -> Tensor:
        new = self.model.start(y.shape[0])
        rows, kept, alive = self.buffer.draw(y.shape[0])
        anew = (torch.rand_like(y.flatten(1)[:, 0]) < self.fresh) | ~alive
        left = self.walk(self.model, torch.where(expand_like(anew, new), new, kept))
        sound = expand_like(left.flatten(1).isfinite().all(1), left)
        left = torch.where(sound, left, new)  # a chain that overflowed starts again
        self.buffer.keep(rows, left)
        return left
