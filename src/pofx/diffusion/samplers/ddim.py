r"""ddim: Denoising diffusion implicit models (Song et al., 2021).

.. math:: x_s = \alpha_s x_0 + \sqrt{\sigma_s^2 - c^2}\, \epsilon + c z, \quad
          c = \eta\, (\sigma_s / \sigma_t) \sqrt{\beta}

with the guess :math:`x_0 = D(x_t, t)`, the noise :math:`\epsilon = (x_t - \alpha_t x_0) / \sigma_t`
that it implies, fresh noise z, and the variance beta of q(x_t | x_s).

References:
    Denoising diffusion implicit models (Song et al., 2021), eq. 12 and 16.
    https://arxiv.org/abs/2010.02502
"""

from __future__ import annotations

import math

from pofx.diffusion.sampler import Coefficients, OneStepSampler, Scales, transition
from pofx.errors import UserError


class DDIM(OneStepSampler):
    """Deterministic at `eta` 0; at 1 it is ancestral sampling with the smaller variance.

    Args:
        eta: how much fresh noise a step adds, in [0, 1].

    >>> DDIM().coefficients((0.6, 0.8), (0.8, 0.6)).noise
    0.0
    """

    def __init__(self, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise UserError(f"eta is from 0 (deterministic) to 1 (ancestral), and {eta} came.")
        self.eta = eta

    def coefficients(self, t: Scales, s: Scales) -> Coefficients:
        _, beta = transition(t, s)
        ratio = s[1] / t[1]
        noise = self.eta * ratio * math.sqrt(beta)
        keep = math.sqrt(max(s[1] ** 2 - noise**2, 0.0)) / t[1]
        return Coefficients(keep, s[0] - t[0] * keep, noise)
