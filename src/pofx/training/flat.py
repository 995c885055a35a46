"""flat: a player's parameters, and their gradients, as one tensor each.

An optimizer step, a norm, a clip and an all-reduce then each cost one kernel, however many layers
the player has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ALIGNED = 16
"""Each parameter starts at a multiple of so many numbers, 64 bytes of float32, as in memory of its
own: kernels then take the same path, to the last bit, for a copy of the model.
"""


class Flat:
    """Moves the trainable parameters of a module into one buffer, in place.

    The module's parameters become views of `parameter`, and `receive` writes what autograd returned
    for them into `parameter.grad`; what lies between them is zero and stays so.

    Args:
        module: already on its device; all of its trainable parameters must share one dtype.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self.parameters]
        widths = [-(-n // _ALIGNED) * _ALIGNED for n in sizes]
        like = self.parameters[0].detach()
        self.parameter = nn.Parameter(like.new_zeros(sum(widths)))
        self.parameter.grad = torch.zeros_like(self.parameter)
        places = zip(self.parameter.detach().split(widths), self.grad.split(widths), strict=True)
        self._grads = []
        for p, n, (value, grad) in zip(self.parameters, sizes, places, strict=True):
            value[:n] = p.detach().reshape(-1)
            p.data = value[:n].view_as(p)
            self._grads.append(grad[:n].view_as(p))

    def receive(self, grads: tuple[Tensor, ...], *, first: bool) -> None:
        """Takes the gradients of one micro-batch, one for each of `parameters`: the first ones
        overwrite what is there, which spares filling it with zeros, and the others are added.
        """
        if first:
            torch._foreach_copy_(self._grads, grads)
        else:
            torch._foreach_add_(self._grads, grads)

    @property
    def grad(self) -> Tensor:
        """Every gradient, as one vector."""
        assert self.parameter.grad is not None
        return self.parameter.grad
