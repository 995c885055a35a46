"""threads: how many threads of a CPU a training takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pofx.recipe import Recipe


def suitable_threads(recipe: Recipe) -> int:
    """Returns one thread for steps so small that handing them out costs more than it saves."""
    convolutional = any(isinstance(m, nn.Conv2d) for m in recipe.model.modules())
    work = recipe.batch_size * sum(p.numel() for p in recipe.model.parameters())
    return torch.get_num_threads() if convolutional or work > 1e8 else 1


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Limits the threads of CPU operations for as long as it is entered; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
