r"""noise_contrastive: an energy and its constant, by telling data from noise of known density.

.. math:: L = \mathbb{E}_{data} \log(1 + \nu e^{-G(x)})
    + \nu\, \mathbb{E}_{noise} \log(1 + e^{G(x)} / \nu),
    \qquad G(x) = -E(x) - \log p_{noise}(x)

It is least where :math:`e^{-E}` is the density of the data itself, constant and all: nothing has to
be normalised.

References:
    Noise-contrastive estimation: a new estimation principle for unnormalized statistical models
    (Gutmann and Hyvarinen, 2010), eq. 3. https://proceedings.mlr.press/v9/gutmann10a.html
    Noise-contrastive estimation of unnormalized statistical models (Gutmann and Hyvarinen, 2012),
    eq. 8: any ratio of noise to data. https://jmlr.org/papers/v13/gutmann12a.html
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from pofx.typing import PerExample


def noise_contrastive(data: PerExample, noise: PerExample, ratio: float = 1.0) -> Tensor:
    """The loss, a scalar.

    Args:
        data: G of the data, nats: log of the model's density, as far as it is known, over that of
            the noise.
        noise: G of the noise, `(m,)`, for any m.
        ratio: nu, how many draws of noise there are to each example.

    >>> import torch
    >>> same = noise_contrastive(torch.zeros(3), torch.zeros(3))  # nobody can tell: 2 log 2
    >>> round(float(same), 6)
    1.386294
    """
    log_ratio = math.log(ratio)
    return F.softplus(log_ratio - data).mean() + ratio * F.softplus(noise - log_ratio).mean()
