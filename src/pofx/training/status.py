"""status: how far a run has come, read from its folder without torch.

Nothing in the folder is trusted: files that are no regular files are not opened, so that none of
them can hold the reader up, and what cannot be read counts as not there.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pofx import catalogue
from pofx.errors import UserError
from pofx.tables import Table

State = Literal["new", "running", "stopped", "complete", "failed", "damaged"]
_READ_BYTES = 64 << 20
_TAIL_BYTES = 1 << 14
_INSIDE = {"checkpoints", "samples"}


@dataclass(frozen=True)
class Status:
    """A run at one moment.

    Args:
        path: its folder.
        state: `new` has not begun; `running` is held by a process; `stopped` can be resumed;
            `complete` has spent its budget; `failed` ended before anything was saved; `damaged`
            has no `run.json` that can be read.
        recipe: its name.
        data: a built-in name, or a path.
        step: the last step that was recorded, or saved; 0 before any.
        steps: the budget in steps; None with `minutes`, and for what is fitted without steps.
        minutes: the budget in minutes of training, or None.
        seconds: of training; None where that was not recorded.
        started: when `run.json` was written, in seconds since 1970.
        losses: the newest value of each loss by name; that of validation data is `valid`.
        measure: what `valid` is: a `density`, a `bound`, a `pseudo-likelihood`, or the recipe's own
            `loss`; empty where that was not recorded.
    """

    path: Path
    state: State = "damaged"
    recipe: str = ""
    data: str = ""
    step: int = 0
    steps: int | None = None
    minutes: float | None = None
    seconds: float | None = None
    started: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    measure: str = ""

    def __str__(self) -> str:
        reached = f", {self.reached} steps" if self.steps else ""
        return f"'{self.path}': {self.recipe} on {self.data}, {self.state}{reached}"

    def table(self) -> Table:
        """Name and value of what is known, for a notebook."""
        facts = {
            "run": str(self.path),
            "recipe": self.recipe,
            "data": self.data,
            "state": self.state,
            "steps": self.reached,
        }
        return Table([(name, value) for name, value in facts.items() if value])

    @property
    def reached(self) -> str:
        """How much of the budget is spent, in words; empty for what is fitted without steps.

        >>> Status(Path("a"), step=1500, steps=10_000).reached
        '1,500 of 10,000'
        """
        if self.minutes is not None:
            spent = (self.seconds or 0) / 60
            return f"{self.step:,} in {spent:.3g} of {self.minutes:g} min"
        return "" if self.steps is None else f"{self.step:,} of {self.steps:,}"


def statuses(folder: str | Path) -> Iterator[Status]:
    """The status of every run under a folder, in no order."""
    for at, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if name not in _INSIDE]
        if "run.json" in files:
            yield status(at)


def status(folder: str | Path) -> Status:
    """The status of one run; `damaged` whatever is wrong with its `run.json`."""
    path = Path(folder)
    started = _started(path / "run.json")
    try:
        job = json.loads(_content(path / "run.json"))
        recipe, data = job["recipe"], job["source"]["source"]
        if not isinstance(recipe, str) or not isinstance(data, str):
            return Status(path, started=started)
        steps, minutes = _budget(job, recipe)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Status(path, started=started)
    recorded, measure = _last_metrics(path / "metrics.jsonl")
    saved = _saved(path / "checkpoints")
    found = Status(
        path=path,
        state="new",
        recipe=recipe,
        data=data,
        step=max(saved, int(recorded.get("step", 0))),
        steps=steps,
        minutes=minutes,
        seconds=recorded.get("seconds"),
        started=started,
        losses={k: v for k, v in recorded.items() if k.startswith(("loss", "valid"))},
        measure=measure,
    )
    return replace(found, state=_state(found, saved, bool(recorded)))


def _state(found: Status, saved: int, begun: bool) -> State:
    if is_locked(found.path):
        return "running"
    weighed = _is_regular(found.path / "model.safetensors")
    if found.minutes is not None:
        spent = (found.seconds or 0) >= 60 * found.minutes
    else:
        spent = found.steps is None or saved >= found.steps
    if weighed and spent:
        return "complete"
    if weighed or saved:
        return "stopped"
    return "failed" if begun else "new"


def is_locked(folder: Path) -> bool:
    """Whether a process trains the run at this moment; it is not waited for."""
    path = folder / ".lock"
    if not _is_regular(path):
        return False
    try:
        with path.open("rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _budget(job: dict[str, Any], recipe: str) -> tuple[int | None, float | None]:
    """Steps or minutes; neither for what is fitted at once."""
    try:
        known = {p.name: p.default for p in catalogue.describe(recipe).parameters}
    except UserError:
        known = {}
    minutes, arguments = job.get("minutes"), dict(job.get("arguments") or {})
    if "steps" not in known:  # fitted at once
        return None, None
    if _is_number(minutes):
        return None, minutes
    steps = job.get("steps") or arguments.get("steps") or known["steps"]
    return int(steps), None


def _saved(checkpoints: Path) -> int:
    """The step of the newest checkpoint; 0 for none."""
    try:
        names = os.listdir(checkpoints)
    except OSError:
        return 0
    return max((int(name) for name in names if name.isdecimal() and len(name) < 20), default=0)


def _last_metrics(path: Path) -> tuple[dict[str, float], str]:
    """The newest number of each metric that the last lines of a metrics file hold, and what the
    validation loss measures.
    """
    try:
        lines = _content(path, _TAIL_BYTES).splitlines()
    except OSError:
        return {}, ""
    merged: dict[str, float] = {}
    measure = ""
    for line in lines:
        try:
            values = json.loads(line)
            merged |= {k: v for k, v in values.items() if _is_number(v)}
            measure = str(values.get("measure") or measure)
        except (ValueError, AttributeError, RecursionError):
            continue
    return merged, measure


def _content(path: Path, last: int = _READ_BYTES) -> bytes:
    """The last bytes of a file.

    Raises:
        OSError: it is not there, or is no regular file.
    """
    if not _is_regular(path):
        raise FileNotFoundError(path)
    with path.open("rb") as f:
        f.seek(max(0, os.fstat(f.fileno()).st_size - last))
        return f.read(last)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _started(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a link to nothing
        return 0.0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
