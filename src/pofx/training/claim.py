"""claim: one run folder for one run, from before its first file to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pofx.data.whole import sweep
from pofx.errors import UserError
from pofx.training import checkpoint
from pofx.training.checkpoint import lock, remove
from pofx.training.distributed import World
from pofx.training.folder import RunError, new_folder

_LEFT = (".*.tmp", ".*.part")
_TRIES = 1000


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Holds the folder of a run that there is, swept of what a killed process left.

    Raises:
        CheckpointError: another process trains it.
    """
    with lock(folder):
        tidy(folder)
        yield


def tidy(folder: Path) -> None:
    """Sweeps a run folder, which this process must hold."""
    sweep(folder, *_LEFT)
    sweep(folder / "samples", *_LEFT)
    for path in (folder / "checkpoints").glob(".tmp-*"):
        remove(path)


@contextmanager
def claimed(
    choose: Callable[[], Path], *, again: bool, here: World, spare: type[BaseException]
) -> Iterator[Path]:
    """A new run folder, held by the process that leads until the block ends, and known to all.

    What the run wrote is removed if it fails before its first step, so that its name is free for
    the corrected command.

    Args:
        choose: names a folder that is free, or raises.
        again: whether to choose another where somebody else was faster.
        here: which process this is.
        spare: how a run ends that is to be gone on with, wherever it is.

    Raises:
        UserError: the folder is not free.
    """
    with ExitStack() as stack:
        folder, refusal = "", None
        if here.leads:
            try:
                folder = str(_take(choose, stack, again, spare))
            except UserError as error:
                refusal = error
        folder = here.text(folder)
        if not folder:
            raise refusal or RunError("--out must be free: see what the first process says.")
        yield Path(folder)


def _take(
    choose: Callable[[], Path], stack: ExitStack, again: bool, spare: type[BaseException]
) -> Path:
    """Locks a folder, and holds it against its own rules once more: between a look and a lock
    somebody else may have trained there.
    """
    for _ in range(_TRIES):
        folder = choose()
        made = [p for p in (beside(folder), folder, *folder.parents) if not p.exists()]
        with ExitStack() as own:
            try:
                own.enter_context(lock(folder))
                new_folder(folder, "", "")
            except UserError as error:
                if again and not isinstance(error.__cause__, OSError):
                    continue
                raise
            tidy(folder)

            def free(kind: type[BaseException] | None, *_: object) -> None:
                if kind is not None and not issubclass(kind, spare) and not stepped(folder):  # noqa: B023
                    _free(folder, made)  # noqa: B023

            own.push(free)
            stack.enter_context(own.pop_all())
            return folder
    raise RunError("--out must be a free folder (every number was taken meanwhile): choose one.")


def beside(folder: Path) -> Path:
    """Where a run keeps an array that was given from memory."""
    return folder.with_name(f"{folder.name}-data")


def _free(folder: Path, made: list[Path]) -> None:
    """Leaves of a run that never took a step what was there before."""
    for name in ("run.json", "metrics.jsonl", "checkpoints", "samples", ".lock"):
        remove(folder / name)
    if beside(folder) in made:
        remove(beside(folder))
    for path in made:
        with suppress(OSError):
            path.rmdir()


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Says in a sentence what the disk refused a run.

    Raises:
        RunError: the disk is full, or may not be written to.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError):  # nobody reads what is printed
            raise
        cure = f"go on with `pofx resume {folder}`" if stepped(folder) else "start again"
        raise RunError(
            f"'{error.filename or folder}' must be writable ({error.strerror or error}): free some "
            f"space and {cure}; what was saved is intact."
        ) from error


def stepped(folder: Path) -> bool:
    """Whether anything was learned in a run folder."""
    metrics = folder / "metrics.jsonl"
    with suppress(OSError):
        if metrics.stat().st_size:
            return True
    kept = checkpoint.checkpoints(folder / "checkpoints")
    return bool(kept) or (folder / "model.safetensors").exists()
