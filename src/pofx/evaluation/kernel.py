r"""Kernel distance (KID): Demystifying MMD GANs (Binkowski et al., 2018).

The squared maximum mean discrepancy of two sets of features under a cubic kernel, estimated without
bias, so that its expectation is 0 for equal distributions at any count and single values may be
negative:

.. math::
   \frac{\sum_{i \ne j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{m (m - 1)}
   - \frac{2 \sum_{ij} k(a_i, b_j)}{n m}, \qquad k(a, b) = (a \cdot b / d + 1)^3

References:
    Demystifying MMD GANs (Binkowski et al., 2018), section 4. https://arxiv.org/abs/1801.01401
    A kernel two-sample test (Gretton et al., 2012), eq. 3 and appendix B.
    https://jmlr.org/papers/v13/gretton12a.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.evaluation.arguments import check_key, check_tables, check_whole
from pofx.evaluation.blocks import Stop, blocks, poll
from pofx.functional.random import stream


class KernelDistance(NamedTuple):
    """A squared maximum mean discrepancy and the standard error of it."""

    value: float
    stderr: float


def kernel_distance(a: Tensor, b: Tensor, stop: Stop | None = None) -> KernelDistance:
    """The unbiased estimate over all pairs of two sets of features, `(n, d)` and `(m, d)`.

    The standard error is that of a U-statistic: the variance of each row's own contribution, less
    the noise of averaging it over finitely many partners. Memory stays bounded: the kernel matrices
    exist one block at a time.
    """
    _check(a, b)
    aa, bb, ab = _sums(a, a, stop), _sums(b, b, stop), _sums(a, b, stop)
    n, m = len(a), len(b)
    own_a, own_b, across = aa.rows / (n - 1), bb.rows / (m - 1), ab.rows / m
    value = own_a.mean() + own_b.mean() - 2 * across.mean()
    first = 4 * ((own_a - across).var() / n + (own_b - ab.columns / n).var() / m)
    pairs = (
        2 * aa.interaction() / n**2 + 2 * bb.interaction() / m**2 + 4 * ab.interaction() / (n * m)
    )
    return KernelDistance(float(value), float((first - pairs).clamp(min=pairs)) ** 0.5)


def kernel_distance_by_subsets(
    a: Tensor,
    b: Tensor,
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
    stop: Stop | None = None,
) -> KernelDistance:
    """The published protocol: the mean over random subsets, and its standard error over them.

    Subsets overlap when `subsets * size` exceeds the rows, and the standard error then says less
    than that of `kernel_distance`.
    """
    _check(a, b)
    check_whole("subsets", subsets, least=2)
    check_whole("size", size, least=2)
    check_key(seed)
    size = min(size, len(a), len(b))
    generator = torch.Generator().manual_seed(stream("subsets", seed))
    values = torch.empty(subsets, dtype=torch.float64)
    for i in range(subsets):
        poll(stop)
        rows = [torch.randperm(len(t), generator=generator)[:size].to(t.device) for t in (a, b)]
        values[i] = _unbiased(a[rows[0]], b[rows[1]])
    return KernelDistance(float(values.mean()), float(values.std() / subsets**0.5))


@dataclass(frozen=True)
class _Sums:
    """Sums of a kernel matrix; a matrix of a set with itself goes without its diagonal."""

    rows: Tensor
    columns: Tensor
    squares: Tensor
    pairs: int

    def interaction(self) -> Tensor:
        """Mean square of what is left of the kernel when row and column means are taken out."""
        n, m = len(self.rows), len(self.columns)
        mean = self.rows.sum() / self.pairs
        row_means, column_means = self.rows * n / self.pairs, self.columns * m / self.pairs
        left = self.squares / self.pairs - row_means.pow(2).mean() - column_means.pow(2).mean()
        return (left + mean**2).clamp(min=0)


def _sums(a: Tensor, b: Tensor, stop: Stop | None, size: int = 256) -> _Sums:
    own = a is b
    rows = torch.zeros(len(a), dtype=torch.float64, device=a.device)
    columns = torch.zeros(len(b), dtype=torch.float64, device=a.device)
    squares = torch.zeros((), dtype=torch.float64, device=a.device)
    for i in blocks(len(a), size, stop):
        k = _kernel(a[i], b)
        if own:
            k[:, i].fill_diagonal_(0)
        rows[i] = k.sum(1).double()
        columns += 0 if own else k.sum(0)
        squares += k.flatten().dot(k.flatten())
    return _Sums(rows, rows if own else columns, squares, len(a) * (len(b) - own))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    k = torch.addmm(a.new_ones(1), a, b.T, alpha=1 / a.shape[1])
    return k.square().mul_(k)


def _unbiased(a: Tensor, b: Tensor) -> Tensor:
    aa, bb, ab = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    n, m = len(a), len(b)
    own_a = (aa.sum(dtype=torch.float64) - aa.trace()) / (n * (n - 1))
    own_b = (bb.sum(dtype=torch.float64) - bb.trace()) / (m * (m - 1))
    return own_a + own_b - 2 * ab.mean(dtype=torch.float64)


def _check(a: Tensor, b: Tensor) -> None:
    check_tables(("features", "other features"), a, b, rows=2)
