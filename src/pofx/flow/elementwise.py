r"""elementwise: increasing maps of one number, each set by a few numbers of its own.

A coupling sets them by the other half of an example, an autoregressive layer by the elements
before; what the map is does not matter to either. As halves of vectors are, whole vectors are
transposed here, `(elements, n)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pofx.functional.reductions import sum_event
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
        r, shift = raw.unbind()
        octaves = self.octaves(r)
        ladj = _LOG_2 * _total(octaves)
        # the sum's gradient needs no values: exp2 may overwrite them
        return torch.addcmul(shift, x, octaves.exp2_()), ladj

    def inverse(self, z: Tensor, raw: Tensor) -> Tensor:
        r, shift = raw.unbind()
        return (z - shift).div_(self.octaves(r).exp2_())


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
