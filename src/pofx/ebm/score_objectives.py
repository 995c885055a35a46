"""Score matching as objectives of any network that gives a score or an energy; the mathematics is
in `pofx.functional.score_matching`.

All of them are about the data with normal noise of one level on it, so that one minimum serves them
all: without noise a density of bytes or bits has no score.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.errors import UserError
from pofx.functional import score_matching
from pofx.functional.dequantize import relax
from pofx.functional.gradients import ScoreFunction, score_of
from pofx.objective import LossObjective, Metrics
from pofx.spec import DataSpec
from pofx.typing import PerExample


@runtime_checkable
class RelaxedScore(Protocol):
    """A network that gives the score of relaxed examples."""

    spec: DataSpec

    def relaxed_score(self, y: Tensor) -> Tensor:
        """The score, differentiable in the network's parameters."""
        ...


@runtime_checkable
class RelaxedEnergy(Protocol):
    """A network that gives the energy of relaxed examples."""

    spec: DataSpec

    def potential(self, y: Tensor) -> PerExample:
        """The energy."""
        ...


class ScoreMatching(LossObjective):
    """What they share: data is relaxed and blurred, and an energy is asked for its slope.

    Args:
        model: gives a score or an energy.
        sigma: the noise's standard deviation.
    """

    def __init__(self, model: RelaxedScore | RelaxedEnergy, sigma: float = 0.0) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model
        self.sigma, self.spec = sigma, model.spec
        self.score: ScoreFunction = (
            model.relaxed_score
            if isinstance(model, RelaxedScore)
            else score_of(model.potential, differentiable=True)
        )

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x = batch.x
        y = relax(x, self.spec)
        return self.criterion(y, torch.randn_like(y)).mean(), {}

    @abstractmethod
    def criterion(self, y: Tensor, eps: Tensor) -> PerExample:
        """Of each example, given the noise that goes on it."""


class Implicit(ScoreMatching):
    """By the exact trace: for few elements."""

    def criterion(self, y: Tensor, eps: Tensor) -> PerExample:
        return score_matching.implicit(self.score, y + self.sigma * eps)


class Sliced(ScoreMatching):
    """By one random direction of 1 and -1, in the form of less variance."""

    def criterion(self, y: Tensor, eps: Tensor) -> PerExample:
        v = torch.rand_like(y).sub_(0.5).sign_()
        return score_matching.sliced_reduced(self.score, y + self.sigma * eps, v)


class Denoising(ScoreMatching):
    """By the noise itself, whose level must be positive."""

    def __init__(self, model: RelaxedScore | RelaxedEnergy, sigma: float = 0.1) -> None:
        super().__init__(model, sigma)
        if not sigma > 0:
            raise UserError(
                f"denoising learns from noise of a positive level, and {sigma} came; 0.1 is usual."
            )

    def criterion(self, y: Tensor, eps: Tensor) -> PerExample:
        # times the variance: a loss of the order of the number of elements at any level
        return score_matching.denoising(self.score, y, self.sigma, eps) * self.sigma**2
