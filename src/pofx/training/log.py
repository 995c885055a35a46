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
        self.last = -math.inf
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
        line = {k: v if math.isfinite(v) else str(v) for k, v in values.items()}
        self.file.write(json.dumps({"step": step, **line}) + "\n")
        self.file.flush()
        text = " ".join(
            f"{k} {v:.4g}" for k, v in values.items() if k.startswith(("loss", "examples", "valid"))
        )
        self.bar.update(self.task, completed=min(progress, 1.0), text=f"step {step} {text}")
        if self.notebook:
            self._draw_bar(min(progress, 1.0), f"step {step} {text}")
            return
        now = time.monotonic()
        due = progress >= 1 or now - self.last >= self.every
        if due and not self.console.is_terminal:
            self.last = now
            self.say(f"{min(progress, 1):4.0%} step {step} {text}")

    def symptom(self, step: int, symptom: Symptom) -> None:
        """Records a sign of failure and shows it, unless this run has said so before."""
        if self.file is None or symptom.name in self.said:
            return
        self.said.add(symptom.name)
        line = {"step": step, "symptom": symptom.name, "warning": str(symptom)}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        self.say(f"step {step} {symptom}")

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


def _said(path: Path) -> set[str]:
    """The symptoms that a metrics file holds; a line that is damaged holds none."""
    found = set()
    for line in path.read_text(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            found.add(str(json.loads(line)["symptom"]))
    return found
