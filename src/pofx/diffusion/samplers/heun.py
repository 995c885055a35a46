r"""heun: Elucidating the design space of diffusion-based generative models (Karras et al., 2022).

Euler's step, then the same step again with the mean of the slopes at both of its ends:

.. math:: u_s = u_t + \frac{\tau_s - \tau_t}{2} (d_t + d_s)

with u = x / alpha, tau = sigma / alpha and the slope d = eps, or, where the schedule is straight,
u = x / (alpha + sigma), tau = sigma / (alpha + sigma) and d = eps - x0. The step to t = 0 is
Euler's.

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

import torch

from pofx.diffusion.sampler import Reach, Scales, StagedSampler, Stages, direct, ratio, transition
from pofx.diffusion.schedule import Schedule
from pofx.errors import UserError


class Heun(StagedSampler):
    """Of second order; two evaluations in a step, one in the last."""

    def plan(self, schedule: Schedule, times: list[float]) -> list[Stages]:
        scales = schedule.scales(times)
        return [
            heun_step(times[i], times[i + 1], t, s, straight=schedule.straight)
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
            step = heun_step(
                starts[i], times[i + 1], start, scales[i + 1], straight=schedule.straight
            )
            scale, variance = transition(start, scales[i]) if scales[i][0] else (1.0, 0.0)
            noise = self.inflate * math.sqrt(max(variance, 0.0)) if raised[i] > taus[i] else 0.0
            steps.append(step._replace(scale=scale, noise=noise))
        return steps

    def _gamma(self, tau: float, steps: int) -> float:
        inside = self.least <= tau <= self.most
        return min(self.churn / steps, math.sqrt(2) - 1) if inside else 0.0


def heun_step(from_: float, to: float, t: Scales, s: Scales, *, straight: bool) -> Stages:
    """Heun's step between two times with their scales."""
    keep, clean = direct(t, s)
    if not s[1]:
        return Stages(from_, 1.0, 0.0, (), Reach(keep, (clean,)))
    # eps = x_t / sigma_t + v x0 with these v, at either end; x_t keeps the weight it has anyhow
    before = (-t[0] / t[1], 0.0)
    after = (clean / s[1], -s[0] / s[1])
    if straight:
        norm = s[0] + s[1]
        h = s[1] - norm * t[1] / (t[0] + t[1])
        slope = (before[0] - 1 + after[0], after[1] - 1)
    else:
        h = s[1] - s[0] * t[1] / t[0]
        slope = (before[0] + after[0], after[1])
    last = Reach(keep, (h / 2 * slope[0], h / 2 * slope[1]))
    return Stages(from_, 1.0, 0.0, ((to, Reach(keep, (clean,))),), last)
