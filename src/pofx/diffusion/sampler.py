"""sampler: from noise to data, step by step.

A sampler is a generator: the caller's `for` loop sees every step, and may leave at any.
Coefficients of the whole trajectory are computed beforehand as Python floats, and the state is
updated in place, so that a step costs little besides the denoiser.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level, Schedule
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

    in_log_snr: bool = False
    """Whether its steps are best even in the log of the signal-to-noise ratio, as those are whose
    order is one in that variable, where the schedule preserves variance."""

    adaptive: bool = False
    """Whether it chooses its steps itself, whatever the grid of times."""

    def check(self, denoiser: Denoiser) -> None:  # noqa: B027, most serve any
        """Refuses a denoiser that lacks what the sampler asks of it.

        Raises:
            UserError: it does.
        """

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


class PlannedSampler(Sampler):
    """A sampler whose every step mixes the state, one guess of the clean data and fresh noise."""

    @abstractmethod
    def plan(self, schedule: Schedule, times: list[float]) -> list[Coefficients]:
        """Every step along a grid of times."""

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        steps = self.plan(denoiser.schedule, times)
        quiet = (
            torch.no_grad()
        )  # made once, entered at each step: the caller's own code is outside it
        path = zip(steps, levels(denoiser.schedule, times, x_t), times[1:], strict=False)
        for (keep, clean, noise), level, s in path:
            with quiet:
                x0 = denoiser.denoise(x_t, level, cond)
                blend(x_t, keep, clean, x0)
                if noise:
                    x_t.add_(torch.randn_like(x_t), alpha=noise)
            yield State(s, x_t, x0)


class OneStepSampler(PlannedSampler):
    """One of which two noise levels determine the step between them."""

    @abstractmethod
    def coefficients(self, t: Scales, s: Scales) -> Coefficients:
        """The step between two noise levels, each (alpha, sigma), from t to the cleaner s."""

    def plan(self, schedule: Schedule, times: list[float]) -> list[Coefficients]:
        return [self.coefficients(t, s) for t, s in pairwise(schedule.scales(times))]


class Multistep(NamedTuple):
    """One step: `x_s = keep x_t + sum_j clean[j] x0_j + noise z`, the newest guess first."""

    keep: float
    clean: tuple[float, ...]
    noise: float


class MultistepSampler(Sampler):
    """A sampler that also remembers the guesses of earlier steps, for the length of a trajectory.

    Args:
        order: how many guesses it uses.
    """

    order: int

    @abstractmethod
    def plan(self, schedule: Schedule, times: list[float]) -> list[Multistep]:
        """Every step along a grid of times; step i has at most i + 1 guesses."""

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        guesses: deque[Data] = deque(maxlen=self.order)
        steps = self.plan(denoiser.schedule, times)
        quiet = torch.no_grad()
        path = zip(steps, levels(denoiser.schedule, times, x_t), times[1:], strict=False)
        for (keep, clean, noise), level, s in path:
            with quiet:
                guesses.appendleft(denoiser.denoise(x_t, level, cond))
                mix(x_t, keep, clean, guesses, out=x_t)
                if noise:
                    x_t.add_(torch.randn_like(x_t), alpha=noise)
            yield State(s, x_t, guesses[0])


class Stages(NamedTuple):
    """One step by several guesses, each made where those before it lead.

    Args:
        start: the time of the first guess.
        scale: what the state is multiplied by beforehand; 1 unless noise is added.
        noise: fresh noise that the state gets beforehand.
        between: the time of each further guess, and how it is reached.
        last: how the step's end is reached.
    """

    start: float
    scale: float
    noise: float
    between: tuple[tuple[float, Reach], ...]
    last: Reach


class Reach(NamedTuple):
    """`keep x_t + sum_j clean[j] x0_j + ahead x`, the guesses in the order in which they were made
    and x the state of which the last one was made. A step of second order needs no other guess.
    """

    keep: float
    clean: tuple[float, ...]
    ahead: float = 0.0


_STEEP = 2.0
"""A weight of the state ahead above which single precision is lost in a small difference."""


def second_order(start: float, between: float, half: Reach, last: Reach) -> Stages:
    """A step by two guesses, whose end is reached from where the second one was made, which takes
    the fewest passes; but from the guesses alone where that would be a small difference of large
    states.

    Args:
        start: the time of the first guess.
        between: that of the second.
        half: how it is reached.
        last: how the end is reached.
    """
    keep, (first, *rest), ahead = last
    if abs(ahead) > _STEEP:
        clean = (first + ahead * half.clean[0], *rest)
        last = Reach(keep + ahead * half.keep, clean)
    return Stages(start, 1.0, 0.0, ((between, half),), last)


class StagedSampler(Sampler):
    """A sampler that asks the denoiser several times in a step, and remembers nothing after it."""

    @abstractmethod
    def plan(self, schedule: Schedule, times: list[float]) -> list[Stages]:
        """Every step along a grid of times."""

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        steps = self.plan(denoiser.schedule, times)
        asked = [t for step in steps for t in (step.start, *(t for t, _ in step.between))]
        level = iter(levels(denoiser.schedule, asked, x_t))
        quiet, ahead = torch.no_grad(), torch.empty_like(x_t)
        for step, s in zip(steps, times[1:], strict=True):
            with quiet:
                if step.noise:
                    x_t.mul_(step.scale).add_(torch.randn_like(x_t), alpha=step.noise)
                guesses = [denoiser.denoise(x_t, next(level), cond)]
                for _, (keep, clean, _) in step.between:
                    mix(x_t, keep, clean, guesses, out=ahead)
                    guesses.append(denoiser.denoise(ahead, next(level), cond))
                keep, clean, share = step.last
                mix(x_t, keep, (share, *clean), (ahead, *guesses), out=x_t, spare=ahead)
            yield State(s, x_t, guesses[-1])


def blend(x: Tensor, keep: float, clean: float, x0: Tensor) -> None:
    """`keep x + clean x0` in place of x.

    A step costs its passes over memory, and a mean of the two takes one pass where a sum takes two.
    All steps of first order are means where the data keep their scale, and on a straight line.

    >>> x = torch.tensor([4.0])
    >>> blend(x, 0.75, 0.25, torch.tensor([2.0])), x
    (None, tensor([3.5000]))
    """
    if _mean(keep, clean):
        x.lerp_(x0, clean)
    else:
        x.mul_(keep).add_(x0, alpha=clean)


def mix(
    x: Tensor,
    keep: float,
    weights: Sequence[float],
    others: Sequence[Tensor],
    out: Tensor,
    spare: Tensor | None = None,
) -> None:
    """`keep x + sum_j weights[j] others[j]`, written to `out`, which may be x.

    Args:
        x: the state.
        keep: its weight.
        weights: those of the others; a tensor of weight 0 is not read.
        others: guesses and states.
        out: what is written to.
        spare: what may be overwritten on the way, such as one of the others.
    """
    parts = [(w, y) for w, y in zip(weights, others, strict=False) if w]
    total = sum(w for w, _ in parts)
    if len(parts) <= 2 and _mean(keep, total):
        _, y = parts[0]
        for w, other in parts[1:]:
            y = torch.lerp(y, other, w / total, out=spare)
        torch.lerp(x, y, total, out=out)
        return
    if keep != 1 or out is not x:
        torch.mul(x, keep, out=out)
    for w, y in parts:
        out.add_(y, alpha=w)


def _mean(keep: float, rest: float) -> bool:
    return abs(keep + rest - 1) < 1e-12 and abs(rest) > 1e-6


def levels(schedule: Schedule, times: list[float], x: Tensor) -> list[Level]:
    """The level of a whole batch at each time, its scales as floats."""
    scales = schedule.scales(times)
    each = per_example(times, x)
    return [Level(t, *v) for t, v in zip(each, scales, strict=True)]


def ratio(scales: Scales) -> float:
    """Sigma / alpha; infinite where there is no signal."""
    return scales[1] / scales[0] if scales[0] else math.inf


def direct(t: Scales, s: Scales) -> tuple[float, float]:
    """The deterministic step of first order: how much of the state, and of the clean guess.

    >>> [round(v, 4) for v in direct((0.6, 0.8), (0.8, 0.6))]
    [0.75, 0.35]
    """
    keep = s[1] / t[1]
    return keep, s[0] - t[0] * keep


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


def per_example(times: list[float], x: Tensor) -> tuple[Tensor, ...]:
    """Each time, `(n,)`: the same for every example, and all of them in one transfer."""
    table = torch.tensor(times, dtype=x.dtype).to(x.device)
    return table[:, None].expand(-1, x.shape[0]).unbind(0)
