r"""heun: Elucidating the design space of diffusion-based generative models (Karras et al., 2022).

Euler's step, then the same step again with the mean of the slopes at both of its ends:

.. math:: u_s = u_t + \frac{\tau_s - \tau_t}{2} (d_t + d_s)

with u = x / alpha, tau = sigma / alpha and the slope d = eps, as in the paper, where the schedule
keeps the data's scale. Where the signal vanishes tau has no bound, nor has an error of d times its
steps. So straight schedules have u = x / (alpha + sigma), tau = sigma / (alpha + sigma) and
d = eps - x0, and those that preserve variance have the angle of alpha and sigma for tau and d = v.
The step to t = 0 is Euler's.

`EDM` adds noise before each step, which corrects errors of earlier ones:

.. math:: \hat\tau = (1 + \gamma) \tau, \quad
          \gamma = \min(S_\text{churn} / N, \sqrt 2 - 1) \text{ for } S_\min \le \tau \le S_\max

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022),
    algorithms 1 and 2. https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch

from pofx.diffusion.sampler import (
    Reach,
    Scales,
    StagedSampler,
    Stages,
    direct,
    ratio,
    second_order,
    transition,
)
from pofx.diffusion.schedule import Path, Schedule
from pofx.errors import UserError


class Heun(StagedSampler):
    """Of second order; two evaluations in a step, one in the last."""

    in_log_snr = True

    def plan(self, schedule: Schedule, times: list[float]) -> list[Stages]:
        scales = schedule.scales(times)
        return [
            heun_step(times[i], times[i + 1], t, s, schedule.path)
            for i, (t, s) in enumerate(pairwise(scales))
        ]


class EDM(StagedSampler):
    """Heun's method with noise added before each step.

    Args:
        churn: how much noise over all steps; 0 for none.
        least: the least noise-to-signal ratio at which noise is added.
        most: the largest.
        inflate: the standard deviation of the noise that is added: 1 is exact, and the paper's
            1.003 makes up for a denoiser that removes too much.
    """

    in_log_snr = True

    def __init__(
        self,
        churn: float = 40.0,
        least: float = 0.05,
        most: float = 50.0,
        inflate: float = 1.0,
    ) -> None:
        if churn < 0:
            raise UserError(f"churn is at least 0, and {churn} came.")
        self.churn, self.least, self.most, self.inflate = churn, least, most, inflate

    def plan(self, schedule: Schedule, times: list[float]) -> list[Stages]:
        scales = schedule.scales(times)
        highest = schedule.ratio(schedule.last)
        taus = [ratio(v) for v in scales[:-1]]
        raised = [min(tau * (1 + self._gamma(tau, len(taus))), max(tau, highest)) for tau in taus]
        starts = [
            float(schedule.time(torch.tensor(r, dtype=torch.float64))) if r > tau else t
            for r, tau, t in zip(raised, taus, times, strict=False)
        ]
        steps = []
        for i, start in enumerate(schedule.scales(starts)):
            step = heun_step(starts[i], times[i + 1], start, scales[i + 1], schedule.path)
            scale, variance = transition(start, scales[i]) if scales[i][0] else (1.0, 0.0)
            noise = self.inflate * math.sqrt(max(variance, 0.0)) if raised[i] > taus[i] else 0.0
            steps.append(step._replace(scale=scale, noise=noise))
        return steps

    def _gamma(self, tau: float, steps: int) -> float:
        inside = self.least <= tau <= self.most
        return min(self.churn / steps, math.sqrt(2) - 1) if inside else 0.0


def heun_step(from_: float, to: float, t: Scales, s: Scales, path: Path) -> Stages:
    """Heun's step between two times with their scales."""
    keep, clean = direct(t, s)
    if not s[1]:
        return Stages(from_, 1.0, 0.0, (), Reach(keep, (clean,)))
    a, b = _place(t, path), _place(s, path)
    half = b.norm * (b.along - a.along) / 2
    # eps = (x - alpha x0) / sigma at either end, and the guess at t is what leads from x_t to x
    first = half * (a.clean - a.eps * t[0] / t[1]) / clean
    last = Reach(
        b.norm / a.norm + half * a.eps / t[1] - first * keep,
        (0.0, half * (b.clean - b.eps * s[0] / s[1])),
        first + half * b.eps / s[1],
    )
    return second_order(from_, to, Reach(keep, (clean,)), last)


class _Place(NamedTuple):
    """Where a level lies on a path, and the slope of `x / norm` there, `clean x0 + eps epsilon`."""

    norm: float
    along: float
    clean: float
    eps: float


def _place(level: Scales, path: Path) -> _Place:
    alpha, sigma = level
    if path == "ratio":
        return _Place(alpha, ratio(level), 0.0, 1.0)
    if path == "line":
        return _Place(alpha + sigma, sigma / (alpha + sigma), -1.0, 1.0)
    norm = math.hypot(alpha, sigma)
    return _Place(norm, math.atan2(sigma, alpha), -sigma / norm, alpha / norm)
