"""flat: a player's parameters, and their gradients, as one tensor each.

An optimizer step, a norm, a clip and an all-reduce then each cost one kernel, however many layers
the player has. What a single micro-batch's gradients are used for needs no such tensor: they are
applied where autograd left them, which spares a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

_ALIGNED = 16
"""Each parameter starts at a multiple of so many numbers, 64 bytes of float32, as in memory of its
own: kernels then take the same path, to the last bit, for a copy of the model.
"""


class Flat:
    """Moves the trainable parameters of a module into one buffer, in place.

    The module's parameters become views of `parameter`, and `grad` is what autograd returned for
    them; what lies between them is zero and stays so.

    Args:
        module: already on its device; all of its trainable parameters must share one dtype.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self.parameters]
        widths = [-(-n // _ALIGNED) * _ALIGNED for n in sizes]
        like = self.parameters[0].detach()
        self.parameter = nn.Parameter(like.new_zeros(sum(widths)))
        whole = self.parameter.grad = torch.zeros_like(self.parameter)
        places = zip(self.parameter.detach().split(widths), whole.split(widths), strict=True)
        self._places = tuple(zip(sizes, widths, strict=True))
        self._values: list[Tensor] = []
        self._grads: list[Tensor] = []
        self._received: tuple[Tensor, ...] | None = None  # not written into `grad` yet
        self._moments: tuple[Tensor, ...] = ()
        self._split_moments: list[list[Tensor]] = []
        for p, n, (value, grad) in zip(self.parameters, sizes, places, strict=True):
            value[:n] = p.detach().reshape(-1)
            p.data = value[:n].view_as(p)
            self._values.append(p.detach())
            self._grads.append(grad[:n].view_as(p))

    def receive(self, grads: tuple[Tensor, ...], *, first: bool) -> None:
        """Takes the gradients of one micro-batch, one for each of `parameters`: the first ones
        replace what is there, and the others are added.
        """
        if first:
            self._received = grads
            if grads[0].device.type != "cpu":  # where the copy costs nothing
                self._written()
        else:
            torch._foreach_add_(self._written(), grads)

    @property
    def grad(self) -> Tensor:
        """Every gradient, as one vector."""
        self._written()
        assert self.parameter.grad is not None
        return self.parameter.grad

    def norm(self) -> Tensor:
        """The norm of all gradients together."""
        if self._received is None:
            return torch.linalg.vector_norm(self.grad)
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._received)))

    def step(self, optimizer: Optimizer) -> None:
        """Takes the step of the optimizer of `parameter`."""
        state, group = optimizer.state[self.parameter], optimizer.param_groups[0]
        grads, self._received = self._received or (), None
        if type(optimizer) is AdamW and state and _dense(grads):
            self._adam(state, group, grads)
        elif (
            type(optimizer) is SGD and not group["momentum"] and not group["weight_decay"] and grads
        ):
            torch._foreach_add_(self._values, grads, alpha=-group["lr"])
        else:
            self._received = grads or None
            self._written()
            optimizer.step()

    def _adam(
        self, state: dict[str, Any], group: dict[str, Any], grads: tuple[Tensor, ...]
    ) -> None:
        """What the fused kernel does to one tensor, for each parameter."""
        moments = state["exp_avg"], state["exp_avg_sq"]
        if not self._moments or any(
            a is not b for a, b in zip(moments, self._moments, strict=True)
        ):
            self._moments, self._split_moments = moments, [self._split(m) for m in moments]
        averages, squares = self._split_moments
        state["step"] += 1
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            self._values, grads, averages, squares, [], [state["step"]] * len(grads),
            lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"],
            eps=group["eps"], amsgrad=False, maximize=False,
        )  # fmt: skip

    def _split(self, whole: Tensor) -> list[Tensor]:
        """The part of each parameter."""
        sizes, widths = zip(*self._places, strict=True)
        parts = zip(whole.split(widths), sizes, self.parameters, strict=True)
        return [part[:n].view_as(p) for part, n, p in parts]

    def _written(self) -> list[Tensor]:
        """The views of `grad`, with what was received in them."""
        if self._received is not None:
            torch._foreach_copy_(self._grads, self._received)
            self._received = None
        return self._grads


def _dense(grads: Sequence[Tensor]) -> bool:
    """Whether the fused kernel may run through their memory."""
    return bool(grads) and all(g.is_contiguous() for g in grads)
