"""How a model's methods are called: on its own device, with a class only where it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pofx.typing import Cond


def device_of(model: object) -> torch.device:
    """The device of a module's parameters or buffers; the CPU for what has none."""
    if isinstance(model, nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return torch.device("cpu")


def dtype_of(model: object) -> torch.dtype:
    """The floating type of a module's parameters or buffers; torch's default for what has none."""
    if isinstance(model, nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.get_default_dtype()


def takes_cond(method: Callable[..., Any]) -> bool:
    """Whether a method has a parameter for the class."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "cond" or p.kind is p.VAR_KEYWORD for p in parameters)


def call(
    method: Callable[..., Tensor], *inputs: Tensor, cond: Cond | None, **options: Any
) -> Tensor:
    """`method(*inputs, cond=cond)`; without the class if there is none or it is not taken."""
    if cond is None or not takes_cond(method):
        return method(*inputs, **options)
    return method(*inputs, cond=cond, **options)
