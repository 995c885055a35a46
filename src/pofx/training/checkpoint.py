"""checkpoint: a folder that is written whole or not at all, and checked before it is used.

A checkpoint is a folder of safetensors and JSON with a manifest of SHA-256 hashes. It is written
under a temporary name, synchronised to the disk, renamed, read back and verified, and only then are
older ones removed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from pofx.data.whole import hold
from pofx.errors import UserError
from pofx.training import regular
from pofx.training.entries import TEXT, whole

FORMAT = 1
MANIFEST = "manifest.json"
NUMBERS = "numbers.json"
_LARGEST = 1 << 40
_MANIFEST_BYTES = 1 << 20
_HEADER_BYTES = 1 << 10
"""For each tensor, in the header of a file of them."""


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
            remove(temporary)
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
    if os.path.lexists(final):
        _discard(final)
    temporary.replace(final)
    _sync_folder(final.parent)
    verify(final)


def verify(checkpoint: Path, most: int | None = None) -> dict[str, bytes]:
    """Reads every file of a checkpoint, held against its manifest.

    Args:
        checkpoint: its folder.
        most: bytes that it may have; nothing larger is read.

    Raises:
        CheckpointError: names the file that is missing, of another length, or changed.
    """
    try:
        if not regular.is_folder(checkpoint):
            raise CheckpointError(f"{checkpoint} must be a folder (it is none, or a link to one).")
        contents = {}
        for name, entry in _entries(checkpoint, _LARGEST if most is None else most).items():
            contents[name] = regular.content(checkpoint / name, entry.bytes)
            if _described(contents[name]) != entry:
                raise CheckpointError(
                    f"{checkpoint / name} is damaged: its hash does not match the manifest."
                )
        return contents
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{checkpoint} is damaged or incomplete ({error}).") from error


def _entries(checkpoint: Path, most: int) -> dict[str, _Written]:
    """What a manifest says of each file, once it is found to be sound."""
    path = checkpoint / MANIFEST
    manifest = regular.parse(regular.content(path, _MANIFEST_BYTES))
    claimed = manifest.pop("sha256")
    if claimed != _sha256(json.dumps(manifest, sort_keys=True).encode()):
        raise CheckpointError(f"{path} is damaged: its hash does not match.")
    if not whole(1).holds(manifest["format"]) or manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{checkpoint} has format {manifest['format']}, and this version reads up to "
            f"{FORMAT}; "
            "upgrade pofx."
        )
    if manifest["step"] != int(checkpoint.name):
        raise CheckpointError(f"{path} is of step {manifest['step']}, and not of its folder's.")
    files = {name: _Written(**entry) for name, entry in manifest["files"].items()}
    for name, entry in files.items():
        if Path(name).name != name or not name.endswith((".safetensors", NUMBERS)):
            raise CheckpointError(f"{path} names a file outside its folder: {name!r}.")
        if not whole(0).holds(entry.bytes) or not TEXT.holds(entry.sha256):
            raise CheckpointError(f"{path} must say the length and hash of {name}.")
    if sum(entry.bytes for entry in files.values()) > most:
        raise CheckpointError(f"{checkpoint} must have at most {most:,} bytes, as its run needs.")
    return files


def load(
    checkpoint: Path, most: int | None = None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors, by file stem, and the numbers of a checkpoint, verified first; `most` is as for
    `verify`.
    """
    contents = verify(checkpoint, most)
    try:
        numbers = regular.parse(contents.pop(NUMBERS))
        return {
            name.split(".")[0]: load_safetensors(data) for name, data in contents.items()
        }, numbers
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{checkpoint} is damaged ({error}).") from error


def newest(folder: Path, warn: Callable[[str], None], most: int | None = None) -> Path | None:
    """The newest checkpoint that verifies; one that does not is named through `warn`, and the older
    one taken. `most` is as for `verify`.
    """
    for path in reversed(checkpoints(folder)):
        try:
            verify(path, most)
        except CheckpointError as error:
            warn(f"{error} Falling back to an older checkpoint.")
            continue
        return path
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    if not regular.is_folder(folder):
        return []
    return sorted((p for p in folder.iterdir() if _is_step(p.name)), key=lambda p: int(p.name))


def _is_step(name: str) -> bool:
    """Whether a checkpoint would be called so."""
    return name.isascii() and name.isdecimal() and 8 <= len(name) <= 18


