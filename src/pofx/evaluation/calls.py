"""How a model's methods are called: on its own device, with a class only where it takes one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pofx.capabilities import Samples
from pofx.evaluation.blocks import Stop, poll
from pofx.functional.draw import draw, evaluating
from pofx.typing import Cond, Data


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


class Unconditional:
    """A sampler whose method takes no class, as one that takes it and has no use for it."""

    def __init__(self, model: Samples) -> None:
        self.model = model

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        """What the model draws."""
        return self.model.sample(n)


def draw_examples(
    model: Samples, n: int, *, cond: Cond | None = None, seed: int = 0, stop: Stop | None = None
) -> Data:
    """`n` samples on the CPU, the same for any batch split, whether or not a class is taken.

    Raises:
        Stopped: `stop` became true.
    """
    cond = None if cond is None else cond.to(device_of(model))
    source = model if takes_cond(model.sample) else Unconditional(model)
    with evaluating(model):
        drawn = draw(source, n, seed=seed, cond=cond, stop=stop or (lambda: False), use="evaluate")
    poll(stop)
    return drawn


def call(
    method: Callable[..., Tensor], *inputs: Tensor, cond: Cond | None, **options: Any
) -> Tensor:
    """`method(*inputs, cond=cond)`; without the class if there is none or it is not taken."""
    if cond is None or not takes_cond(method):
        return method(*inputs, **options)
    return method(*inputs, cond=cond, **options)


def options_of(model: object, name: str) -> dict[str, str]:
    """What a method takes, and of which type; nothing where there is none."""
    method = getattr(model, name, None)
    parameters = inspect.signature(method).parameters if callable(method) else {}
    return {k: _annotation(p) for k, p in parameters.items()}


def _annotation(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,),
}  # fmt: skip
_NAMES = {
    "int": "a whole number from 0", "float": "a number", "bool": "true or false", "str": "a word",
}  # fmt: skip


def wanted(annotation: str, value: Any) -> str:
    """What an option of this type takes, if this value is none of it.

    >>> wanted("Sampler | str | None", ("ddim", "heun"))
    'as a Sampler or a word'
    >>> wanted("tuple[float, float] | None", (0.2, 0.8)), wanted("Sampler | str | None", object())
    ('', '')
    """
    kinds = [k.strip() for k in annotation.split("|") if k.strip() != "None"]
    if isinstance(value, tuple | list):
        sound = any(k.startswith("tuple[") for k in kinds)
    elif isinstance(value, bool | int | float | str):
        sound = not _PLAIN.keys() & kinds or any(_is(k, value) for k in kinds if k in _PLAIN)
    else:
        sound = not isinstance(value, type)
    return "" if sound else f"as {' or '.join(_NAMES.get(k, f'a {k}') for k in kinds)}"


def _is(kind: str, value: bool | int | float | str) -> bool:
    if isinstance(value, bool) != (kind == "bool") or not isinstance(value, _PLAIN[kind]):
        return False
    if kind == "int":
        return value >= 0  # type: ignore[operator]
    return not isinstance(value, float) or math.isfinite(value)
