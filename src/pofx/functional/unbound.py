r"""unbound: the logit of what lives between -1 and 1, with its Jacobian.

.. math:: y = \mathrm{logit}\frac{1 + c x}{2}, \quad
    \log \frac{dy}{dx} = \log \frac{c}{2} - \log \sigma(y) - \log \sigma(-y)

c is just below 1, so that an end of the interval stays finite; where it is 0 an element has no
bound and passes unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def unbound(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`y` and the log of `dy/dx`, nats, both elementwise.

    >>> y, ladj = unbound(torch.zeros(1, 2), torch.tensor([1.0, 0.0]))
    >>> y.tolist(), ladj.exp().tolist()
    ([[0.0, 0.0]], [[2.0, 1.0]])
    """
    y = torch.logit(0.5 + 0.5 * c * x)
    ladj = (0.5 * c).log() - logsigmoid(y) - logsigmoid(-y)
    return torch.where(c == 0, x, y), torch.where(c == 0, 0.0, ladj)


def bound(y: Tensor, c: Tensor) -> Tensor:
    """The x that `unbound` sends to `y`; slightly outside of [-1, 1] where y is very large."""
    return torch.where(c == 0, y, torch.tanh(0.5 * y) / torch.where(c == 0, 1.0, c))
