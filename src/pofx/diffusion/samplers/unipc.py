r"""unipc: UniPC: a unified predictor-corrector framework for fast sampling of diffusion models (Zhao et al., 2023).

A step is predicted from earlier guesses of the clean data; the guess that is made at its end, which
the next step needs anyway, then corrects it at no cost:

.. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) \Big(x_0
          + \sum_k \rho_k \frac{x_0^{(k)} - x_0}{r_k}\Big)

with :math:`r_k = (\lambda_k - \lambda_t) / h`, the step's own end having r = 1, and rho such that
polynomials of :math:`\lambda` are integrated exactly. This is the paper's B(h) = e^h - 1 for the
clean data. A step from or to an infinite lambda is of first order.

References:
    UniPC: a unified predictor-corrector framework for fast sampling of diffusion models (Zhao et
    al., 2023), eq. 8 and 9, algorithms 1, 2, 7 and 8. https://arxiv.org/abs/2302.04867
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Sampler, Scales, State, direct, levels, mix, ratio
from pofx.diffusion.schedule import Schedule
from pofx.typing import Cond, Data


class Step(NamedTuple):
    """`x_s = keep x_t + sum_j clean[j] x0_j`, the newest guess first.

    Args:
        keep: of the state.
        clean: of the guesses that there are at t.
        corrected: of the guess at s and then of those at t; empty where nothing is corrected.
    """

    keep: float
    clean: tuple[float, ...]
    corrected: tuple[float, ...]


class UniPC(Sampler):
    """Multistep, one evaluation in a step.

    Args:
        order: of the predictor; the corrector adds one.
    """

    in_log_snr = True

    def __init__(self, order: int = 2) -> None:
        self.order = order

    def plan(self, schedule: Schedule, times: list[float]) -> list[Step]:
        """Every step along a grid of times."""
        scales = schedule.scales(times)
        logs = [-math.log(r) if (r := ratio(v)) else math.inf for v in scales]
        steps = []
        for i, (t, s) in enumerate(pairwise(scales)):
            h = logs[i + 1] - logs[i]
            if not math.isfinite(h):
                keep, clean = direct(t, s)
                steps.append(Step(keep, (clean,), ()))
                continue
            known = [v for v in logs[max(0, i + 1 - self.order) : i] if math.isfinite(v)]
            steps.append(_step(t, s, h, [(v - logs[i]) / h for v in reversed(known)]))
        return steps

    @torch.no_grad()
    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        guesses: deque[Data] = deque(maxlen=self.order + 1)
        before, base = Step(0.0, (), ()), x_t.clone()
        path = zip(
            self.plan(denoiser.schedule, times),
            levels(denoiser.schedule, times, x_t),
            times[1:],
            strict=False,
        )
        for step, level, s in path:
            guesses.appendleft(denoiser.denoise(x_t, level, cond))
            if before.corrected:
                mix(base, before.keep, before.corrected, guesses, out=base)
            else:
                base.copy_(x_t)
            mix(base, step.keep, step.clean, guesses, out=x_t)
            before = step
            yield State(s, x_t, guesses[0])


def _step(t: Scales, s: Scales, h: float, r: list[float]) -> Step:
    keep, gain = direct(t, s)
    predicted = [gain * rho / r_k for rho, r_k in zip(_rhos(r, h), r, strict=True)]
    ends = [*r, 1.0]
    corrected = [gain * rho / r_k for rho, r_k in zip(_rhos(ends, h), ends, strict=True)]
    return Step(
        keep,
        (gain - sum(predicted), *predicted),
        (corrected[-1], gain - sum(corrected), *corrected[:-1]),
    )


def _rhos(r: list[float], h: float) -> list[float]:
    """The solution of theorem 3.1's equations; 1/2 where there is one, which has the same order."""
    if len(r) < 2:
        return [0.5] * len(r)
    whole, phi, factorial = math.expm1(-h), math.expm1(-h) / -h - 1, 1.0
    targets = []
    for i in range(1, len(r) + 1):
        targets.append(phi * factorial / whole)
        factorial *= i + 1
        phi = phi / -h - 1 / factorial
    powers = np.array([[r_k**i for r_k in r] for i in range(len(r))])
    return np.linalg.solve(powers, np.array(targets)).tolist()
