r"""residual: the identity and a contraction, which together are a bijection.

.. math:: z = x + g(x), \quad \mathrm{Lip}(g) < 1, \qquad
    \log|\det| = \log\det(I + J_g) = \sum_{k=1}^\infty \frac{(-1)^{k+1}}{k} \mathrm{tr} J_g^k

The inverse is the fixed point of :math:`x \leftarrow z - g(x)`. Of few elements the determinant is
computed; else traces are estimated along one random direction e by :math:`e^T J_g^k e`, and the
series is cut at random, its later terms weighted by how seldom they are reached, which leaves the
mean as it is.

References:
    Residual flows for invertible generative modeling (Chen et al., 2019), eq. 2-6 and 8.
    https://arxiv.org/abs/1906.02735
    Invertible residual networks (Behrmann et al., 2019), algorithm 1 and section 3.1.
    https://arxiv.org/abs/1811.00995
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.flow.bijection import Bijection
from pofx.functional.precision import unrounded
from pofx.nn.condition import condition
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample

Push = Callable[[Tensor], Tensor]
"""Multiplies directions, `(k, n, size)`, by each example's Jacobian."""
_TERMS = 4
"""So many terms of the series are always taken."""


class Contraction(nn.Module):
    r"""A fully connected network with a Lipschitz constant of at most `lipschitz`.

    Weights are divided by their largest singular value where that exceeds their share of the
    constant. The activation is LipSwish, :math:`h \sigma(\beta h) / 1.1`, whose slope is at most 1.

    Args:
        size: of the vectors.
        hidden: widths of the hidden layers.
        lipschitz: below 1.
        cond: the spec of the condition, which shifts the first layer.
    """

    def __init__(
        self,
        size: int,
        hidden: tuple[int, ...] = (64, 64),
        lipschitz: float = 0.97,
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        sizes = [size, *hidden, size]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.beta = nn.Parameter(torch.full((len(hidden),), 0.5))
        self.label = condition(cond, hidden[0])
        self.each = lipschitz ** (1 / len(self.layers))
        nn.init.uniform_(self.layers[0].bias, -2, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, Push]:
        """g(x), and what multiplies by its Jacobian."""
        layers: list[nn.Linear] = list(self.layers)  # type: ignore[arg-type]
        weights = [_at_most(layer.weight, self.each) for layer in layers]
        h, slopes = x, []
        for i, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
            if i:
                h, slope = _lipswish(h, F.softplus(self.beta[i - 1]))
                slopes.append(slope)
            h = F.linear(h, weight, layer.bias)
            if i == 0 and self.label is not None:
                h = h + self.label(cond)

        def push(along: Tensor) -> Tensor:
            along = along @ weights[0].t()
            for weight, slope in zip(weights[1:], slopes, strict=True):
                along = (along * slope) @ weight.t()
            return along

        return h, push


class Residual(Bijection):
    """The identity and a contraction.

    Args:
        contraction: of vectors.
        exact: whether the determinant is computed, as the cube of the number of elements costs it,
            or estimated.
    """

    def __init__(self, contraction: Contraction, *, exact: bool = True) -> None:
        super().__init__()
        self.contraction: Contraction = contraction
        self.exact = exact

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        g, push = self.contraction(x, cond)
        return x + g, _determinant(push, x) if self.exact else _estimate(push, x)

    @torch.no_grad()
    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        near = 4 * torch.finfo(z.dtype).eps * z.abs().max().clamp(min=1)
        x = z
        for _ in range(1000):
            before, x = x, z - self.contraction(x, cond)[0]
            if (x - before).abs().max() <= near:
                break
        return x


def _determinant(push: Push, x: Tensor) -> PerExample:
    axes = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    jacobian = push(axes[:, None].expand(-1, *x.shape)).permute(1, 2, 0)
    return torch.linalg.slogdet(axes + jacobian)[1]


def _estimate(push: Push, x: Tensor) -> PerExample:
    direction = 2 * torch.bernoulli(torch.full_like(x, 0.5))[None] - 1
    # a term more is taken with probability 1/2, and counts twice as much as the one before
    further = (1 - torch.rand(len(x), device=x.device, dtype=x.dtype)).log2().neg().floor()
    total, along, k = x.new_zeros(len(x)), direction, 0
    while k < _TERMS + int(further.max()):
        k += 1
        along = push(along)
        reached = 2.0 ** max(k - _TERMS, 0) * (further >= k - _TERMS)
        total = total - (-1) ** k / k * reached * (direction * along).sum((0, 2))
    return total


def _at_most(weight: Tensor, norm: float) -> Tensor:
    """The weight, divided so that its largest singular value is at most `norm`; NaN where that
    value is too large for a number.
    """
    with unrounded(weight):
        gram = weight @ weight.t() if weight.shape[0] < weight.shape[1] else weight.t() @ weight
        if not bool(gram.isfinite().all()):  # has no eigenvalues
            return weight * torch.nan
        largest = torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-12).sqrt()
    return weight / (largest / norm).clamp(min=1)


def _lipswish(h: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The activation and its slope."""
    gate = torch.sigmoid(beta * h)
    return h * gate / 1.1, (gate + beta * h * gate * (1 - gate)) / 1.1
