r"""rectified: a fully connected network with rectifiers, whose gradients are one step of autograd.

.. math:: h_0 = x, \quad h_i = \max(0, h_{i-1} W_i^T + b_i), \qquad y = W h^T + b

Where networks are small and many, as in a flow, much of the time of a training step is not the
products but what lies between them: fresh memory for the gradient of each rectifier, and an entry
for each operation. Here such a gradient overwrites what it came from, and a network is one entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pofx.functional.gradients import again
from pofx.functional.products import linear, linear_relu, transformed


def rectified(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The network's outputs, transposed: `(n, inputs) -> (outputs, n)`.

    Args:
        x: of as many inputs as the first weight has.
        layers: weights `(outputs, inputs)` and biases `(outputs,)`, from the first to the last.
    """
    parameters = [p for layer in layers for p in layer]
    if _learns(x, *parameters):
        return _Network.apply(x, *parameters)
    return _plain(x, *parameters)


def _learns(*tensors: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and tensors[0].device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not transformed()
        and any(t.requires_grad for t in tensors)
    )


def _plain(x: Tensor, *parameters: Tensor) -> Tensor:
    *hidden, (weight, bias) = _pairs(parameters)
    h = x
    for layer in hidden:
        h = linear_relu(h, *layer)
    return linear(weight, h).to(x.dtype).add_(bias[:, None])


def _pairs(parameters: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(parameters[::2], parameters[1::2], strict=True))


class _Network(torch.autograd.Function):
    """Gradients of its gradients are found from the network as it is written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        *hidden, (weight, bias) = _pairs(parameters)
        each = [x]
        for layer in hidden:
            each.append(linear_relu(each[-1], *layer))
        ctx.save_for_backward(*each, *parameters)
        return linear(weight, each[-1]).add_(bias[:, None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad
        depth = len(saved) // 3
        each, parameters = saved[:depth], saved[depth:]
        if torch.is_grad_enabled():
            return again(_plain, (each[0], *parameters), gradient, needed)
        g = gradient.t()
        found: list[Tensor | None] = []
        for h, (weight, _) in zip(reversed(each), reversed(_pairs(parameters)), strict=True):
            found += [g.sum(0), linear(g.t(), h.t())]
            if h is each[0] and not needed[0]:
                break
            g = linear(g, weight.t())
            if h is not each[0]:  # in place: of a rectifier only what it let through counts
                torch.ops.aten.threshold_backward.grad_input(g, h, 0, grad_input=g)
        return g if needed[0] else None, *reversed(found)
