r"""reverse_sde: Score-based generative modeling through stochastic differential equations (Song et al., 2021).

Noising is :math:`dx = f x\, dt + g\, dw`; run backwards it is

.. math:: dx = \big(f x - g^2 \nabla \log p_t(x)\big) dt + g\, d\bar w

here by the method of Euler and Maruyama, with even or uneven steps in time. The step to t = 0 is
the denoiser's guess, and where there is no signal at all, and f is infinite, a step is that of the
posterior of one noising step.

References:
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 6 and section 4.1.
    https://arxiv.org/abs/2011.13456
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math

from pofx.diffusion.sampler import Coefficients, PlannedSampler, Scales
from pofx.diffusion.schedule import Schedule


class ReverseSDE(PlannedSampler):
    """Of strong order one half; needs hundreds of steps."""

    def plan(self, schedule: Schedule, times: list[float]) -> list[Coefficients]:
        scales = schedule.scales(times)
        rates = schedule.rates(times[:-1])
        return [
            _step(times[i + 1] - times[i], rates[i], scales[i], scales[i + 1])
            for i in range(len(rates))
        ]


def _step(dt: float, rates: tuple[float, float], t: Scales, s: Scales) -> Coefficients:
    f, square = rates
    if not s[1]:
        return Coefficients(0.0, s[0], 0.0)
    if not t[0]:
        return Coefficients(0.0, s[0], s[1])
    pull = square / t[1] ** 2
    return Coefficients(1 + dt * (f + pull), -dt * pull * t[0], math.sqrt(-dt * square))
