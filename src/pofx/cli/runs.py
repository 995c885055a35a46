"""`pofx runs`: the runs there are, without importing torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pofx.cli.outputs import say
from pofx.errors import UserError, printable
from pofx.training.regular import JSON_BYTES, content, opened, parse


@click.command("runs")
@click.argument("folder", default="runs", type=click.Path())
def runs(folder: str) -> None:
    """Lists the runs under FOLDER."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = sorted(Path(folder).glob("**/run.json"), key=_age)
    if not found:
        say(f"no runs under '{folder}'; `pofx train vae --data digits` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "recipe", "data", "step", "seconds", "last"):
        # a long path is folded, so that it never pushes the rest out of sight
        table.add_column(column, no_wrap=column in _SHORT, overflow="fold")
    for path in found:
        table.add_row(*(Text(printable(cell)) for cell in _row(path)))
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)


_SHORT = ("recipe", "step", "seconds")
_WIDTH = 160
"""Of what is written to a file or a pipe."""


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a link to nothing
        return 0.0


def _row(path: Path) -> list[str]:
    try:
        job = parse(content(path, JSON_BYTES))
        recipe, data = str(job["recipe"]), str(job["source"]["source"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return [str(path.parent), "damaged", "", "", "", ""]
    last = _last_metrics(path.parent / "metrics.jsonl")
    losses = [
        f"{k} {v:.4g}" for k, v in last.items() if k.startswith(("loss", "valid")) and _is_number(v)
    ]
    seconds = f"{last['seconds']:.0f}" if _is_number(last.get("seconds")) else ""
    return [
        str(path.parent),
        recipe,
        data,
        str(last.get("step", "")),
        seconds,
        ", ".join(losses),
    ]


def _last_metrics(path: Path) -> dict[str, Any]:
    """What the last lines of a metrics file say, the newest value of each metric."""
    try:
        with os.fdopen(opened(path, os.O_RDONLY, None), "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - 4096))
            lines = f.read(4096).decode(errors="replace").splitlines()
    except (OSError, UserError):
        return {}
    merged: dict[str, Any] = {}
    for line in lines[-5:]:
        try:
            merged |= dict(parse(line.encode()))
        except (ValueError, TypeError):
            continue
    return merged


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


COMMANDS = {"runs": runs}
