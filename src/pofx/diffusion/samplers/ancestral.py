r"""ancestral: Denoising diffusion probabilistic models (Ho et al., 2020).

Draws x_s from the posterior of one noising step, with the guess :math:`x_0 = D(x_t, t)` for the
data:

.. math:: q(x_s | x_t, x_0) = N(\mu, \tilde\beta), \quad
          \tilde\beta = \beta \frac{\sigma_s^2}{\sigma_t^2}, \quad
          \mu = \alpha_{t|s} \frac{\sigma_s^2}{\sigma_t^2} x_t
          + \alpha_s \frac{\beta}{\sigma_t^2} x_0

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 6, 7, section 3.2 and algorithm
    2. https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

import math
from typing import Literal

from pofx.diffusion.sampler import Coefficients, OneStepSampler, Scales, transition


class Ancestral(OneStepSampler):
    """The reverse chain. Its last step, to t = 0, adds no noise.

    Args:
        variance: `large` is beta, right when the data is itself standard normal; `small` is
            beta-tilde, right when it is a single point. They bound the truth from both sides.

    >>> Ancestral().coefficients((0.6, 0.8), (1.0, 0.0)).clean
    1.0
    """

    def __init__(self, variance: Literal["large", "small"] = "large") -> None:
        self.variance = variance

    def coefficients(self, t: Scales, s: Scales) -> Coefficients:
        alpha, beta = transition(t, s)
        ratio = (s[1] / t[1]) ** 2
        variance = beta if self.variance == "large" else beta * ratio
        return Coefficients(
            alpha * ratio, s[0] * beta / t[1] ** 2, math.sqrt(variance) if ratio else 0.0
        )
