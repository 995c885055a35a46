r"""Between an example's own values and the real line.

Two ways. *Dequantisation* spreads every discrete value over a cell of its own, so that a density
`p(y)` bounds the mass `P(x)`:

.. math:: \log P(x) \ge \mathbb{E}_u \log p(y(x, u)) + \log \text{cell}

*Relaxation* is a fixed embedding for models that have no density: bytes and bits go to [-1, 1], a
category to a one-hot vector of -1 and 1.

References:
    A note on the evaluation of generative models (Theis et al., 2016), section 3.1. https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Simple, Support
from pofx.typing import Data


def indices(x: Tensor, support: Support) -> Tensor:
    """The level of each discrete value: `0 .. levels - 1`, int64."""
    if isinstance(support, Bytes):
        x = (x + 1) * ((support.levels - 1) / 2)
    return x.round().long()


def values(k: Tensor, support: Support) -> Tensor:
    """The value of each level, the inverse of `indices`."""
    k = k.to(torch.get_default_dtype())
    return k * (2 / (support.levels - 1)) - 1 if isinstance(support, Bytes) else k


def log_cell(spec: DataSpec) -> float:
    """Log of the volume of a dequantised example's cell, nats; 0 for what is continuous."""
    if not isinstance(spec.support, Mixed):
        return spec.size * math.log(2 / spec.support.levels) if spec.support.discrete else 0.0
    return sum(math.log(2 / c.levels) for c in spec.support.columns if c.discrete)


def dequantize(x: Data, spec: DataSpec) -> Tensor:
    """Adds uniform noise within each discrete value's cell: `y = 2 (k + u) / levels - 1` in [-1,
    1).

    Continuous values pass unchanged.
    """
    return _in_cells(x, spec, torch.rand_like)


def middle(x: Data, spec: DataSpec) -> Tensor:
    """The middle of each discrete value's cell: `dequantize` with u = 1/2."""
    return _in_cells(x, spec, lambda x: torch.full_like(x, 0.5))


def _in_cells(x: Data, spec: DataSpec, place: Callable[[Tensor], Tensor]) -> Tensor:
    if isinstance(spec.support, Mixed):
        columns = zip(x.unbind(1), spec.support.columns, strict=True)
        return torch.stack([_in_cell(c, s, place) for c, s in columns], 1)
    return _in_cell(x, spec.support, place)


def quantize(y: Tensor, spec: DataSpec) -> Data:
    """The example in whose cell `y` lies: the inverse of `dequantize`, for any real `y`."""
    if isinstance(spec.support, Mixed):
        columns = zip(y.unbind(1), spec.support.columns, strict=True)
        return torch.stack([_quantize(c, s) for c, s in columns], 1)
    return _quantize(y, spec.support)


def _in_cell(x: Tensor, support: Support, place: Callable[[Tensor], Tensor]) -> Tensor:
    if not support.discrete:
        return x
    return (indices(x, support) + place(x)) * (2 / support.levels) - 1  # type: ignore[union-attr]


def _quantize(y: Tensor, support: Support) -> Tensor:
    if isinstance(support, Interval):
        return y.clamp(-1, 1)
    if not support.discrete:
        return y
    levels = support.levels  # type: ignore[union-attr]
    return values(((y + 1) * (levels / 2)).floor().clamp(0, levels - 1), support)


def relaxed_width(support: Support) -> int:
    """How many elements of a relaxed example stand for one of this support."""
    return support.levels if isinstance(support, Categorical) else 1


def relaxed_shape(spec: DataSpec) -> tuple[int, ...]:
    """The shape of a relaxed example: categories widen a vector, nothing else changes it."""
    if not any(isinstance(c, Categorical) for c in spec.columns):
        return spec.shape
    return (sum(relaxed_width(c) for c in spec.columns),)


def relax(x: Data, spec: DataSpec) -> Tensor:
    """Embeds an example in the reals, about [-1, 1] where it is bounded: `(n,
    *relaxed_shape(spec))`.
    """
    return joined([_relax(part, s) for part, s in split_as_relaxed(x, spec)])


def harden(y: Tensor, spec: DataSpec) -> Data:
    """The example nearest to a relaxed one: the inverse of `relax`, for any real `y`."""
    return joined([_harden(part, s) for part, s in split_relaxed(y, spec)])


def split_as_relaxed(x: Data, spec: DataSpec) -> list[tuple[Tensor, Simple]]:
    """The parts of an example that are relaxed apart, each with its support.

    The whole, where one embedding serves all of its elements and keeps its shape; else its columns,
    `(n, 1)` each.
    """
    if not isinstance(spec.support, Mixed | Categorical):
        return [(x, spec.support)]
    return list(zip(x.flatten(1).split(1, 1), spec.columns, strict=True))


def split_relaxed(y: Tensor, spec: DataSpec) -> list[tuple[Tensor, Simple]]:
    """Those of a relaxed example, as `split_as_relaxed` cuts it; `(n, levels)` of a category."""
    if not isinstance(spec.support, Mixed | Categorical):
        return [(y, spec.support)]
    widths = [relaxed_width(c) for c in spec.columns]
    return list(zip(y.split(widths, 1), spec.columns, strict=True))


def joined(parts: list[Tensor]) -> Tensor:
    """The example whose parts these are."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _relax(x: Tensor, support: Simple) -> Tensor:
    if isinstance(support, Categorical):
        return torch.nn.functional.one_hot(x[:, 0].long(), support.levels).to(x.dtype) * 2 - 1
    return 2 * x - 1 if isinstance(support, Binary) else x


def _harden(y: Tensor, support: Simple) -> Tensor:
    if isinstance(support, Categorical):
        return y.argmax(1, keepdim=True).to(y.dtype)
    if isinstance(support, Binary):
        return (y > 0).to(y.dtype)
    if isinstance(support, Bytes):
        return values(indices(y.clamp(-1, 1), support), support)
    return y.clamp(-1, 1) if isinstance(support, Interval) else y
