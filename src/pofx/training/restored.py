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
from pofx.training.symptoms import Look


def _row(values: object, length: int = len(Look._fields)) -> bool:
    """Whether it is a row of numbers, of which some may be missing."""
    if not isinstance(values, list) or len(values) != length:
        return False
    return all(v is None or NUMBER.holds(v) for v in values)


_NUMBERS = {
    "step": whole(0),
    "elapsed": Rule("a number of seconds", lambda v: NUMBER.holds(v) and v >= 0),
    "lr_scale": Rule("a number above 0, to 1", lambda v: NUMBER.holds(v) and 0 < v <= 1),
    "skipped": whole(0),
    "metrics": whole(0),
    "valid": maybe(Rule("a number", lambda v: isinstance(v, float))),
}
_SPENT = Rule("a number from 0", lambda v: NUMBER.holds(v) and v >= 0)
_WATCHED = {
    "looks": Rule("rows of numbers", lambda v: isinstance(v, list) and all(map(_row, v))),
    "examples": maybe(whole(1)),
    "cost": _SPENT,
    "work": _SPENT,
    "due": _SPENT,
    "effort": _SPENT,
    "total": NUMBER,
    "count": whole(0),
    "seconds": _SPENT,
    "lowest": maybe(Rule("numbers", lambda v: isinstance(v, list) and all(map(NUMBER.holds, v)))),
    "best": maybe(Rule("a step, a loss and a stage", lambda v: _row(v, 3) and v[0] >= 0)),
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
    best = checkpoint.room(training.sampled.state_dict())
    return checkpoint.room(like) + best + ranks * checkpoint.room(own)


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


def check_watch(training: Training, weights: dict[str, Tensor], numbers: object) -> None:
    """Holds the best weights so far, and what was seen of them, against what they will fill.

    Raises:
        ValueError: names the first of them that does not fit.
    """
    if not isinstance(numbers, dict) or any(name not in numbers for name in _WATCHED):
        raise ValueError(f"what was watched must have {', '.join(_WATCHED)}")
    check(numbers, _WATCHED, "watch ")
    if numbers["best"] is None:
        return
    if (wrong := checkpoint.misfit(weights, training.sampled.state_dict())) is not None:
        raise ValueError(wrong)
    if (bad := checkpoint.not_finite(weights)) is not None:
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
