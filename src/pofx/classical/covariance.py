"""covariance: of examples whose elements are uncertain, and the directions in which it is largest.

References:
    Finding structure with randomness (Halko et al., 2011), algorithm 4.4, for the leading
    eigenvectors where there are many elements. https://arxiv.org/abs/0909.4061
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pofx.classical.yardstick import blocks

DIRECT = 2048
"""Columns up to which the covariance is a matrix in memory."""


class Covariance(NamedTuple):
    """The covariance of rows with independent noise on them, in float64 and a block at a time.

    Args:
        y: the rows, `(n, d)`.
        mean: theirs, `(d,)`.
        noise: its variance in each column, `(d,)`.
    """

    y: Tensor
    mean: Tensor
    noise: Tensor

    def whole(self) -> Tensor:
        """The matrix, `(d, d)`."""
        total = torch.zeros_like(self.noise.diag())
        for rows in blocks(*self.y.shape):
            r = self.y[rows].to(self.mean) - self.mean
            total = total.addmm_(r.T, r)
        return total / len(self.y) + self.noise.diag()

    def times(self, q: Tensor) -> Tensor:
        """Its product with a matrix `(d, m)`, without the matrix itself."""
        total = torch.zeros_like(q)
        for rows in blocks(len(self.y), self.y.shape[1] + q.shape[1]):
            r = self.y[rows].to(self.mean) - self.mean
            total = total.addmm_(r.T, r @ q)
        return total / len(self.y) + self.noise[:, None] * q

    def held_out(self, k: int, folds: int) -> Tensor:
        """The variances along the k directions in which rows vary most, of rows that had no part in
        finding them, `(k,)`: largest eigenvalues of a covariance of few rows are too large.

        Every fold has its own directions, found in the other folds, and variances about their mean;
        those of the same rank are averaged.

        References:
            Cross-validation based nonlinear shrinkage (Bartz, 2016), section 3.
            https://arxiv.org/abs/1611.00798
        """
        total = self.mean.new_zeros(k)
        fold = torch.arange(len(self.y), device=self.y.device) % folds
        for i in range(folds):
            others, own = self.y[fold != i], self.y[fold == i]
            mean = others.to(self.mean).mean(0)
            _, axes = Covariance(others, mean, self.noise).leading(k)
            along = (own.to(self.mean) - mean) @ axes
            total += along.square().sum(0) + len(own) * (self.noise @ axes.square())
        return total / len(self.y)

    def leading(self, k: int, direct: int = DIRECT) -> tuple[Tensor, Tensor]:
        """The k largest eigenvalues and their vectors, `(k,)` and `(d, k)`, in falling order.

        Up to `direct` columns by the whole matrix; beyond, by the iteration of a subspace of twice
        the size.
        """
        d = len(self.mean)
        if d <= direct:
            values, vectors = torch.linalg.eigh(self.whole())
            return values.flip(0)[:k], vectors.flip(1)[:, :k]
        q = torch.randn(d, min(d, 2 * k + 10), dtype=self.mean.dtype, device=self.mean.device)
        for _ in range(30):
            q = torch.linalg.qr(self.times(q))[0]
        values, vectors = torch.linalg.eigh(q.T @ self.times(q))
        return values.flip(0)[:k], (q @ vectors).flip(1)[:, :k]
