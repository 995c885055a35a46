"""zeroed: layers that say nothing at first."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """The layer, all of whose parameters are 0 now: a block that ends in it begins as nothing.

    >>> float(zeroed(nn.Linear(2, 2)).weight.detach().abs().sum())
    0.0
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
