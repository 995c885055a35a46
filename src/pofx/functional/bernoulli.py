r"""bernoulli: the log-probability of zeros and ones by their logits, with its gradient in one pass.

.. math:: \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i}), \qquad
    \frac{\partial \log p}{\partial l} = x - \sigma(l)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.functional.products import transformed


def log_prob(logits: Tensor, x: Tensor | None = None) -> Tensor:
    """The sum of each row's log-probabilities, nats: `(n, d) -> (n,)`, with a gradient in one pass.

    Args:
        logits: of 1.
        x: the values, `(n, d)`; None for zeros, of which this is minus the sum of softplus.

    >>> log_prob(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    tensor([-1.3863])
    """
    if transformed() or (x is not None and x.requires_grad):
        total = F.softplus(logits)
        return -total.sum(1) if x is None else (x * logits - total).sum(1)
    return _LogProb.apply(logits, x)


class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, x)
        each = F.softplus(logits).neg_()
        return (each if x is None else each.addcmul_(x, logits)).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, x = ctx.saved_tensors
        p, gradient = logits.sigmoid(), gradient[:, None]
        if torch.is_grad_enabled():  # differentiable
            return ((x - p) if x is not None else -p) * gradient, None
        return (p.neg_() if x is None else torch.sub(x, p, out=p)).mul_(gradient), None
