"""mlp: fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from pofx.nn.linear import Linear


class MLP(nn.Sequential):
    """Linear layers with an activation between: `(n, sizes[0]) -> (n, sizes[-1])`.

    >>> import torch
    >>> MLP([2, 64, 3])(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [Linear(inputs, outputs), activation()]
        super().__init__(*layers[:-1])


class ResidualMLP(nn.Module):
    """A residual network on vectors: `(n, inputs) -> (n, outputs)`.

    Each block normalises, widens to `hidden`, and adds; an embedding of width `hidden`, where
    given, is added within every block. The output layer starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.first = Linear(inputs, hidden)
        self.blocks = nn.ModuleList(_ResidualBlock(hidden) for _ in range(blocks))
        last = Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.last = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), last)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.last(h)


class _ResidualBlock(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.first = Linear(hidden, hidden)
        self.last = Linear(hidden, hidden)
        self.activation = nn.SiLU()

    def forward(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        r = self.first(self.activation(self.norm(h)))
        if embedding is not None:
            r = r + embedding
        return h + self.last(self.activation(r))
