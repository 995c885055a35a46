r"""mixture: several normal distributions, each with a weight, or with one for each class.

.. math:: p(y | c) = \sum_k w_{ck} \, \mathcal{N}(y; \mu_k, L_k L_k^\top)

`weights` is `(classes, K)` with rows that sum to one, `means` is `(K, d)`, and `roots` is `(K, d)`
for standard deviations or `(K, d, d)` for lower triangles L.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


def log_normals(y: Tensor, means: Tensor, roots: Tensor) -> Tensor:
    """Log-density of each row of `y` under each component, nats: `(n, d) -> (n, K)`.

    >>> log_normals(torch.zeros(1, 2), torch.zeros(3, 2), torch.ones(3, 2))
    tensor([[-1.8379, -1.8379, -1.8379]])
    """
    middle = means.mean(0)  # squares of large numbers would lose what tells them apart
    y, means = y - middle, means - middle
    constant = log_dets(roots) + y.shape[1] * _LOG_2PI
    if roots.ndim == 3:
        z = _solve(roots, y.T) - _solve(roots, means[:, :, None])
        return -0.5 * (z.square().sum(1).T + constant)
    precisions = roots**-2
    squares = y.square() @ precisions.T - 2 * y @ (means * precisions).T
    return -0.5 * (squares + (means.square() * precisions).sum(1) + constant)


def log_dets(roots: Tensor) -> Tensor:
    """Log-determinant of each covariance: `(K,)`."""
    diagonal = roots if roots.ndim == 2 else roots.diagonal(dim1=1, dim2=2)
    return 2 * diagonal.log().sum(1)


def precisions(roots: Tensor, root: Tensor | None = None) -> Tensor:
    """Diagonal of the inverse of each covariance, `(K, d)`, or of `root' (L L')^-1 root`.

    Noise of variance v on y costs `log_normals` half of `v @ precisions.T` on average.

    >>> precisions(torch.tensor([[1.0, 2.0]]))
    tensor([[1.0000, 0.2500]])
    """
    if roots.ndim == 2:
        return (1 if root is None else root.square()) / roots.square()
    root = torch.eye(roots.shape[1]).to(roots) if root is None else root
    return _solve(roots, root).square().sum(1)


def _solve(roots: Tensor, y: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(roots, y, upper=False)


def draw_normals(index: Tensor, means: Tensor, roots: Tensor) -> Tensor:
    """A draw from the component that `index` names, for each example: `(n,) -> (n, d)`."""
    eps = torch.randn(len(index), means.shape[1], dtype=means.dtype, device=means.device)
    if roots.ndim == 2:
        return means[index] + roots[index] * eps
    y = torch.empty_like(eps)
    for k in index.unique().tolist():
        mine = index == k
        y[mine] = means[k] + eps[mine] @ roots[k].T
    return y


def pick(weights: Tensor, cond: Tensor) -> Tensor:
    """A component for each example, by the weights of its class: `(n,) -> (n,)`.

    Class c owns the numbers from c to c + 1, so that one search serves all of them.

    >>> pick(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0]))
    tensor([0, 1])
    """
    classes, k = weights.shape
    cdf = weights.double().cumsum(1)
    cdf = cdf / cdf[:, -1:] + torch.arange(classes, device=cdf.device)[:, None]
    u = torch.rand(len(cond), dtype=cdf.dtype, device=cdf.device)
    below = u * (1 - 2.0**-40)  # or c + u could be rounded up to the next class
    return torch.searchsorted(cdf.flatten(), cond + below, right=True) - cond * k


def class_weights(weights: Tensor, cond: Tensor | None, conditional: bool) -> Tensor:
    """The weights for each example, or one row for all: those of its class, of the only class there
    is, or, of a conditional model that is told nothing, the mean.
    """
    if conditional and cond is not None:
        return weights[cond]
    return weights.mean(0, keepdim=True)
