"""folder: a run on the disk.

run.json             recipe, its arguments, data spec and source, options, versions, command line
model.safetensors    the weights to sample from
checkpoints/         what a resume needs
metrics.jsonl        a line a log step
samples/             what it draws, as it learns
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pofx import catalogue
from pofx.errors import UserError
from pofx.training import entries, regular
from pofx.training.format_1 import shares

FORMAT = 2
"""The format of new runs. Since 2, streams of noise are keyed by their use and a hash of the seed,
and `run.json` carries a hash of its own; a run of format 1 keeps its own streams.
"""
_HASH = "sha256"
_CLIP = "clip"


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
        clip = self.options.get(_CLIP)  # an option of the loop until it became a parameter
        arguments = self.arguments if clip is None else {**self.arguments, _CLIP: clip}
        if self.format > 1:
            return arguments
        return shares(catalogue.former(self.recipe), arguments, self.steps)

    @property
    def loop_options(self) -> dict[str, Any]:
        """Keyword arguments of `pofx.training.loop.Options`."""
        return {k: v for k, v in self.options.items() if k != _CLIP}

    def write(self, folder: Path) -> None:
        """Writes `run.json`.

        Raises:
            RunError: a value is none that could be read again.
        """
        from pofx.training.checkpoint import write_atomically

        content = {"format": self.format, **asdict(self)}
        try:
            entries.check_job(json.loads(json.dumps(content)))
        except (TypeError, entries.EntryError) as error:
            raise RunError(f"a run must be of values that can be written: {error}.") from error
        text = json.dumps(sealed(content) if self.format > 1 else content, indent=1) + "\n"
        write_atomically(folder / "run.json", text.encode())


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a `run.json` with their hash, which says whether they were changed."""
    plain = {k: v for k, v in content.items() if k != _HASH}
    text = json.dumps(plain, sort_keys=True)
    return {**plain, _HASH: hashlib.sha256(text.encode()).hexdigest()}


def read(folder: str | Path) -> Job:
    """The job of a run folder, whose own files are sound of kind.

    Raises:
        RunError: there is no such run, or its `run.json` is damaged, changed or from a newer
            version.
        StrangeFile: a link, a pipe or the like is in the place of one of its files.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if not os.path.isdir(folder) or not os.path.lexists(path):
        raise RunError(
            f"there is no run in '{folder}' (no run.json); `pofx runs` lists the runs there are."
        )
    regular.check_run(folder)
    try:
        content = regular.parse(regular.content(path, regular.JSON_BYTES))
        _refuse_changed(folder, content)
        entries.check_job(content)
        return Job(**content)
    except RunError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        reason = f"it has no entry {error}" if missing else error
        raise RunError(f"'{path}' is damaged: {reason}; restore it or train again.") from error


def _refuse_changed(folder: Path, content: dict[str, Any]) -> None:
    """Holds a `run.json` against the hash that it carries, which is taken out."""
    entries.check(content, {"format": entries.COUNT})
    if content["format"] > FORMAT:
        raise RunError(f"'{folder}' was written by a newer version of pofx; upgrade to read it.")
    if content["format"] > 1 and sealed(content)[_HASH] != content.pop(_HASH, None):
        raise RunError(
            f"'{folder / 'run.json'}' must be as pofx wrote it (it was changed or is damaged: its "
            "hash does not match): restore it, train a new run with other arguments, or train "
            f"longer with `pofx resume {folder} --steps`."
        )


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
    if out is not None and not isinstance(out, str | Path):
        raise RunError(f"--out must be a path (got {entries.shown(out)}): give another.")
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
