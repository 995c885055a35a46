"""codes: which model a file of codes is of."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pofx.data import limits

_MARK = "model.npy"
_BYTES = 4096


def coded_by(path: Path) -> str | None:
    """The hash of the model that wrote a `.npz` of codes beside them; None of any other file."""
    if path.suffix.lower() != ".npz":
        return None
    try:
        with limits.open_archive(path) as archive:
            if archive.getinfo(_MARK).file_size > _BYTES:
                return None
            content = limits.member(archive, _MARK)
        mark = np.load(io.BytesIO(content), allow_pickle=False)
    except (limits.DataError, OSError, KeyError, ValueError, EOFError):
        return None
    return str(mark) if mark.dtype.kind == "U" and mark.shape == () else None
