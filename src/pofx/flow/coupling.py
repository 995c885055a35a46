r"""coupling: one half of an example moves, by a rule that the other half sets.

The two halves are contiguous and take turns, so a stack of couplings splits its input once, joins
its output once and needs neither masks nor permutations:

.. math:: b \leftarrow b \odot e^{s(a)} + t(a), \qquad \log|\det| = \sum s(a)

References:
    Density estimation using Real NVP (Dinh et al., 2017), eq. 4-8. https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pofx.flow.bijection import Bijection
from pofx.flow.elementwise import Elementwise
from pofx.typing import Cond, PerExample


class Coupling(nn.Module, ABC):
    """An invertible map of `b` for each value of `a`.

    Halves of images are images. Halves of vectors are transposed, `(elements, n)`: each is one
    block of memory, which kernels run through several times as fast as through short rows.
    """

    @abstractmethod
    def forward(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        """Where `b` goes, and the log of the absolute Jacobian determinant, `(n,)`."""

    @abstractmethod
    def inverse(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> Tensor:
        """Where `b` came from."""


class ElementwiseCoupling(Coupling):
    """Moves every element of `b` by itself, as one network of `a` says.

    Args:
        conditioner: of `(a, cond)`; the first number of each element of b along the axis of
            elements or channels, then the second, and so on.
        map: what the numbers set.
    """

    def __init__(self, conditioner: nn.Module, map: Elementwise) -> None:
        super().__init__()
        self.conditioner, self.map = conditioner, map

    def forward(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        return self.map.forward(b, self._raw(b, a, cond))

    def inverse(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> Tensor:
        return self.map.inverse(b, self._raw(b, a, cond))

    def _raw(self, b: Tensor, a: Tensor, cond: Cond | None) -> Tensor:
        raw = self.conditioner(a, cond)
        if b.ndim == 2:
            return raw.view(self.map.numbers, *b.shape)
        return raw.unflatten(1, (self.map.numbers, -1)).movedim(1, 0)


class Couplings(Bijection):
    """Couplings that move the second half, then the first, then the second, and so on.

    Args:
        couplings: in turn.
        first: how many elements or channels, along axis 1, the first half has.
    """

    def __init__(self, couplings: Iterable[Coupling], first: int) -> None:
        super().__init__()
        self.couplings: nn.ModuleList = nn.ModuleList(couplings)
        self.first = first

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        a, b = self._split(x)
        total = x.new_zeros(x.shape[0])
        for coupling in self.couplings:
            b, ladj = coupling(b, a, cond)
            total = total + ladj
            a, b = b, a
        return (_join(b, a) if len(self.couplings) % 2 else _join(a, b)), total

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        a, b = self._split(z)
        if len(self.couplings) % 2:
            a, b = b, a
        for coupling in reversed(self.couplings):
            a, b = b, a
            b = coupling.inverse(b, a, cond)  # type: ignore[operator]
        return _join(a, b).contiguous()

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sizes = [self.first, x.shape[1] - self.first]
        a, b = (x.t().contiguous() if x.ndim == 2 else x).split(sizes, _axis(x))
        return a.contiguous(), b.contiguous()


def _join(a: Tensor, b: Tensor) -> Tensor:
    whole = torch.cat([a, b], _axis(a))
    return whole.t() if whole.ndim == 2 else whole


def _axis(half: Tensor) -> int:
    """Where a half has its elements or channels."""
    return 0 if half.ndim == 2 else 1
