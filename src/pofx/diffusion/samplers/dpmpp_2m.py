r"""dpmpp_2m: DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models (Lu et al., 2022).

As DPM-Solver, but for the clean data, which guidance does not throw out of their range as it does
the noise, and with the slope of the guess taken from the step before:

.. math:: x_s = \frac{\sigma_s}{\sigma_t} e^{-\eta h} x_t
          + \alpha_s (1 - e^{-(1 + \eta) h}) \Big(x_0 + \frac{x_0 - x_0'}{2 r}\Big)
          + \sigma_s \sqrt{1 - e^{-2 \eta h}}\, z

with h the step's length in :math:`\lambda = \log(\alpha / \sigma)`, r h that of the step before and
x0' its guess. The first step, and one from or to an infinite lambda, is of first order.

References:
    DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models (Lu et al.,
    2022), algorithm 2 and appendix B.4: SDE-DPM-Solver++(2M). https://arxiv.org/abs/2211.01095
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math
from itertools import pairwise

from pofx.diffusion.sampler import Multistep, MultistepSampler, ratio
from pofx.diffusion.schedule import Schedule
from pofx.errors import UserError


class DPMpp2M(MultistepSampler):
    """Of second order with one evaluation in a step.

    Args:
        eta: 0 solves the probability-flow equation, 1 the reverse stochastic one.
    """

    order = 2
    in_log_snr = True

    def __init__(self, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise UserError(f"eta is from 0 (deterministic) to 1 (stochastic), and {eta} came.")
        self.eta = eta

    def plan(self, schedule: Schedule, times: list[float]) -> list[Multistep]:
        steps, before = [], math.inf
        for t, s in pairwise(schedule.scales(times)):
            shrink = ratio(s) / ratio(t)  # e^-h
            h = -math.log(shrink) if shrink else math.inf
            noisy = shrink**self.eta if self.eta else 1.0  # e^-(eta h)
            gain = s[0] * (1 - shrink * noisy)
            slope = h / (2 * before) if math.isfinite(h) and before else 0.0
            before = h
            clean = (gain * (1 + slope), -gain * slope) if slope else (gain,)
            noise = s[1] * math.sqrt(1 - noisy**2)
            steps.append(Multistep(s[1] / t[1] * noisy, clean, noise))
        return steps
