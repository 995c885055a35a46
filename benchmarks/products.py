"""products: the matrix products of a training step alone, each by the quickest way there is.

What a step takes beyond them is what a library can save, whatever processor it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from side_by_side import seconds
from torch import Tensor

from pofx.functional import products

Layer = tuple[int, int, int, str]
"""Rows, inputs, outputs, and what is asked for: `forward`, gradients of `inputs` and `weights`."""
_TRIALS = 5


def network(rows: int, *widths: int, data: bool = True) -> list[Layer]:
    """The layers of a fully connected network in training, whose inputs may be data, of which no
    gradient is asked.
    """
    every = "forward inputs weights"
    each = ["forward weights" if data else every, *[every] * (len(widths) - 2)]
    return [(rows, a, b, kinds) for (a, b), kinds in zip(pairwise(widths), each, strict=True)]


def alone(layers: Iterable[Layer], times: int = 1) -> Callable[[], None]:
    """Does every product that the layers ask for, into memory that is kept, `times` times over."""
    works = [work for layer in layers for work in _works(*layer)]

    @torch.no_grad()
    def work() -> None:
        for _ in range(times):
            for product in works:
                product()

    return work


def _works(rows: int, inputs: int, outputs: int, kinds: str) -> list[Callable[[], Tensor]]:
    shapes = (rows, inputs), (outputs, inputs), (rows, outputs)
    x, weight, gradient = (torch.randn(shape) for shape in shapes)
    pairs = {
        "forward": (x, weight.t()),
        "inputs": (gradient, weight),
        "weights": (gradient.t(), x),
    }
    return [_quickest(*pairs[kind]) for kind in kinds.split()]


@torch.no_grad()
def _quickest(a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    out = torch.empty(a.shape[0], b.shape[1])
    other = torch.empty(b.shape[1], a.shape[0])
    ways: list[Callable[[], Tensor]] = [
        lambda: torch.mm(a, b, out=out),
        lambda: torch.mm(b.t(), a.t(), out=other),
    ]
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        ways.append(lambda: products._product(a, b.t(), None))
    return min(ways, key=lambda way: min(seconds(way) for _ in range(_TRIALS)))
