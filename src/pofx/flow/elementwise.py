r"""elementwise: increasing maps of one number, each set by a few numbers of its own.

A coupling sets them by the other half of an example, an autoregressive layer by the elements
before; what the map is does not matter to either. As halves of vectors are, whole vectors are
transposed here, `(elements, n)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from pofx.functional.gradients import again
from pofx.functional.products import transformed
from pofx.functional.reductions import expand_like, sum_event
from pofx.functional.splines import inverse_spline, spline
from pofx.typing import PerExample

_LOG_2 = math.log(2)


class Elementwise(ABC):
    """An increasing map of each element of x, by `numbers` numbers for each: zeros are the
    identity.

    Those lead: `raw` is `(numbers, *x.shape)`, any numbers whatever.
    """

    numbers: int

    @abstractmethod
    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerExample]:
        """`z`, and the sum of each example's logs of `dz/dx`, nats, `(n,)`."""

    @abstractmethod
    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        """The x that goes to z."""


class Affine(Elementwise):
    r"""Scales and shifts: :math:`z = x e^s + t`.

    The log-scale is :math:`s = c (1 - 2 \sigma(r)) = -c \tanh(r / 2)` of the raw number r, so that
    no layer stretches or shrinks by more than :math:`e^c`: in float32 an unbounded one loses the
    inverse. The raw numbers are r and t.

    Args:
        bound: c, nats.
    """

    numbers = 2

    def __init__(self, bound: float = 1.0) -> None:
        self.bound = bound

    def octaves(self, r: Tensor) -> Tensor:
        """`s / log 2`, for exp2 takes a third of exp's time."""
        bound = self.bound / _LOG_2
        return torch.rsub(torch.sigmoid(r), bound, alpha=2 * bound)

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerExample]:
        if transformed() or not torch.is_grad_enabled() or x.dtype != raw.dtype:
            return self.written_out(x, raw)
        return _Affine.apply(x, raw, self)

    def written_out(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerExample]:
        """The same by torch's operations."""
        r, shift = raw.unbind()
        octaves = self.octaves(r)
        ladj = _LOG_2 * _total(octaves)
        # the sum's gradient needs no values: exp2 may overwrite them
        return torch.addcmul(shift, x, octaves.exp2_()), ladj

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        r, shift = raw.unbind()
        return (z - shift).div_(self.octaves(r).exp2_())


class _Affine(torch.autograd.Function):
    """The map as one step of autograd, in half of the passes: those of torch's operations are a
    tenth of the time of a flow's training.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, map: Affine) -> tuple[Tensor, PerExample]:
        share, bound = raw[0].sigmoid(), map.bound / _LOG_2
        octaves = torch.rsub(share, bound, alpha=2 * bound)
        ladj = _total(octaves).mul_(_LOG_2)
        scale = octaves.exp2_()
        ctx.map = map
        ctx.save_for_backward(x, raw, share, scale)
        return torch.addcmul(raw[1], x, scale), ladj

    @staticmethod
    def backward(
        ctx: Any, of_z: Tensor, of_ladj: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        x, raw, share, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            both = (of_z, of_ladj)
            of_x, of_raw = again(ctx.map.written_out, (x, raw), both, ctx.needs_input_grad[:2])
            return of_x, of_raw, None
        of_x = of_z * scale
        of_log_scale = torch.addcmul(of_ladj if x.ndim == 2 else expand_like(of_ladj, x), of_x, x)
        of_raw = torch.empty_like(raw)
        torch.ops.aten.sigmoid_backward.grad_input(of_log_scale, share, grad_input=of_raw[0])
        of_raw[0].mul_(-2 * ctx.map.bound)
        of_raw[1].copy_(of_z)
        return of_x, of_raw, None


class Shift(Elementwise):
    """Adds: `z = x + t`, which keeps volumes; the raw number is t."""

    numbers = 1

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerExample]:
        return x + raw[0], x.new_zeros(x.shape[-1 if x.ndim == 2 else 0])

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        return z - raw[0]


class Spline(Elementwise):
    """A monotone rational-quadratic spline (`pofx.functional.splines`).

    Args:
        bins: pieces of each spline, at least 2.
        bound: it bends within [-bound, bound] and is the identity outside.
    """

    def __init__(self, bins: int = 8, bound: float = 3.0) -> None:
        self.numbers, self.bound = 3 * bins - 1, bound

    def forward(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerExample]:
        z, ladj = spline(x, raw, self.bound)
        return z, _total(ladj)

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        return inverse_spline(z, raw, self.bound)


def _total(each: Tensor) -> PerExample:
    """Sums over the elements of each example."""
    return each.sum(0) if each.ndim == 2 else sum_event(each)
