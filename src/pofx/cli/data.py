"""pofx data: looks at data before anything is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pofx.cli.data_options import Seed, data_options, split_data_options

if TYPE_CHECKING:
    from rich.console import Console

    from pofx.data.inspect import Report


@click.command("data")
@click.argument("source")
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Fixes the split.")
@click.option("--sheet", type=click.Path(), help="Write a contact sheet to this PNG.")
def data(source: str, seed: int, sheet: str | None, **options: Any) -> None:
    """Say what SOURCE holds: a built-in name, a folder or zip of images, a .npy, .npz, .csv, .tsv
    or .txt.
    """
    from rich.console import Console

    from pofx.data import inspect
    from pofx.errors import printable

    report = inspect.inspect(source, seed=seed, **split_data_options(options))
    drawn = None if sheet is None else inspect.sheet(report.dataset, sheet)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    _print(console, report)
    if drawn is not None:
        console.print(printable(f"contact sheet: {drawn}"), markup=False)


def _print(console: Console, report: Report) -> None:
    from rich.text import Text

    from pofx.errors import printable

    for table in report.tables():
        console.print(table.terminal())
    for note in report.dataset.notes:
        console.print(Text.assemble(("note: ", "yellow"), printable(note)))


data.params.extend(data_options())

COMMANDS = {"data": data}
