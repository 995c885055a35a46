r"""dpm_solver: DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps (Lu et al., 2022).

The part of the probability-flow equation that is linear is solved exactly; of the rest only the
noise that the network predicts is approximated, as a polynomial in half the log of the
signal-to-noise ratio, :math:`\lambda = \log(\alpha / \sigma)`:

.. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t
          - \alpha_s \int_{\lambda_t}^{\lambda_s} e^{-\lambda} \epsilon\, d\lambda

With h the length of a step, it asks once more after r1 h, and, at the third order, again after r2 h.
A step from or to an infinite lambda is of first order.

References:
    DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps (Lu
    et al., 2022), eq. 3.7, algorithms 1 and 2, and appendix B.
    https://arxiv.org/abs/2206.00927
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch

from pofx.diffusion.sampler import (
    Reach,
    Scales,
    StagedSampler,
    Stages,
    direct,
    ratio,
    second_order,
)
from pofx.diffusion.schedule import Schedule


class DPMSolver(StagedSampler):
    """Single steps of first, second or third order, of as many evaluations.

    Args:
        order: 1 is DDIM.
    """

    def __init__(self, order: Literal[1, 2, 3] = 2) -> None:
        self.order = order
        self.in_log_snr = order > 1

    def plan(self, schedule: Schedule, times: list[float]) -> list[Stages]:
        scales = schedule.scales(times)
        logs = [_log(ratio(v)) for v in scales]
        middle = (1 / 2,) if self.order == 2 else (1 / 3, 2 / 3)
        inside = [
            math.exp(t + (s - t) * r) if math.isfinite(t - s) else 1.0
            for t, s in pairwise(logs)
            for r in middle
        ]
        between = schedule.time(torch.tensor(inside, dtype=torch.float64)).tolist()
        known = schedule.scales(between)
        steps = []
        for i, (t, s) in enumerate(pairwise(scales)):
            if self.order == 1 or not math.isfinite(logs[i] - logs[i + 1]):
                steps.append(Stages(times[i], 1.0, 0.0, (), _first(t, s)))
                continue
            own = slice(i * len(middle), (i + 1) * len(middle))
            take = _second if self.order == 2 else _third
            steps.append(take(times[i], between[own], t, known[own], s))
        return steps


def _log(tau: float) -> float:
    """Minus lambda."""
    return math.log(tau) if tau else -math.inf


def _first(t: Scales, s: Scales) -> Reach:
    keep, clean = direct(t, s)
    return Reach(keep, (clean,))


def _second(start: float, between: list[float], t: Scales, mid: list[Scales], s: Scales) -> Stages:
    """Algorithm 1: the noise halfway stands for the whole step."""
    (alpha, sigma), half = mid[0], _first(t, mid[0])
    noise = s[1] * (1 - ratio(t) / ratio(s)) / sigma  # of x - alpha x0 there
    last = Reach(s[0] / t[0], (0.0, -noise * alpha), noise)
    return second_order(start, between[0], half, last)


def _third(start: float, between: list[float], t: Scales, mid: list[Scales], s: Scales) -> Stages:
    """Algorithm 2, with r1 = 1/3 and r2 = 2/3."""
    h = math.log(ratio(t) / ratio(s))
    first = _first(t, mid[0])
    one = _noises(t, mid[:1], [first])
    third, whole = math.expm1(2 * h / 3), math.expm1(h)
    change = 2 * (third / (2 * h / 3) - 1)  # r2 / r1 = 2
    second = _reach(t, mid[1], [(third - change, one[0]), (change, one[1])])
    two = _noises(t, mid, [first, second])
    bend = 1.5 * (whole / h - 1)  # 1 / r2
    last = _reach(t, s, [(whole - bend, two[0]), (bend, two[2])])
    return Stages(start, 1.0, 0.0, ((between[0], first), (between[1], second)), last)


Noise = list[float]
"""eps at a stage: `x_t / sigma_t` and these weights of the guesses."""


def _noises(t: Scales, mid: list[Scales], reaches: list[Reach]) -> list[Noise]:
    """The noise at the step's start and at each stage, which its reach leads to."""
    found = [[-t[0] / t[1]]]
    for level, reach in zip(mid, reaches, strict=False):
        found.append([c / level[1] for c in reach.clean] + [-level[0] / level[1]])
    return found


def _reach(t: Scales, s: Scales, parts: list[tuple[float, Noise]]) -> Reach:
    """`alpha_s / alpha_t x_t - sigma_s sum(weight eps)`, the weights adding up to `e^h - 1`."""
    size = max(len(noise) for _, noise in parts)
    clean = [
        -s[1] * sum(weight * noise[j] for weight, noise in parts if j < len(noise))
        for j in range(size)
    ]
    return Reach(s[1] / t[1], tuple(clean))
