r"""grid: at which times a sampler stops on its way from noise to data.

A grid of n steps has n + 1 times: 1, then falling to the schedule's first time, and 0 at the end.

References:
    Denoising diffusion implicit models (Song et al., 2021), appendix D.2: quadratic.
    https://arxiv.org/abs/2010.02502
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. 5.
    https://arxiv.org/abs/2206.00364
    DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps (Lu
    et al., 2022), section 3.4: log-SNR. https://arxiv.org/abs/2206.00927
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.diffusion.schedule import Schedule, evenly
from pofx.errors import UserError, did_you_mean

_NOISE = 200.0
"""The sigma / alpha above which steps are not worth taking."""


class Grid(ABC):
    """A rule that lays the times of a trajectory."""

    @abstractmethod
    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        """`steps + 1` times from 1 down to 0, none twice.

        Raises:
            UserError: fewer than one step.
        """


class Uniform(Grid):
    """The schedule's own: even in time."""

    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        return schedule.grid(steps)


class Quadratic(Grid):
    """Even in the square root of time, so denser at the data.

    >>> from pofx.diffusion.schedule import VP
    >>> [round(t, 3) for t in Quadratic()(VP(), 4)]
    [1.0, 0.459, 0.126, 0.001, 0.0]
    """

    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        return [root**2 for root in evenly(1.0, math.sqrt(schedule.first), steps)]


class Karras(Grid):
    r"""Even in :math:`(\sigma / \alpha)^{1 / \rho}`.

    Args:
        rho: how much denser small noise levels lie.
    """

    def __init__(self, rho: float = 7.0) -> None:
        self.rho = rho

    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        return _warped(
            schedule, steps, lambda r: r ** (1 / self.rho), lambda w: w**self.rho
        )  # fmt: skip


class LogSNR(Grid):
    """Even in the logarithm of sigma / alpha."""

    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        return _warped(schedule, steps, torch.log, torch.exp)


Warp = Callable[[Tensor], Tensor]


def _warped(schedule: Schedule, steps: int, warp: Warp, back: Warp) -> list[float]:
    """Even in a function of sigma / alpha, which has nothing to say where all is noise."""
    ends = [min(schedule.ratio(schedule.last), _NOISE), schedule.ratio(schedule.first)]
    start, end = warp(torch.tensor(ends, dtype=torch.float64)).tolist()
    places = torch.tensor(evenly(start, end, steps)[:-1], dtype=torch.float64)
    return [1.0, *schedule.time(back(places[1:])).tolist(), 0.0]


GRIDS: dict[str, Callable[[], Grid]] = {
    "uniform": Uniform,
    "quadratic": Quadratic,
    "karras": Karras,
    "log-snr": LogSNR,
}


def grid(name: str | Grid) -> Grid:
    """The grid of a name.

    Raises:
        UserError: there is none.
    """
    if isinstance(name, Grid):
        return name
    if name not in GRIDS:
        raise UserError(f"there is no grid '{name}'; {did_you_mean(name, GRIDS)}")
    return GRIDS[name]()
