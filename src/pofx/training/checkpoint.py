"""checkpoint: a folder that is written whole or not at all, and checked before it is used.

A checkpoint is a folder of safetensors and JSON with a manifest of SHA-256 hashes. It is written
under a temporary name, synchronised to the disk, renamed, read back and verified, and only then are
older ones removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from pofx.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
NUMBERS = "numbers.json"


class CheckpointError(UserError):
    """A checkpoint is damaged, missing, or could not be written."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file by new content, so that a reader sees the old or the new and never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def save(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    numbers: dict[str, Any],
    *,
    wait: Callable[[], None] = lambda: None,
    leads: bool = True,
) -> Path:
    """Writes checkpoint `folder/<step>` and verifies it.

    Args:
        folder: holds the run's checkpoints.
        step: names this one.
        tensors: file stem to its tensors; every process writes its own files.
        numbers: what is not a tensor, as JSON.
        wait: a barrier between processes.
        leads: whether this process writes the manifest.

    Raises:
        CheckpointError: something is not finite, or the disk refused; no checkpoint that existed is
            touched.
    """
    for stem, named in tensors.items():
        _refuse_non_finite(named, stem, step)
    final, temporary = folder / f"{step:08d}", folder / f".tmp-{step:08d}"
    try:
        if leads:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        wait()
        written = {}
        for stem, named in tensors.items():
            # copies, as safetensors refuses tensors that share memory
            contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in named.items()}
            name = f"{stem}.safetensors"
            written[name] = _write(temporary / name, save_safetensors(contiguous))
        wait()
        if leads:
            _finish(temporary, final, step, numbers, written)
        wait()
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"checkpoint {final} could not be written ({error.strerror or error}); "
            "earlier checkpoints are intact: free some space and run `pofx resume`."
        ) from error
    return final


class _Written(NamedTuple):
    """What a manifest says of a file."""

    bytes: int
    sha256: str


def _finish(
    temporary: Path, final: Path, step: int, numbers: dict[str, Any], written: dict[str, _Written]
) -> None:
    """Adds the numbers and the manifest of all files: those just written as they were in memory,
    those of other processes as they are on the disk; then gives the folder its name.
    """
    written[NUMBERS] = _write(temporary / NUMBERS, json.dumps(numbers).encode())
    files = {
        p.name: (written.get(p.name) or _described(p.read_bytes()))._asdict()
        for p in sorted(temporary.iterdir())
    }
    manifest = {"format": FORMAT, "step": step, "torch": torch.__version__, "files": files}
    manifest["sha256"] = _sha256(json.dumps(manifest, sort_keys=True).encode())
    _write(temporary / MANIFEST, json.dumps(manifest).encode())
    _sync_folder(temporary)
    if final.exists():
        _discard(final)
    temporary.replace(final)
    _sync_folder(final.parent)
    verify(final)


def verify(checkpoint: Path) -> dict[str, bytes]:
    """Reads every file of a checkpoint, held against its manifest.

    Raises:
        CheckpointError: names the file that is missing, of another length, or changed.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
        claimed = manifest.pop("sha256")
        if claimed != _sha256(json.dumps(manifest, sort_keys=True).encode()):
            raise CheckpointError(f"{checkpoint / MANIFEST} is damaged: its hash does not match.")
        if manifest["format"] > FORMAT:
            raise CheckpointError(
                f"{checkpoint} has format {manifest['format']}, and this version reads up to "
                f"{FORMAT}; "
                "upgrade pofx."
            )
        contents = {}
        for name, entry in manifest["files"].items():
            if Path(name).name != name:
                raise CheckpointError(
                    f"{checkpoint / MANIFEST} names a file outside its folder: {name!r}."
                )
            contents[name] = (checkpoint / name).read_bytes()
            if len(contents[name]) != entry["bytes"] or _sha256(contents[name]) != entry["sha256"]:
                raise CheckpointError(
                    f"{checkpoint / name} is damaged: its hash does not match the manifest."
                )
        return contents
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{checkpoint} is damaged or incomplete ({error}).") from error


def load(checkpoint: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors, by file stem, and the numbers of a checkpoint, verified first."""
    contents = verify(checkpoint)
    numbers = json.loads(contents.pop(NUMBERS))
    try:
        return {
            name.split(".")[0]: load_safetensors(data) for name, data in contents.items()
        }, numbers
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint} is damaged ({error}).") from error


def newest(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that verifies; one that does not is named through `warn`, and the older
    one taken.
    """
    for path in reversed(checkpoints(folder)):
        try:
            verify(path)
        except CheckpointError as error:
            warn(f"{error} Falling back to an older checkpoint.")
            continue
        return path
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir()) if folder.is_dir() else []


def best(folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, the newest of equals; None without any."""
    losses = ((_validation_loss(path), path) for path in reversed(checkpoints(folder)))
    known = [(loss, path) for loss, path in losses if loss is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def _validation_loss(checkpoint: Path) -> float | None:
    try:
        loss = json.loads((checkpoint / NUMBERS).read_bytes())["valid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged, which whoever loads it will be told
    return loss if isinstance(loss, float) else None


def prune(folder: Path, keep: set[Path | None], last: int = 2) -> None:
    """Removes all but the last few checkpoints and those to keep, and whatever an interrupted save
    left.
    """
    for path in checkpoints(folder)[:-last]:
        if path not in keep:
            _discard(path)
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _discard(checkpoint: Path) -> None:
    """Renames before removing, so that a kill in between leaves no half of a checkpoint under its
    name.
    """
    rubbish = checkpoint.with_name(f".tmp-{uuid.uuid4().hex[:8]}")
    checkpoint.replace(rubbish)
    shutil.rmtree(rubbish, ignore_errors=True)


def save_model(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Writes the weights to sample from as one file that carries its own hash; returns the hash.

    Raises:
        CheckpointError: something is not finite, or the disk refused; the file that was there is
            kept.
    """
    _refuse_non_finite(tensors, path.name, int(metadata.get("step", 0)))
    contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    digest = model_hash(contiguous)
    try:
        write_atomically(path, save_safetensors(contiguous, {**metadata, "sha256": digest}))
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error.strerror or error}); free some space and run "
            "`pofx resume`."
        ) from error
    return digest


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights and metadata that `save_model` wrote, held against their hash.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    cure = f"restore it, or write it again from a checkpoint with `pofx resume {path.parent}`"
    try:
        content = path.read_bytes()
        tensors = load_safetensors(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        damaged = metadata["sha256"] != model_hash(tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); {cure}.") from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: its hash does not match; {cure}.")
    return tensors, metadata


def model_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a run folder for one process; the system lets go of it when the process ends, however
    it ends.

    Raises:
        CheckpointError: another process trains this run.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            f.seek(0)
            raise CheckpointError(
                f"{folder} is being trained by process {f.read().strip() or 'unknown'}; wait for "
                "it, or choose "
                "another --out."
            ) from None
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        yield


def _refuse_non_finite(tensors: dict[str, Tensor], where: str, step: int) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"'{name}' in {where} is NaN or infinite at step {step}, so this checkpoint was "
                "not written; "
                "resume from the last one with a lower --lr."
            )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(content: bytes) -> _Written:
    return _Written(len(content), _sha256(content))


def _write(path: Path, content: bytes) -> _Written:
    with path.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return _described(content)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
