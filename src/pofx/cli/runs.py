"""`pofx runs`: the runs there are, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("runs")
@click.argument("folder", default="runs", type=click.Path())
def runs(folder: str) -> None:
    """Lists the runs under FOLDER."""
    from rich.console import Console
    from rich.table import Table

    found = sorted(Path(folder).glob("**/run.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        click.echo(f"no runs under '{folder}'; `pofx train vae --data digits` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "recipe", "data", "step", "seconds", "last"):
        # a long path is folded, so that it never pushes the rest out of sight
        table.add_column(column, no_wrap=column != "run", overflow="fold")
    for path in found:
        table.add_row(*_row(path))
    Console().print(table)


def _row(path: Path) -> list[str]:
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
        last = _last_metrics(path.parent / "metrics.jsonl")
    except (OSError, ValueError):
        return [str(path.parent), "damaged", "", "", "", ""]
    losses = [
        f"{k} {v:.4g}" for k, v in last.items() if k.startswith(("loss", "valid")) and _is_number(v)
    ]
    data = str(job.get("source", {}).get("source", ""))
    seconds = f"{last['seconds']:.0f}" if _is_number(last.get("seconds")) else ""
    return [
        str(path.parent),
        str(job.get("recipe")),
        data,
        str(last.get("step", "")),
        seconds,
        ", ".join(losses),
    ]


def _last_metrics(path: Path) -> dict[str, Any]:
    """What the last lines of a metrics file say, the newest value of each metric."""
    if not path.exists():
        return {}
    with path.open("rb") as f:
        f.seek(max(0, path.stat().st_size - 4096))
        lines = f.read().decode(errors="replace").splitlines()
    merged: dict[str, Any] = {}
    for line in lines[-5:]:
        try:
            merged |= json.loads(line)
        except ValueError:
            continue
    return merged


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


COMMANDS = {"runs": runs}
