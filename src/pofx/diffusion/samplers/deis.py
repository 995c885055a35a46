r"""deis: Fast sampling of diffusion models with exponential integrator (Zhang and Chen, 2023).

As DPM-Solver, with the noise of earlier steps extrapolated as a polynomial in time (tAB-DEIS):

.. math:: \frac{x_s}{\alpha_s} = \frac{x_t}{\alpha_t} + \sum_j w_j \epsilon_j, \quad
          w_j = \int_{\tau_t}^{\tau_s} L_j(t(\tau))\, d\tau, \quad \tau = \sigma / \alpha

with L_j Lagrange's polynomials at the times of the last steps. Only what the older ones add is
taken from them, so that one of them alone is DDIM.

References:
    Fast sampling of diffusion models with exponential integrator (Zhang and Chen, 2023), eq. 13-15.
    https://arxiv.org/abs/2204.13902
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Multistep, Sampler, State, direct, levels, ratio
from pofx.diffusion.schedule import Schedule
from pofx.typing import Cond, Data

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class DEIS(Sampler):
    """Linear multistep, one evaluation in a step.

    Args:
        order: how many noises it extrapolates from; 1 is DDIM.
    """

    def __init__(self, order: int = 3) -> None:
        self.order = order

    def plan(self, schedule: Schedule, times: list[float]) -> list[Multistep]:
        """The first-order step, and what each older noise adds by its difference to the newest."""
        scales = schedule.scales(times)
        taus = np.array([ratio(v) for v in scales])
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(taus)
            width = logs[1:] - logs[:-1]
        finite = np.isfinite(width)
        width, starts = np.where(finite, width, 0.0), np.where(finite, logs[:-1], 0.0)
        nodes = np.exp(starts[:, None] + width[:, None] * (1 + _NODES) / 2)
        inside = schedule.time(torch.from_numpy(nodes)).numpy()
        measure = nodes * width[:, None] / 2 * _WEIGHTS
        steps = []
        for i in range(len(width)):
            keep, clean = direct(scales[i], scales[i + 1])
            oldest = max(0, i + 1 - self.order)
            while oldest < i and math.isinf(taus[oldest]):
                oldest += 1
            known = times[oldest : i + 1][::-1] if finite[i] else times[i : i + 1]
            older = [
                scales[i + 1][0] * float((measure[i] * _lagrange(j, known, inside[i])).sum())
                for j in range(1, len(known))
            ]
            steps.append(Multistep(keep, (clean, *older), 0.0))
        return steps

    @torch.no_grad()
    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        noises: deque[Data] = deque(maxlen=self.order)
        path = zip(
            self.plan(denoiser.schedule, times),
            levels(denoiser.schedule, times, x_t),
            times[1:],
            strict=False,
        )
        for (keep, (clean, *older), _), level, s in path:
            x0 = denoiser.denoise(x_t, level, cond)
            noises.appendleft(torch.sub(x_t, x0, alpha=float(level.alpha)).div_(level.sigma))
            x_t.mul_(keep).add_(x0, alpha=clean)
            for weight, noise in zip(older, list(noises)[1:], strict=False):
                x_t.add_(noise, alpha=weight)
            if older:
                x_t.add_(noises[0], alpha=-sum(older))
            yield State(s, x_t, x0)


def _lagrange(j: int, known: list[float], t: np.ndarray) -> np.ndarray:
    """The polynomial that is 1 at `known[j]` and 0 at the others."""
    product = np.ones_like(t)
    for k, other in enumerate(known):
        if k != j:
            product = product * (t - other) / (known[j] - other)
    return product
