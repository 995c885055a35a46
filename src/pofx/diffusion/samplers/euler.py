r"""euler: Elucidating the design space of diffusion-based generative models (Karras et al., 2022).

The probability-flow equation by Euler's method. In the variables in which it is nearly straight it
is the same step for every schedule, and the one that DDIM takes without noise:

.. math:: \frac{d}{d\tau} \frac{x}{\alpha} = \epsilon, \quad \tau = \frac{\sigma}{\alpha}
    \qquad \Longrightarrow \qquad
    x_s = \frac{\sigma_s}{\sigma_t} x_t
    + \Big(\alpha_s - \alpha_t \frac{\sigma_s}{\sigma_t}\Big) x_0

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. 1
    and 4, and table 1, row VE. https://arxiv.org/abs/2206.00364
    Denoising diffusion implicit models (Song et al., 2021), eq. 13 and 14.
    https://arxiv.org/abs/2010.02502
"""

from __future__ import annotations

from pofx.diffusion.sampler import Coefficients, OneStepSampler, Scales, direct


class Euler(OneStepSampler):
    """Of first order.

    >>> [round(v, 4) for v in Euler().coefficients((0.6, 0.8), (0.8, 0.6))]
    [0.75, 0.35, 0.0]
    """

    def coefficients(self, t: Scales, s: Scales) -> Coefficients:
        return Coefficients(*direct(t, s), 0.0)