def best(folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, the newest of equals; None without any."""
    losses = ((_validation_loss(path), path) for path in reversed(checkpoints(folder)))
    known = [(loss, path) for loss, path in losses if loss is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def _validation_loss(checkpoint: Path) -> float | None:
    try:
        loss = regular.parse(regular.content(checkpoint / NUMBERS, _MANIFEST_BYTES))["valid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damaged, which whoever loads it will be told
    return loss if isinstance(loss, float) and math.isfinite(loss) else None


def prune(folder: Path, keep: set[Path | None], last: int = 2) -> None:
    """Removes all but the last few checkpoints and those to keep, and whatever an interrupted save
    left.
    """
    for path in checkpoints(folder)[:-last]:
        if path not in keep:
            _discard(path)
    for path in folder.glob(".tmp-*"):
        remove(path)


def _discard(checkpoint: Path) -> None:
    """Renames before removing, so that a kill in between leaves no half of a checkpoint under its
    name.
    """
    rubbish = checkpoint.with_name(f".tmp-{uuid.uuid4().hex[:8]}")
    checkpoint.replace(rubbish)
    remove(rubbish)


def remove(path: Path) -> None:
    """Removes a file or a folder, and of a link the link alone; what cannot be removed stays."""
    if regular.is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


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


def load_model(
    path: Path, like: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights and metadata that `save_model` wrote, held against their hash.

    Args:
        path: of the file.
        like: what they will fill, which says how large the file may be.

    Raises:
        CheckpointError: the file is missing, damaged, or holds what is not finite.
    """
    cure = f"restore it, or write it again from a checkpoint with `pofx resume {path.parent}`"
    try:
        content = regular.content(path, _LARGEST if like is None else room(like))
        tensors = load_safetensors(content)
        size = int.from_bytes(content[:8], "little")
        metadata = regular.parse(content[8 : 8 + size])["__metadata__"]
        damaged = metadata["sha256"] != model_hash(tensors) or not metadata["step"].isdecimal()
    except regular.StrangeFile:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); {cure}.") from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: its hash does not match; {cure}.")
    if (name := not_finite(tensors)) is not None:
        raise CheckpointError(f"'{name}' in {path} is NaN or infinite; {cure}.")
    return tensors, metadata


def room(like: Mapping[str, Tensor]) -> int:
    """How many bytes a file of such tensors may have; of those that are empty until they are
    loaded, as many as may be.
    """
    if any(not t.numel() for t in like.values()):
        return _LARGEST
    return (
        sum(t.numel() * t.element_size() + _HEADER_BYTES for t in like.values()) + _MANIFEST_BYTES
    )


def misfit(found: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> str | None:
    """What is wrong with tensors that must have the names, shapes and types of others, if anything;
    a vector of no elements stands for one of any length.

    >>> misfit({"w": torch.zeros(3)}, {"w": torch.zeros(2)})
    "'w' is float32 of shape (3,), and float32 of shape (2,) belongs there"
    """
    for name in sorted(found.keys() ^ like.keys()):
        return f"'{name}' is {'one too many' if name in found else 'missing'}"
    for name, value in like.items():
        length = found[name].shape if value.shape == (0,) and found[name].ndim == 1 else value.shape
        if found[name].dtype != value.dtype or found[name].shape != length:
            came, belongs = (
                f"{str(t.dtype).removeprefix('torch.')} of shape {tuple(t.shape)}"
                for t in (found[name], value)
            )
            return f"'{name}' is {came}, and {belongs} belongs there"
    return None


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
        StrangeFile: what is called `.lock` there is no regular file.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(folder, path)
    except BlockingIOError:
        raise CheckpointError(
            f"{folder} is being trained by process {_holder(path)}; wait for it, or choose "
            "another --out."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{folder} must be a folder that can be written to ({error.strerror or error}): "
            "choose another, or copy it to where you may write."
        ) from error
    with os.fdopen(descriptor, "r+") as f:
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        yield


def _locked(folder: Path, path: Path) -> int:
    """The descriptor of the folder's lock, held."""
    import fcntl

    while True:
        regular.check_run(folder)
        descriptor = regular.opened(path, os.O_RDWR | os.O_CREAT, _MANIFEST_BYTES)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held, there = os.fstat(descriptor), path.lstat()
            if held.st_ino == there.st_ino:
                return descriptor
        except FileNotFoundError:  # who held it has removed it: it holds nothing any more
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        number = regular.content(path, _MANIFEST_BYTES).decode().strip()
        return number if number.isdecimal() else "unknown"
    return "unknown"


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds NaN or infinity, if one does."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return None


def _refuse_non_finite(tensors: dict[str, Tensor], where: str, step: int) -> None:
    if (name := not_finite(tensors)) is not None:
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
        hold(f.fileno())
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
