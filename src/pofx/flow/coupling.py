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
from pofx.functional.reductions import sum_event
from pofx.typing import Cond, PerExample


class Coupling(nn.Module, ABC):
    """An invertible map of `b` for each value of `a`."""

    @abstractmethod
    def forward(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        """Where `b` goes, and the log of the absolute Jacobian determinant, `(n,)`."""

    @abstractmethod
    def inverse(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> Tensor:
        """Where `b` came from."""


class AffineCoupling(Coupling):
    r"""Scales and shifts `b`; one network puts out both.

    The log-scale is :math:`s = c \tanh(r / c)` of the network's r, so that no layer stretches or
    shrinks by more than :math:`e^c`: in float32 an unbounded one loses the inverse.

    Args:
        conditioner: `(a, cond) -> (n, 2 channels of b, ...)`: r, then the shift.
        bound: c, nats.
    """

    def __init__(self, conditioner: nn.Module, bound: float = 2.0) -> None:
        super().__init__()
        self.conditioner, self.bound = conditioner, bound

    def log_scale_and_shift(self, a: Tensor, cond: Cond | None) -> tuple[Tensor, Tensor]:
        """S and t, each of b's shape."""
        r, shift = self.conditioner(a, cond).chunk(2, 1)
        return torch.tanh(r * (1 / self.bound)) * self.bound, shift

    def forward(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        log_scale, shift = self.log_scale_and_shift(a, cond)
        return torch.addcmul(shift, b, log_scale.exp()), sum_event(log_scale)

    def inverse(self, b: Tensor, a: Tensor, cond: Cond | None = None) -> Tensor:
        log_scale, shift = self.log_scale_and_shift(a, cond)
        return (b - shift) * (-log_scale).exp()


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
        a, b = self._halves(x)
        total = x.new_zeros(x.shape[0])
        for coupling in self.couplings:
            b, ladj = coupling(b, a, cond)
            total = total + ladj
            a, b = b, a
        return self._join(a, b), total

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        a, b = self._halves(z)
        if len(self.couplings) % 2:
            a, b = b, a
        for coupling in reversed(self.couplings):
            a, b = b, a
            b = coupling.inverse(b, a, cond)  # type: ignore[operator]
        return torch.cat([a, b], 1)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.split([self.first, x.shape[1] - self.first], 1)
        return a.contiguous(), b.contiguous()

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if len(self.couplings) % 2 else [a, b], 1)
