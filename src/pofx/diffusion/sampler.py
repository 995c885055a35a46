"""sampler: from noise to data, step by step.

A sampler is a generator: the caller's `for` loop sees every step, and may leave at any.
Coefficients of the whole trajectory are computed beforehand as Python floats, and the state is
updated in place, so that a step costs little besides the denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level
from pofx.typing import Cond, Data

Scales = tuple[float, float]


class State(NamedTuple):
    """Where a trajectory is.

    Args:
        t: the time reached.
        x_t: the noisy data; the next step overwrites it, so a caller that keeps it clones it.
        x0: the guess of the clean data that the step used.
    """

    t: float
    x_t: Data
    x0: Data


class Sampler(ABC):
    """Takes a batch along a grid of times."""

    @abstractmethod
    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        """Yields the state after each step from `times[0]` down to `times[-1]`; no gradients.

        Args:
            denoiser: guesses the clean data.
            x_t: noisy data at `times[0]`; overwritten.
            times: strictly falling; none but the last may be 0.
            cond: a label for each example.
        """


class Coefficients(NamedTuple):
    """One step: `x_s = keep x_t + clean x0 + noise z` with fresh standard noise z."""

    keep: float
    clean: float
    noise: float


class OneStepSampler(Sampler):
    """A sampler whose every step mixes the state, one guess of the clean data and fresh noise."""

    @abstractmethod
    def coefficients(self, t: Scales, s: Scales) -> Coefficients:
        """The step between two noise levels, each (alpha, sigma), from t to the cleaner s."""

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        scales = denoiser.schedule.scales(times)
        steps = [self.coefficients(t, s) for t, s in pairwise(scales)]
        levels = [Level(t, *v) for t, v in zip(_per_example(times, x_t), scales, strict=True)]
        quiet = (
            torch.no_grad()
        )  # made once, entered at each step: the caller's own code is outside it
        for (keep, clean, noise), level, s in zip(steps, levels, times[1:], strict=False):
            with quiet:
                x0 = denoiser.denoise(x_t, level, cond)
                x_t.mul_(keep).add_(x0, alpha=clean)
                if noise:
                    x_t.add_(torch.randn_like(x_t), alpha=noise)
            yield State(s, x_t, x0)


def transition(t: Scales, s: Scales) -> tuple[float, float]:
    r"""The Gaussian step from the cleaner level s to t: its scale and variance.

    .. math:: q(x_t | x_s) = N(\alpha_{t|s} x_s, \beta), \quad
              \alpha_{t|s} = \alpha_t / \alpha_s, \quad
              \beta = \sigma_t^2 - \alpha_{t|s}^2 \sigma_s^2

    >>> alpha, beta = transition((0.6, 0.8), (0.8, 0.6))
    >>> round(alpha, 4), round(beta, 4)
    (0.75, 0.4375)
    """
    alpha = t[0] / s[0]
    return alpha, t[1] ** 2 - (alpha * s[1]) ** 2


def _per_example(times: list[float], x: Tensor) -> tuple[Tensor, ...]:
    """Each time, `(n,)`: the same for every example, and all of them in one transfer."""
    table = torch.tensor(times, dtype=x.dtype).to(x.device)
    return table[:, None].expand(-1, x.shape[0]).unbind(0)
