r"""rk45: Score-based generative modeling through stochastic differential equations (Song et al., 2021).

The probability-flow equation by Dormand and Prince's pair, with steps as long as a tolerance
allows, each example its own. Of a grid only the ends count: on the way to 0 it goes down to the
schedule's first time, and from there the denoiser's guess is the end.

References:
    Score-based generative modeling through SDEs (Song et al., 2021), section 4.3 and appendix D.4.
    https://arxiv.org/abs/2011.13456
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from collections.abc import Iterator

import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.probability_flow import ProbabilityFlow
from pofx.diffusion.sampler import Sampler, State
from pofx.solvers.ode import dormand_prince_each
from pofx.typing import Cond, Data


class RK45(Sampler):
    """Adaptive, of fifth order.

    Args:
        tolerance: error of a step, relative and absolute.
    """

    adaptive = True

    def __init__(self, tolerance: float = 1e-5) -> None:
        self.tolerance = tolerance

    @torch.no_grad()
    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        flow = ProbabilityFlow(denoiser, cond)
        last = times[-1] or min(times[0], denoiser.schedule.first)
        y = dormand_prince_each(
            flow.field,
            flow.scaled(x_t, times[0]),
            flow.place(times[0]),
            flow.place(last),
            rtol=self.tolerance,
            atol=self.tolerance,
        )
        x_t.copy_(flow.unscaled(y, last))
        x0 = denoiser(x_t, torch.full(x_t.shape[:1], last, dtype=x_t.dtype).to(x_t.device), cond)
        yield State(last, x_t, x0)
        if not times[-1]:
            x_t.copy_(x0)
            yield State(0.0, x_t, x0)
