r"""linear: a square matrix by its triangular factors.

.. math:: W = P L (U + \mathrm{diag}(s)), \qquad \log|\det W| = \sum_i \log |s_i|

P is a permutation and stays, L is lower triangular with ones on its diagonal, U is strictly upper
triangular. So the determinant is at hand, and the inverse is that of two triangles.

References:
    Glow: generative flow with invertible 1x1 convolutions (Kingma and Dhariwal, 2018), eq. 9-11.
    https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.flow.bijection import Bijection
from pofx.functional.precision import unrounded
from pofx.typing import Cond, PerExample


class LU(Bijection):
    """Mixes the elements of a vector, or the channels of an image (a 1x1 convolution).

    Args:
        matrix: W at the start, square and invertible.

    >>> z, ladj = LU(rotation(3))(torch.randn(5, 3, 2, 2))
    >>> z.shape, bool(ladj.abs().max() < 1e-5)
    (torch.Size([5, 3, 2, 2]), True)
    """

    order: Tensor
    sign: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        p, lower, upper = torch.linalg.lu(matrix)
        diagonal = upper.diagonal()
        self.register_buffer("order", p.argmax(1))
        self.register_buffer("sign", diagonal.sign())
        self.log_scale = nn.Parameter(diagonal.abs().log())
        self.triangles = nn.Parameter(lower.tril(-1) + upper.triu(1))

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s)."""
        one = torch.eye(len(self.sign), device=self.sign.device, dtype=self.sign.dtype)
        diagonal = torch.diag(self.sign * self.log_scale.exp())
        return self.triangles.tril(-1) + one, self.triangles.triu(1) + diagonal

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        ladj = self.log_scale.sum() * x[0, 0].numel()
        with unrounded(x):  # what is rounded has no inverse
            lower, upper = self.factors
            return _times((lower @ upper)[self.order], x), ladj.expand(len(x))

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        lower, upper = self.factors
        back = torch.eye(len(lower), device=z.device, dtype=lower.dtype)[self.order].t()
        back = torch.linalg.solve_triangular(lower, back, upper=False, unitriangular=True)
        return _times(torch.linalg.solve_triangular(upper, back, upper=True), z)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """Each example's elements or channels times a matrix; vectors stay transposed in memory."""
    return (matrix @ x.t()).t() if x.ndim == 2 else F.conv2d(x, matrix[:, :, None, None])


def rotation(size: int) -> Tensor:
    """A random rotation or reflection, of determinant 1 or -1."""
    return torch.linalg.qr(torch.randn(size, size))[0]


def shuffle(size: int) -> Tensor:
    """A random permutation."""
    return torch.eye(size)[torch.randperm(size)]


class Diagonal(Bijection):
    """Scales each element of a vector: `z = x e^s`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return z * self.log_scale.neg().exp()
