"""Refused: a command that must fail, held against what a mistake may say and leave."""

import os
import sys
from pathlib import Path

import pytest

from pofx.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # `verb` stands beside these tests


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command that must fail, and holds what it says and leaves against what it should."""

    def check(arguments, *named):
        named_folders = [Path(str(a)) for a in arguments if os.path.isdir(str(a))]
        before = _everything([tmp_path, *named_folders])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == 2, out
        _assert_one_sentence(err, named)
        assert out == ""
        assert _everything([tmp_path, *named_folders]) == before

    return check


def _everything(folders):
    return sorted((p, p.lstat().st_mtime_ns) for folder in folders for p in folder.rglob("*"))


def _assert_one_sentence(err, named):
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("pofx: ")
    assert "Traceback" not in lines[0]
    for word in named:
        assert word in lines[0], (word, lines[0])
