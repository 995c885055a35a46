"""`pofx runs`: the runs there are, without importing torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pofx.cli.outputs import say
from pofx.errors import printable

if TYPE_CHECKING:
    from pofx.training.status import Status


@click.command("runs")
@click.argument("folder", default="runs", type=click.Path())
@click.option(
    "--sort", type=click.Choice(["time", "name", "loss"]), default="time", show_default=True,
    help="By when a run was started, the newest last; by its name; or by its loss, the best last.",
)  # fmt: skip
def runs(folder: str, sort: str) -> None:
    """Lists the runs under FOLDER: what became of each, and how far it came.

    A run is new, running, stopped (go on with `pofx resume RUN`), complete, failed before anything
    was saved, or damaged. The loss is -log p(x) of validation data, or a bound of it, in nats for
    each example; where a recipe has none, it is the recipe's own loss, which only compares with
    other runs of the same recipe and settings.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pofx.training.status import statuses

    found = sorted(statuses(folder), key=_ORDERS[sort])
    if not found:
        say(f"no runs under '{folder}'; `pofx train vae --data digits` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "recipe", "data", "state", "step", "time", "loss"):
        # a long path is folded, so that it never pushes the rest out of sight
        table.add_column(column, no_wrap=column in _SHORT, overflow="fold")
    for run in found:
        table.add_row(*(Text(printable(cell)) for cell in _row(run)))
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)


_SHORT = ("recipe", "state", "step", "time")
_WIDTH = 160
"""Of what is written to a file or a pipe."""
_UNITS = {"density": " nats", "bound": " nats", "pseudo-likelihood": " nats, pseudo-likelihood"}
"""Of a validation loss, by what it measures; a recipe's own loss has none."""


def _row(run: Status) -> tuple[str, ...]:
    time = "" if run.seconds is None else f"{run.seconds:,.0f} s"
    return _near(run.path), run.recipe, _near(run.data), run.state, run.reached, time, loss(run)


def loss(run: Status) -> str:
    """The loss of a run with its unit: that of validation data, or else the newest of training."""
    if "valid" in run.losses:
        return f"validation {run.losses['valid']:,.4g}{_UNITS.get(run.measure, '')}"
    names = {k: k.removeprefix("loss/") for k in run.losses}
    return ", ".join(f"{names[k]} {v:.4g}" for k, v in run.losses.items())


def _near(path: Any) -> str:
    """A path as seen from here, if it is below; anything else as it is."""
    here = os.getcwd()
    inside = os.path.isabs(path) and os.path.commonpath([here, path]) == here
    return os.path.relpath(path, here) if inside else str(path)


def _goodness(run: Status) -> tuple[bool, float]:
    known = run.losses.get("valid", math.inf)
    return math.isfinite(known), -known


_ORDERS: dict[str, Callable[[Status], Any]] = {
    "time": lambda run: (run.started, str(run.path)),
    "name": lambda run: str(run.path),
    "loss": _goodness,
}

COMMANDS = {"runs": runs}
