"""Tiny models run best on one thread, and a test must not depend on how many there are."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

collect_ignore = ["planted"]  # a list and a script, run by hand


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a seed, and a folder of its own for whatever it writes."""
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("POFX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("POFX_DATA names no folder of data sets")
    return Path(folder)
