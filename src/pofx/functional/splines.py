r"""splines: monotone rational-quadratic splines, one for each element, with their derivatives.

Between two knots :math:`(x_k, y_k)`, :math:`(x_{k+1}, y_{k+1})` with slopes :math:`d_k, d_{k+1}`,
where :math:`s = (y_{k+1} - y_k) / (x_{k+1} - x_k)` and :math:`\xi = (x - x_k) / (x_{k+1} - x_k)`,

.. math:: y = y_k + \frac{(y_{k+1} - y_k) (s \xi^2 + d_k \xi (1 - \xi))}
    {s + (d_{k+1} + d_k - 2 s) \xi (1 - \xi)}

increases in x, and its inverse is the root of a quadratic. Outside of [-bound, bound] it is the
identity, and slopes at the ends are 1.

References:
    Neural spline flows (Durkan et al., 2019), eq. 4-8 and appendix A.2.
    https://arxiv.org/abs/1906.04032

Note:
    Three numbers for each bin of each element are most of a spline flow's memory, so they are
    touched as seldom as can be. Bins are the leading axis, each one block of memory; sums over them
    are one matrix product; only what an element's own bin needs is normalised; and one function
    puts their gradient into one block. It has no second derivative.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pofx.functional.precision import at_least_float32, unrounded

LEAST = 1e-3
"""The smallest width and height of a bin, as a share of the whole, and the smallest slope."""
_SLOPE_ONE = math.log(math.expm1(1 - LEAST))
_LOG_2 = math.log(2)


def spline(x: Tensor, raw: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """`y` and the log of `dy/dx`, both elementwise.

    Args:
        x: of any shape.
        raw: `(3 bins - 1, *x.shape)`, any numbers: logits, in base 2, of the widths of the bins,
            those of their heights, and what gives the slopes between bins. Zeros make the identity.
        bound: splines bend within [-bound, bound].

    >>> y, ladj = spline(torch.tensor([0.3, 7.0]), torch.zeros(11, 2), 3.0)
    >>> bool(torch.allclose(y, torch.tensor([0.3, 7.0]))), bool(ladj.abs().max() < 1e-5)
    (True, True)
    """
    inside = x.clamp(-bound, bound)
    piece = _piece(inside, raw, bound, axis=0)
    xi = (inside - piece.x) / piece.width
    mixed = xi * (1 - xi)
    below = piece.s + piece.bend * mixed
    y = piece.y + piece.height * (piece.s * xi.square() + piece.left * mixed) / below
    rise = piece.left + (piece.bend * xi + 2 * (piece.s - piece.left)) * xi
    ladj = (piece.s.square() * rise / below.square()).log()
    return y + (x - inside), ladj


def inverse_spline(y: Tensor, raw: Tensor, bound: float) -> Tensor:
    """The x that `spline` sends to y."""
    inside = y.clamp(-bound, bound)
    piece = _piece(inside, raw, bound, axis=1)
    share = (inside - piece.y) / piece.height
    b = piece.left - share * piece.bend
    a, c = piece.s - b, share * piece.s  # a xi^2 + b xi = c
    root = (b.square() + 4 * a * c).clamp(min=0).sqrt()
    return piece.x + piece.width * (2 * c / (b + root)) + (y - inside)


class _Piece(NamedTuple):
    """Of each element's own bin: its lower left corner, size, mean slope s, slope at the left, and
    by how much its two slopes exceed 2 s.
    """

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    s: Tensor
    left: Tensor
    bend: Tensor


def _piece(v: Tensor, raw: Tensor, bound: float, axis: int) -> _Piece:
    """The bin that holds v, an x (axis 0) or a y (axis 1)."""
    with unrounded(v):
        x, y, slopes = _Lookup.apply(at_least_float32(raw), 0.5 + v / (2 * bound), axis)
    width, height = 2 * bound * (x[1] - x[0]), 2 * bound * (y[1] - y[0])
    left, right = LEAST + F.softplus(slopes + _SLOPE_ONE)
    s = height / width
    corner = (bound * (2 * x[0] - 1), bound * (2 * y[0] - 1))
    return _Piece(*corner, width, height, s, left, left + right - 2 * s)


class _Lookup(torch.autograd.Function):
    r"""Of the bin k that holds u in [0, 1]: both ends along x, both along y, and both raw slopes,
    `(2, *u.shape)` each.

    With :math:`e_j = 2^{w_j}`, and m the least width, the ends are
    :math:`S_k / S_K, S_k = \sum_{j < k} e_j + \frac{k m}{1 - K m} \sum_j e_j`.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, u: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        bins = (raw.shape[0] + 1) // 3
        widths, heights, slopes = raw.split([bins, bins, bins - 1])
        powers = [(w - w.amax(0)).exp2_() for w in (widths, heights)]
        sums = [_sums(e) for e in powers]
        inner = sums[axis][1:-1]
        # straight into floats: a comparison that makes bytes takes three times as long
        passed = torch.le(inner, u * sums[axis][-1], out=torch.empty_like(inner))
        k = passed.sum(0).long()
        ends = torch.stack([k, k + 1])
        x, y = (s.gather(0, ends) / s[-1] for s in sums)
        within = torch.stack([k > 0, k < bins - 1]).to(raw.dtype)
        between = (ends - 1).clamp(0, bins - 2)
        ctx.save_for_backward(*powers, sums[0][-1], sums[1][-1], x, y, passed, within, between, k)
        return x, y, slopes.gather(0, between) * within

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        *both, x, y, passed, within, between, k = ctx.saved_tensors
        bins = len(both[0])
        raw = both[0].new_empty(3 * bins - 1, *k.shape)
        for out, e, whole, ends, grad in zip(
            raw[: 2 * bins].split(bins), both[:2], both[2:], (x, y), grads, strict=False
        ):
            _to_logits(out, e, grad * (_LOG_2 / whole), ends, passed, k)
        raw[2 * bins :].zero_().scatter_add_(0, between, grads[2] * within)
        return raw, None, None


def _sums(e: Tensor) -> Tensor:
    """S_0 .. S_K, not yet divided."""
    bins = e.shape[0]
    rising = torch.arange(bins + 1, dtype=e.dtype, device=e.device)[:, None]
    matrix = e.new_ones(bins + 1, bins).tril_(-1).add_(rising * (LEAST / (1 - bins * LEAST)))
    return (matrix @ e.flatten(1)).unflatten(1, e.shape[1:])


def _to_logits(
    out: Tensor, e: Tensor, grad: Tensor, ends: Tensor, passed: Tensor, k: Tensor
) -> None:
    """Writes the gradient of the logits, given that of both ends times log 2 / S_K."""
    bins = len(e)
    left, right = grad
    least = LEAST / (1 - bins * LEAST)
    shared = least * (left * k + right * (k + 1)) - (grad * ends).sum(0) / (1 - bins * LEAST)
    torch.mul(passed, left + right, out=out[:-1])
    out[-1].zero_()
    out.scatter_add_(0, k[None], right[None])
    out.add_(shared).mul_(e)
