"""flat: a player's parameters, and their gradients, as one tensor each.

An optimizer step, a norm, a clip and an all-reduce then each cost one kernel, however many layers
the player has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Flat:
    """Moves the trainable parameters of a module into one buffer, in place.

    The module's parameters become views of `parameter`, and their gradients views of
    `parameter.grad`.

    Args:
        module: already on its device; all of its trainable parameters must share one dtype.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self.parameters]
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.parameter = nn.Parameter(flat)
        self.parameter.grad = torch.zeros_like(flat)
        values, grads = flat.split(sizes), self.parameter.grad.split(sizes)
        for p, value, grad in zip(self.parameters, values, grads, strict=True):
            p.data = value.view_as(p)
            p.grad = grad.view_as(p)

    @property
    def grad(self) -> Tensor:
        """Every gradient, as one vector."""
        assert self.parameter.grad is not None
        return self.parameter.grad
