"""The README's own commands and code run, and its table names every recipe."""

import re
import shlex
from pathlib import Path

import pytest

from pofx import catalogue
from pofx.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
QUICK = {"--minutes 1": "--steps 3"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_its_commands_run_one_after_the_other():
    commands = [
        line.split("#")[0].strip()
        for language, block in BLOCKS
        for line in block.splitlines()
        if not language and line.startswith("pofx ")
    ]
    assert [c.split()[1] for c in commands] == ["data", "train", "sample", "evaluate", "runs"]
    for command in commands:
        for slow, quick in QUICK.items():
            command = command.replace(slow, quick)
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(command)[1:])
        assert not ended.value.code, command
    assert Path("grid.png").stat().st_size > 1000


def test_its_code_runs():
    (code,) = (block for language, block in BLOCKS if language == "python")
    names: dict = {}
    exec(code, names)
    assert names["x"].shape == (64, 1, 8, 8)
    assert names["report"].likelihood.kind == "bound"


def test_its_table_names_every_recipe():
    section = README.split("## Recipes")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == set(
        catalogue.entries()
    )
