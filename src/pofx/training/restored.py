"""restored: what a checkpoint may put back into a training, held against it before any is used.

An optimizer takes its moments as they come: of another size, its kernels read and write beyond
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pofx.training import checkpoint
from pofx.training.entries import NUMBER, Rule, check, maybe, whole
from pofx.training.loop import Training, under

_NUMBERS = {
    "step": whole(0),
    "elapsed": Rule("a number of seconds", lambda v: NUMBER.holds(v) and v >= 0),
    "lr_scale": Rule("a number above 0, to 1", lambda v: NUMBER.holds(v) and 0 < v <= 1),
    "skipped": whole(0),
    "metrics": whole(0),
    "valid": maybe(Rule("a number", lambda v: isinstance(v, float))),
}
_NEEDED = ("step", "elapsed", "lr_scale", "skipped", "metrics")


def most(training: Training, ranks: int = 64) -> int:
    """How many bytes a checkpoint of this training may have.

    Args:
        training: just built.
        ranks: how many processes may have kept buffers of their own.
    """
    like = _state(training)
    for name in training.players:
        like |= _moments(training, name)
    own = dict(training.objective.named_buffers())
    return checkpoint.room(like) + ranks * checkpoint.room(own)


def check_state(training: Training, tensors: dict[str, Tensor], numbers: object, step: int) -> None:
    """Holds tensors and numbers against what they will fill.

    Args:
        training: just built.
        tensors: as `Training.state` names them.
        numbers: what is not a tensor.
        step: what the checkpoint is called.

    Raises:
        ValueError: names the first of them that does not fit.
    """
    if not isinstance(numbers, dict) or any(name not in numbers for name in _NEEDED):
        raise ValueError(f"its numbers must be {', '.join(_NEEDED)}")
    check(numbers, _NUMBERS)
    if numbers["step"] != step:
        raise ValueError(f"'step' must be {step} (got {numbers['step']})")
    like = _state(training)
    for name in training.players:
        found, moments = under(tensors, f"optimizer.{name}."), _moments(training, name)
        like |= moments if found else {}  # a player that never moved has none
        _check_moments(found)
    if (wrong := checkpoint.misfit(tensors, like)) is not None:
        raise ValueError(wrong)
    if (bad := checkpoint.not_finite(tensors)) is not None:
        raise ValueError(f"'{bad}' is NaN or infinite")


def _state(training: Training) -> dict[str, Tensor]:
    """What a training holds, but for its optimizers."""
    tensors = training.state()[0]
    return {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}


def _moments(training: Training, name: str) -> dict[str, Tensor]:
    """What the optimizer of a player keeps once it has moved: as one of a single number does."""
    parameter = training.players[name].parameter
    probe = nn.Parameter(parameter.detach().new_zeros(1))
    probe.grad = torch.zeros_like(probe)
    optimizer = training.recipe.optimizers[name].build([probe])
    optimizer.step()
    return {
        f"optimizer.{name}.{key}": parameter.detach() if value.shape == (1,) else value
        for key, value in optimizer.state[probe].items()
        if isinstance(value, Tensor)
    }


def _check_moments(found: Mapping[str, Any]) -> None:
    for key, value in found.items():
        if key in ("step", "exp_avg_sq") and bool((value < 0).any()):
            raise ValueError(f"the optimizer's '{key}' must be at least 0")
