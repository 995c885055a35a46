"""Uniform noise in an example's own support: what a model that learned nothing might draw."""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.functional.dequantize import values
from pofx.functional.random import noise
from pofx.spec import DataSpec, Interval, Mixed, Real, Support
from pofx.typing import Data


def uniform_like(real: Data, spec: DataSpec, *, seed: int = 0) -> Data:
    """As many uniform examples as real ones; a real number is uniform over the range they span.

    >>> from pofx.spec import Binary
    >>> uniform_like(torch.zeros(4, 2), DataSpec((2,), Binary())).unique().tolist()
    [0.0, 1.0]
    """
    with noise(seed, len(real), use="noise ceiling"):
        u = torch.rand(real.shape)
    low, high = real.amin(0), real.amax(0)
    if not isinstance(spec.support, Mixed):
        return _place(u, spec.support, low, high)
    columns = [_place(u[:, i], c, low[i], high[i]) for i, c in enumerate(spec.support.columns)]
    return torch.stack(columns, 1)


def _place(u: Tensor, support: Support, low: Tensor, high: Tensor) -> Tensor:
    if isinstance(support, Real):
        return low + u * (high - low)
    if isinstance(support, Interval):
        return 2 * u - 1
    assert not isinstance(support, Mixed)
    return values((u * support.levels).floor().clamp(max=support.levels - 1), support).to(u.dtype)
