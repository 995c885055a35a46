"""log: what a person sees while a model trains, and what is kept of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pofx.data.limits import printable
from pofx.objective import Symptom
from pofx.training.symptoms import Look

_BAR = 20
"""Signs of the bar of a notebook."""


class Log:
    """A bar on a terminal and in a notebook, a plain line now and then elsewhere, and
    `metrics.jsonl` always.

    Args:
        path: the metrics file, or None in a process that does not write.
        quiet: shows nothing.
        every: seconds between plain lines.
    """

    def __init__(self, path: Path | None, *, quiet: bool = False, every: float = 10.0) -> None:
        # rich draws from Python's random state when imported, which importing pofx must leave alone
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.path, self.every = path, every
        self.notebook = Console().is_jupyter and not quiet and path is not None
        # in a notebook rich displays every line apart from all others, and a bar not at all
        self.console = Console(
            stderr=True, quiet=quiet or path is None, force_jupyter=False,
            force_terminal=False if self.notebook else None,
        )  # fmt: skip
        self.drawn = 0
        self.file: TextIO | None = None
        self.last = self.looked = -math.inf
        self.valid = ""
        self.said: set[str] = set()
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[text]}"), TimeRemainingColumn(),
        )  # fmt: skip
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)

    def __enter__(self) -> Log:
        self.file = self.path.open("a") if self.path else None
        self.bar.start()
        self.task = self.bar.add_task("training", total=1.0, text="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()
        self._leave_bar()
        if self.file:
            self.file.close()

    def metrics(self, step: int, progress: float, values: Mapping[str, float]) -> None:
        """Records one line of metrics and shows it."""
        if self.file is None:
            return
        self._record({"step": step, **{k: _written(v) for k, v in values.items()}})
        text = " ".join(
            f"{k} {v:.4g}" for k, v in values.items() if k.startswith(("loss", "examples"))
        )
        self.bar.update(
            self.task, completed=min(progress, 1.0), text=f"step {step} {text}{self.valid}"
        )
        if self.notebook:
            self._draw_bar(min(progress, 1.0), f"step {step} {text}{self.valid}")
            return
        now = time.monotonic()
        due = progress >= 1 or now - self.last >= self.every
        if due and not self.console.is_terminal:
            self.last = now
            self.say(f"{min(progress, 1):4.0%} step {step} {text}")

    def look(self, look: Look, progress: float, kind: str | None = None) -> None:
        """Records a validation loss, with what it measures, and shows it, plain lines a second
        apart.
        """
        if self.file is None or look.valid is None:
            return
        values = {"valid": look.valid, "valid_stderr": look.stderr}
        if look.train is not None:
            values["train"] = look.train
        said = {k: _written(v) for k, v in values.items()}
        self._record({"step": look.step, **said, "measure": kind})
        now = time.monotonic()
        plain = not self.console.is_terminal and not self.notebook
        if plain and (progress >= 1 or now - self.looked >= 1):
            self.looked = now
            shown = " ".join(f"{k} {v:.4g}" for k, v in values.items() if k != "valid_stderr")
            self.say(f"{min(progress, 1):4.0%} step {look.step} {shown}")
        self.valid = f" valid {look.valid:.4g}"

    def symptom(self, step: int, symptom: Symptom) -> None:
        """Records a sign of failure and shows it, unless this run has said so before."""
        if self.file is None or symptom.name in self.said:
            return
        self.said.add(symptom.name)
        self._record({"step": step, "symptom": symptom.name, "warning": str(symptom)})
        self.say(f"step {step} {symptom}")

    def _record(self, line: Mapping[str, object]) -> None:
        assert self.file is not None
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def say(self, text: str) -> None:
        """Shows one line."""
        self._leave_bar()
        self.bar.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def _draw_bar(self, progress: float, text: str) -> None:
        """Draws the bar of a notebook over the one before it."""
        filled = round(_BAR * progress)
        line = f"{'█' * filled}{'░' * (_BAR - filled)} {progress:4.0%} {text}"
        self.console.file.write(f"\r{line:<{self.drawn}}")
        self.console.file.flush()
        self.drawn = len(line)

    def _leave_bar(self) -> None:
        """Begins a new line after the bar of a notebook, if there is one."""
        if self.drawn:
            self.console.file.write("\n")
            self.drawn = 0

    def position(self) -> int:
        """How long the metrics file is, in bytes."""
        return self.file.tell() if self.file else 0

    def truncate(self, position: int) -> None:
        """Forgets what was recorded after `position`: a resumed run leaves no line twice."""
        if self.file:
            self.file.truncate(position)
            self.file.seek(position)
            assert self.path is not None
            self.said = _said(self.path)


def _written(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _said(path: Path) -> set[str]:
    """The symptoms that a metrics file holds; a line that is damaged holds none."""
    found = set()
    for line in path.read_text(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            found.add(str(json.loads(line)["symptom"]))
    return found
