"""conclusion: what a run says when it has ended: what it reached, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from pofx import catalogue
from pofx.capabilities import Samples
from pofx.training.validation import UNITS
from pofx.training.watch import Watch

_SMALLER = {
    "weight_decay": "more --weight-decay",
    "hidden": "a smaller --hidden",
    "width": "a smaller --width",
    "channels": "fewer --channels",
    "layers": "fewer --layers",
}
_LONGER = ("under-training", "budget too small")


def smaller_by(recipe: str) -> str:
    """The flags of a recipe that make its model smaller or tie it down, for a sentence to go on.

    >>> smaller_by("made")
    ', more --weight-decay, a smaller --hidden'
    """
    own = {p.name for p in catalogue.describe(recipe).parameters}
    return "".join(f", {words}" for name, words in _SMALLER.items() if name in own)


def conclusion(folder: Path, watch: Watch, said: Collection[str], keep: str) -> Iterator[str]:
    """The last lines of a training.

    Args:
        folder: of the run.
        watch: what it saw.
        said: the names of the symptoms that it has named.
        keep: `best` or `last`.
    """
    training = watch.training
    last = watch.looks[-1] if watch.looks else None
    if watch.kind and last is not None and last.valid is not None:
        best = watch.best
        loss, step = (last.valid, last.step) if best is None else (best.loss, best.step)
        where = f"step {step} of {training.step}"
        yield (
            f"validation loss {loss:.4g} ({UNITS[watch.kind]}) with the weights of {where}, the "
            f"{keep}"
        )
    elif last is not None and last.train is not None:
        yield f"loss {last.train:.4g} at step {training.step}"
    else:
        yield f"trained to step {training.step}"
    longer = any(name in said for name in _LONGER)
    yield from _next(folder, training.sampled, training.step if longer else None)


def fitted(folder: Path, model: object) -> Iterator[str]:
    """The last lines of a fit that took no steps."""
    yield "fitted"
    yield from _next(folder, model, None)


def _next(folder: Path, model: object, steps: int | None) -> Iterator[str]:
    run, image = shlex.quote(str(folder)), folder / "samples"
    if isinstance(model, Samples):
        suffix = next((p.suffix for p in sorted(image.glob("*"))), ".png")
        yield f"next: pofx sample {run} -n 64 --out samples{suffix}"
    yield f"      pofx evaluate {run}"
    if steps is not None:
        yield f"      pofx resume {run} --steps {2 * steps}"
