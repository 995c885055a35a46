"""yardstick: what a mixture of Gaussians, fitted in a second or two, scores in a model's place.

It is the recipe `gmm` at its defaults, fitted to some training examples: as many, and with as many
turns, as keep the work bounded. What is bounded is counted and not timed, so that a seed fixes the
result. Bits and categories of few levels have a mixture of products of frequencies, see
`pofx.classical.latent_classes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from pofx import catalogue
from pofx.capabilities import Kind
from pofx.evaluation.blocks import Stop, poll
from pofx.functional.random import seeded, stream
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, is_counted
from pofx.typing import Cond, Data

NAME = "gmm"
_COMPONENTS = 10
"""Of the recipe, by default."""
_FULL = 256
"""Elements up to which it has full covariances."""
_ROWS = 10_000
_FEWEST = 100
"""Examples without which a mixture of so large ones says little."""
_NUMBERS = 1 << 21
"""Numbers of all the examples together, a category counted once for each of its levels."""
_WORK = 10_000_000_000
"""Products of all turns together: one or two seconds of one core."""
_ALONE = 16
"""How much longer one product takes outside of a product of matrices."""
_TURNS, _LEAST_TURNS, _USUAL_TURNS = 200, 10, 20
"""At most, at least, and those that examples are chosen for."""

Rows = Callable[[int], tuple[Data, Cond | None]]
"""Training examples, so many of them, and their classes."""


@dataclass(frozen=True)
class Yardstick:
    """What the mixture scored; None where it was not asked.

    Args:
        nats: its mean log-likelihood of the examples whose likelihood the model states.
        kind: whether that is exact or a bound.
        frechet: the distance of as many of its samples as there are of the model.
    """

    nats: float | None = None
    kind: Kind | None = None
    frechet: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The figures, and whose they are, as plain JSON values."""
        return {"name": NAME, **vars(self)}


def title(spec: DataSpec) -> str:
    """What the mixture is called.

    >>> title(DataSpec((2,)))
    'a mixture of Gaussians'
    """
    counts = all(map(is_counted, set(spec.columns)))
    return "a mixture of latent classes" if counts else "a mixture of Gaussians"


def fitted(
    model: object,
    spec: DataSpec,
    count: int,
    rows: Rows,
    *,
    conditional: bool = False,
    seed: int = 0,
    stop: Stop | None = None,
) -> nn.Module | None:
    """The mixture, fitted; None where it cannot be, or where examples are too large for it, or
    where the model is such a mixture itself.

    Args:
        model: what will be held against it.
        spec: of the examples.
        count: how many there are to train on.
        rows: draws some; it is asked once, and for no more than are used.
        conditional: whether each class has a mixture of its own.
        seed: of where the fit begins.
        stop: polled before the fit and after it.

    Raises:
        Stopped: `stop` became true.
    """
    poll(stop)
    most, turns = budget(spec, _COMPONENTS * (max(1, spec.classes) if conditional else 1))
    if not most or not count:
        return None
    with seeded(stream("yardstick", seed)):
        try:
            mixture = _built(replace(spec, count=count), conditional, turns)
            if type(mixture) is type(model):
                return None
            x, cond = rows(min(count, most))
            if not x.isfinite().all():
                return None
            mixture.fit(x, cond if conditional else None)
        except (RecipeError, torch.linalg.LinAlgError):
            return None
    poll(stop)
    return mixture if all(b.isfinite().all() for b in mixture.buffers()) else None


def budget(spec: DataSpec, components: int) -> tuple[int, int]:
    """How many examples such a mixture is fitted to, and in how many turns at most; no examples
    where even the fewest cost too much.

    >>> budget(DataSpec((2,)), 10), budget(DataSpec((3, 512, 512)), 10)
    ((10000, 200), (0, 0))
    """
    if spec.size * _FEWEST > _NUMBERS:
        return 0, 0
    levels = [c.levels if is_counted(c) else 1 for c in spec.columns]
    width, counted = sum(levels), all(map(is_counted, set(spec.columns)))
    full = spec.size <= _FULL and not counted
    each = components * (spec.size**2 if full else _ALONE * width)
    n = min(_ROWS, _NUMBERS // width, _WORK // (_USUAL_TURNS * each))
    if n < _FEWEST:
        return 0, 0
    return n, max(_LEAST_TURNS, min(_TURNS, _WORK // (n * each)))


def _built(spec: DataSpec, conditional: bool, turns: int) -> Any:
    return catalogue.build(NAME, spec, conditional=conditional, iterations=turns).model
