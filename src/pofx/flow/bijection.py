r"""Bijection: the contract of an invertible map with a known Jacobian determinant.

`z = f(x)` turns a density of z into one of x:

.. math:: \log p(x) = \log p(f(x)) + \log \left| \det \frac{\partial f(x)}{\partial x} \right|
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pofx.typing import Cond, PerExample


class Bijection(nn.Module, ABC):
    """An invertible map of each example, and, where `cond` is given, of its class."""

    @abstractmethod
    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        """`z = f(x)` and `ladj`, the log of the absolute Jacobian determinant, in nats, `(n,)`."""

    @abstractmethod
    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        """The x with `f(x) = z`."""


class Chain(Bijection):
    """Several bijections, one after the other; `forward` goes from first to last."""

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections: Iterable[Bijection] = nn.ModuleList(bijections)  # type: ignore[assignment]

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        total = x.new_zeros(x.shape[0])
        for bijection in self.bijections:
            x, ladj = bijection(x, cond)
            total = total + ladj
        return x, total

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        for bijection in reversed(list(self.bijections)):
            z = bijection.inverse(z, cond)
        return z


class Flatten(Bijection):
    """An image, or anything else, to a vector: `(n, *shape) -> (n, prod(shape))`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        return x.flatten(1), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return z.reshape(-1, *self.shape)


class DataDependent(Bijection):
    """A bijection that a batch sets once, so that what comes of it is normalised; it is learned
    from then on.
    """

    ready: Tensor

    @abstractmethod
    def normalise(self, x: Tensor) -> None:
        """Sets it by a batch, of which other processes may hold a part."""


@torch.no_grad()
def normalise(bijection: nn.Module, x: Tensor, cond: Cond | None = None) -> None:
    """Sets every `DataDependent` part of a bijection by one batch, each by what those before it
    make of it.
    """

    def before(layer: DataDependent, inputs: tuple[Any, ...]) -> None:
        layer.normalise(inputs[0])

    hooks = [
        layer.register_forward_pre_hook(before)
        for layer in bijection.modules()
        if isinstance(layer, DataDependent)
    ]
    bijection(x, cond)
    for hook in hooks:
        hook.remove()
