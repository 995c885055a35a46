r"""bernoulli: draws and probabilities of 0 and 1 by their logits.

.. math:: \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i}), \qquad
    \frac{\partial \log p}{\partial l} = x - \sigma(l)

A chain of bits needs a draw for each unit at every sweep. On a processor most of the price of a
uniform number in torch is its Mersenne twister, as it is of normal ones (`white_noise`); a quicker
generator of bits takes a third of the time. Its numbers have 31 bits, so that a unit of probability
p is on as often as p says down to 2^-31.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import has_torch_function

from pofx.functional.products import transformed
from pofx.functional.random import former

_FEWEST = 1 << 12
"""Fewer numbers than this are torch's: a generator of its own costs more than it spares."""


def draw(p: Tensor) -> Tensor:
    """Overwrites probabilities by 1 as often as they say, and by 0 else; without a gradient.

    Single precision on a processor comes from a generator of its own, which torch's seeds. All else
    is torch's, and so is all in a context that overrides torch's draws, as `noise` does.

    Args:
        p: from 0 to 1, of any shape.

    >>> _ = torch.manual_seed(0)
    >>> 0.24 < draw(torch.full((100, 1000), 0.25)).mean() < 0.26
    tensor(True)
    """
    if not _suits(p):
        return torch.lt(torch.rand_like(p), p, out=p)
    n = p.numel()
    bits = np.random.SFC64(int(torch.randint(1 << 62, ()))).random_raw(n + 1 >> 1).view(np.int32)
    uniform = torch.from_numpy(bits)[:n].view(p.shape).to(p.dtype).abs_()
    return torch.lt(uniform, p.mul_(2.0**31), out=p)


def _suits(p: Tensor) -> bool:
    return (
        p.numel() >= _FEWEST
        and p.dtype is torch.float32
        and p.device.type == "cpu"
        and p.is_contiguous()
        and not has_torch_function((p,))
        and not transformed()
        and not former()
    )


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
