"""How a model is trained: an objective says which gradients, the loop says when.

A model is what remains after training; an objective is how it got there, and owns every module and
buffer that only training needs (a critic, a persistent chain, a frozen teacher).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from pofx.batch import Batch

Metrics = Mapping[str, Tensor]


class Update(NamedTuple):
    """One step of one player.

    Args:
        player: the name of the player that moves.
        loss: a scalar, averaged over the batch, whose gradient moves it and nobody else.
        metrics: scalars to log.
    """

    player: str
    loss: Tensor
    metrics: Metrics = MappingProxyType({})


class Symptom(NamedTuple):
    """A sign, seen while training, of a failure that the literature names.

    Args:
        name: of the failure; a run says it once.
        advice: what was seen, and the cure.

    >>> print(Symptom("posterior collapse", "codes carry 0.01 nats; free bits are a cure."))
    Posterior collapse: codes carry 0.01 nats; free bits are a cure.
    """

    name: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name[:1].upper()}{self.name[1:]}: {self.advice}"


class Objective(nn.Module, ABC):
    """Yields the updates of one training step.

    Noise is drawn with torch's global functions (`torch.randn`, `torch.rand`, `torch.bernoulli`,
    ...) with the example as the leading axis: the loop seeds them for each step, which is what
    makes a resume exact.
    """

    @property
    @abstractmethod
    def players(self) -> Mapping[str, nn.Module]:
        """The modules that learn, by name; each has an optimizer of its own."""

    @abstractmethod
    def updates(self, batch: Batch) -> Iterator[Update]:
        """Yields updates in order; each sees the parameters that the last one left."""

    def after_step(self) -> None:
        """Moves what no gradient moves, once every update of the step is applied."""

    @property
    def stage(self) -> int:
        """Which part of its training it is in, from 0; validation losses of two parts cannot be
        compared, and weights of a later one are never given up for those of an earlier.
        """
        return 0

    @property
    def departs(self) -> bool:
        """Whether training lowers something else than minus the bound that the model knows, so that
        held-out examples are judged by the loss, with all schedules at their end.
        """
        return False

    def symptoms(self, metrics: Mapping[str, float]) -> Iterable[Symptom]:
        """What looks wrong at present. It is asked where metrics are logged, which is seldom, in
        each process for itself.

        Args:
            metrics: those of the step that is logged; one that was skipped lacks some.
        """
        return ()


class LossObjective(Objective):
    """The common case: one player, `self.model`, and one loss."""

    model: nn.Module

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {"model": self.model}

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """The scalar loss of the batch, averaged over examples, and metrics to log."""

    def updates(self, batch: Batch) -> Iterator[Update]:
        loss, metrics = self.loss(batch)
        yield Update("model", loss, metrics)
