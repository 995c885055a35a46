r"""logistic: the logistic distribution, integrated over the cells of a grid.

.. math:: P(x) = \sigma\big((x + h - \mu) / s\big) - \sigma\big((x - h - \mu) / s\big),
    \quad h = 1 / (L - 1)

with the first and the last cell open to infinity, so that the L masses sum to one.

References:
    Improved variational inference with inverse autoregressive flow (Kingma et al., 2016), appendix
    A.
    PixelCNN++ (Salimans et al., 2017), eq. 2. https://arxiv.org/abs/1701.05517
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


def discretized_logistic_log_prob(
    x: Tensor, mean: Tensor, log_scale: Tensor, levels: int
) -> Tensor:
    """Log P of values on the grid of `levels` values in [-1, 1]; elementwise, nats.

    In the interior it is `log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b))`, which stays
    finite however narrow the scale or far the mean.

    >>> grid = torch.linspace(-1, 1, 5, dtype=torch.float64)
    >>> log_prob = discretized_logistic_log_prob(grid, grid * 0 + 0.3, grid * 0 - 1, 5)
    >>> round(log_prob.exp().sum().item(), 9)
    1.0
    """
    half = 1 / (levels - 1)
    inverse = torch.exp(-log_scale)
    below = (x - half - mean) * inverse
    above = (x + half - mean) * inverse
    width = 2 * half * inverse
    inside = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(-width))
    log_prob = torch.where(x < -1 + half, logsigmoid(above), inside)
    return torch.where(x > 1 - half, -softplus(below), log_prob)
