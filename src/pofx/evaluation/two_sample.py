r"""Distances of two samples of vectors that need no features: energy and sliced Wasserstein.

.. math::
   \text{energy} &= 2 E|a - b| - E|a - a'| - E|b - b'| \\
   \text{sliced}^2 &= d\; E_u \int (F^{-1}_{u \cdot a} - F^{-1}_{u \cdot b})^2

The energy distance is estimated without bias, so it may fall below 0 for equal distributions. The
factor d makes the sliced distance of two points their Euclidean distance.

References:
    Energy statistics (Szekely and Rizzo, 2013), eq. 3. https://doi.org/10.1016/j.jspi.2013.03.018
    Sliced and Radon Wasserstein barycenters of measures (Bonneel et al., 2015), section 3.
    https://doi.org/10.1007/s10851-014-0506-3
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.evaluation.arguments import check_tables, check_whole
from pofx.evaluation.blocks import Stop, blocks
from pofx.functional.random import stream


def energy_distance(a: Tensor, b: Tensor, stop: Stop | None = None) -> float:
    """The unbiased energy distance of `(n, d)` and `(m, d)`, over all pairs, in blocks of rows."""
    check_tables(("a", "b"), a, b, rows=2)
    n, m = len(a), len(b)
    across = _total_distance(a, b, stop) / (n * m)
    within_a = _total_distance(a, a, stop) / (n * (n - 1))
    within_b = _total_distance(b, b, stop) / (m * (m - 1))
    return 2 * across - within_a - within_b


def sliced_wasserstein(a: Tensor, b: Tensor, *, slices: int = 200, seed: int = 0) -> float:
    """The sliced 2-Wasserstein distance of `(n, d)` and `(m, d)` over random directions."""
    check_tables(("a", "b"), a, b)
    check_whole("slices", slices, least=1)
    generator = torch.Generator().manual_seed(stream("slices", seed))
    u = torch.randn(a.shape[1], slices, generator=generator).to(a)
    u = u / u.norm(dim=0)
    grid = (torch.arange(max(len(a), len(b))).to(a) + 0.5) / max(len(a), len(b))
    left, right = (_quantiles(t @ u, grid) for t in (a, b))
    return float((a.shape[1] * (left - right).square().mean()).sqrt())


def _quantiles(x: Tensor, grid: Tensor) -> Tensor:
    """The empirical quantiles of every column: the value whose rank holds each grid point."""
    ranks = (grid * len(x)).long().clamp(max=len(x) - 1)
    return x.sort(0).values[ranks]


def _total_distance(a: Tensor, b: Tensor, stop: Stop | None) -> float:
    exact = "donot_use_mm_for_euclid_dist"
    return sum(
        float(torch.cdist(a[rows], b, compute_mode=exact).sum(dtype=torch.float64))
        for rows in blocks(len(a), 512, stop)
    )
