r"""Frechet distance: GANs trained by a two time-scale update rule (Heusel et al., 2017).

The distance between two Gaussians that have the moments of two sets of features:

.. math:: d^2 = |m_1 - m_2|^2 + \mathrm{tr}(S_1 + S_2) - 2\, \mathrm{tr} (S_1 S_2)^{1/2}

With :math:`S_1 = L L^\top` the last trace is the sum of the square roots of the eigenvalues of the
symmetric :math:`L^\top S_2 L`, which needs no matrix square root. With fewer rows than features it
is the nuclear norm of :math:`A B^\top / \sqrt{(n_1 - 1)(n_2 - 1)}` for the centred features A and
B, which needs no covariance either.

References:
    GANs trained by a two time-scale update rule converge to a local Nash equilibrium (Heusel et
    al., 2017), eq. 6.
    https://arxiv.org/abs/1706.08500
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.evaluation.arguments import check_tables
from pofx.evaluation.blocks import Stop, blocks, poll


class Moments(NamedTuple):
    """Mean `(d,)` and unbiased covariance `(d, d)` of `n` rows, in float64."""

    mean: Tensor
    covariance: Tensor
    n: int


def moments(x: Tensor, stop: Stop | None = None) -> Moments:
    """Mean and covariance of the rows of `x`, `(n, d)`.

    Wide features are multiplied in their own precision, on centred rows, and summed in float64 over
    blocks of rows; up to 256 of them cost little in float64 throughout. Only the lower triangle is
    computed; the other half is its mirror.
    """
    n, d = x.shape
    x = x.double() if d <= 256 else x
    mean = x.mean(0, dtype=torch.float64)
    total = torch.zeros(d, d, dtype=torch.float64, device=x.device)
    for rows in blocks(n, 4096, stop):
        centred = x[rows] - mean.to(x.dtype)
        for left in blocks(d, 256):
            total[left, : left.stop] += centred[:, left].T @ centred[:, : left.stop]
    # What rounding the mean to x's precision left in every centred row.
    rest = mean - mean.to(x.dtype).double()
    covariance = (total.tril() + total.tril(-1).T - n * torch.outer(rest, rest)) / (n - 1)
    return Moments(mean, covariance, n)


def frechet_from_moments(m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> float:
    """Squared Frechet distance of N(m1, s1) and N(m2, s2); either covariance may be singular.

    >>> eye = torch.eye(3)
    >>> round(frechet_from_moments(torch.zeros(3), eye, torch.ones(3), 4 * eye), 6)
    6.0
    """
    m1, s1, m2, s2 = (t.double() for t in (m1, s1, m2, s2))
    cross = _trace_root_product(s1, s2)
    return float(((m1 - m2) ** 2).sum() + s1.trace() + s2.trace() - 2 * cross)


def frechet_distance(a: Tensor, b: Tensor, stop: Stop | None = None) -> float:
    """Squared Frechet distance of two sets of features, `(n1, d)` and `(n2, d)`.

    It is biased upwards by about `d / n + d (d + 1) / (4 n)` for each set of n rows, so compare
    figures of equal counts only.

    Raises:
        UserError: the sets have different widths or fewer than two rows.
    """
    check_tables(("features", "other features"), a, b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise UserError(
            f"A Frechet distance needs two sets of at least two rows and of equal width, but got "
            f"{tuple(a.shape)} and {tuple(b.shape)}; evaluate more examples with one feature."
        )
    if min(len(a), len(b)) < a.shape[1]:
        return _frechet_of_few(a.double(), b.double())
    first, second = moments(a, stop), moments(b, stop)
    poll(stop)
    return frechet_from_moments(first.mean, first.covariance, second.mean, second.covariance)


def expected_bias(n1: int, n2: int, d: int) -> float:
    """What two samples of one d-dimensional normal distribution score, to first order in 1/n."""
    return sum(d / n + d * (d + 1) / (4 * n) for n in (n1, n2))


def _frechet_of_few(a: Tensor, b: Tensor) -> float:
    m1, m2 = a.mean(0), b.mean(0)
    a, b = (a - m1) / (len(a) - 1) ** 0.5, (b - m2) / (len(b) - 1) ** 0.5
    if max(len(a), len(b)) > a.shape[1]:  # turn the longer set into d rows of equal covariance
        a, b = (torch.linalg.qr(t, mode="r").R if len(t) > t.shape[1] else t for t in (a, b))
    cross = torch.linalg.svdvals(a @ b.T).sum()
    return float(((m1 - m2) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross)


def _trace_root_product(s1: Tensor, s2: Tensor) -> Tensor:
    root, failed = torch.linalg.cholesky_ex(s1)
    if failed:
        return torch.linalg.svdvals(_root(s1).T @ _root(s2)).sum()
    return torch.linalg.eigvalsh(_congruence(root, s2)).clamp(min=0).sqrt().sum()


def _congruence(lower: Tensor, s: Tensor, size: int = 256) -> Tensor:
    """The lower triangle of `lower^T s lower`, at a third of the cost of two full products."""
    out = torch.zeros_like(s)
    for columns in blocks(len(s), size):
        below = slice(columns.start, None)
        out[below, columns] = lower[below, below].T @ (s[below, below] @ lower[below, columns])
    return out


def _root(s: Tensor) -> Tensor:
    """Some R with R R^T = s, for a singular s."""
    values, vectors = torch.linalg.eigh(s)
    return vectors * values.clamp(min=0).sqrt()
