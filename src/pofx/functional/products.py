r"""products: matrix products of float32 by the quicker of the two libraries that torch carries.

Torch multiplies float32 matrices on a CPU by MKL, which leaves half of a processor with 512-bit
registers idle where Intel has not made it. oneDNN, which torch keeps for convolutions, does not.
Both round as float32 does, in another order of addition. Elsewhere (on Intel's own processors MKL
is the quicker one, the more so for gradients of weights), within transforms of functions, and where
a product is so small that its call costs more than its work, these are torch's own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

LEAST = 2**21
"""The fewest multiplications of a product that oneDNN is asked for."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias`, as `torch.nn.functional.linear`.

    Args:
        x: `(..., inputs)`.
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`.
    """
    if not _suits(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and _learns(x, weight, bias):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The positive part of `linear`, in one pass where no gradient is asked for."""
    if not _suits(x, weight) or (torch.is_grad_enabled() and _learns(x, weight, bias)):
        return linear(x, weight, bias).relu_()
    return _product(x, weight, bias, "relu")


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype is torch.float32
        and weight.dtype is torch.float32
        and x.numel() * weight.shape[0] >= LEAST
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not transformed()
        and _wide()
    )


def transformed() -> bool:
    """Whether tensors carry more than values: tangents, or batches of torch.func."""
    level = torch._C._functorch.maybe_current_level()
    return level is not None or forward_ad._current_level >= 0


@cache
def _wide() -> bool:
    """Whether there is oneDNN, and registers that it would use and MKL does not."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not _intel()
    )


def _intel() -> bool:
    """Whether the processor is one that MKL knows; by its name, as a choice by the clock would
    round a resumed run otherwise than its first part.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "intel" in str(capabilities.get("cpu_name", "")).lower()


def _learns(*tensors: Tensor | None) -> bool:
    return any(t is not None and t.requires_grad for t in tensors)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, after: str = "none") -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")


class _Linear(torch.autograd.Function):
    """Its gradients are products too, so they have gradients of their own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            linear(gradient, weight.t()) if of_x else None,
            linear(rows.t(), x.flatten(0, -2).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
