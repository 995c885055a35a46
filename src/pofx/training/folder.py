"""folder: a run on the disk.

run.json             recipe, its arguments, data spec and source, options, versions, command line
model.safetensors    the weights to sample from
checkpoints/         what a resume needs
metrics.jsonl        a line a log step
samples/             what it draws, as it learns
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pofx.errors import UserError
from pofx.training.format_1 import shares

FORMAT = 2
"""The format of new runs. Since 2, streams of noise are keyed by their use and a hash of the seed;
a run of format 1 keeps its own streams.
"""


class RunError(UserError):
    """A run folder is missing, damaged, or in the way."""


@dataclass(frozen=True)
class Job:
    """Everything that decides a run, as `run.json` holds it.

    Args:
        recipe: its name.
        arguments: its keyword arguments.
        source: what `pofx.data.load` takes to load the data again.
        spec: the data's `DataSpec`, as JSON.
        schema: how model values map to the user's, as JSON.
        fingerprint: SHA-256 of the data.
        options: see `pofx.training.loop.Options`.
        steps: the budget in optimizer steps; None with `minutes`.
        minutes: the budget in minutes of training.
        device: as the user named it.
        threads: CPU threads; None leaves torch's default.
        save_every: steps between checkpoints; None makes it two minutes.
        sample_every: steps between sample grids; None makes it a tenth of the budget.
        keep: whether the weights to sample from are the `last`, or the `best` on validation data
            where there is a loss on them.
        command: the command line.
        versions: of Python, torch and pofx.
        format: of the folder; a run keeps the one that it was made in.
    """

    recipe: str
    arguments: dict[str, Any]
    source: dict[str, Any]
    spec: dict[str, Any]
    schema: dict[str, Any]
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: float | None = None
    device: str = "auto"
    threads: int | None = None
    save_every: int | None = None
    sample_every: int | None = None
    keep: str = "last"
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe's keyword arguments as it takes them today, for the present budget."""
        if self.format > 1:
            return self.arguments
        return shares(self.recipe, self.arguments, self.steps)

    def write(self, folder: Path) -> None:
        """Writes `run.json`."""
        from pofx.training.checkpoint import write_atomically

        content = json.dumps({"format": self.format, **asdict(self)}, indent=1) + "\n"
        write_atomically(folder / "run.json", content.encode())


def read(folder: str | Path) -> Job:
    """The job of a run folder.

    Raises:
        RunError: there is no such run, or its `run.json` is damaged or from a newer version.
    """
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise RunError(
            f"there is no run in '{folder}' (no run.json); `pofx runs` lists the runs there are."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise RunError(
                f"'{folder}' was written by a newer version of pofx; upgrade to read it."
            )
        return Job(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"'{path}' is damaged ({error}); restore it or train again.") from error


def new_folder(out: str | Path | None, recipe: str, data: str) -> Path:
    """The folder of a new run: `out`, or the first free `runs/<recipe>-<data>`.

    Raises:
        RunError: `out` is empty, holds a run already, or is a file.
    """
    if out == "":
        raise RunError(
            "--out is a folder, and an empty name came; leave it out for the first free "
            "runs/RECIPE-DATA."
        )
    if out is not None:
        folder = Path(out)
        if (folder / "run.json").exists():
            raise RunError(
                f"'{folder}' holds a run already; go on with `pofx resume {folder}`, or choose "
                "another --out."
            )
        if folder.exists() and (
            not folder.is_dir() or any(not _left_behind(p.name) for p in folder.iterdir())
        ):
            raise RunError(f"'{folder}' exists and is not an empty folder; choose another --out.")
        return folder
    stem = f"{recipe}-{Path(data).stem or 'data'}"
    number = 1
    while (folder := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def _left_behind(name: str) -> bool:
    """Whether a run that was killed before its `run.json` was there has left such a file."""
    return name == ".lock" or (name.startswith(".run.json.") and name.endswith(".tmp"))


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    import torch

    from pofx import __version__

    return {
        "pofx": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
