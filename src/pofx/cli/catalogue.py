"""`pofx list`, `pofx show` and `pofx cite`: the catalogue, described without an import of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pofx import catalogue
from pofx.cli.formulas import inline, paragraphs
from pofx.cli.model_options import described

_MOST = {"flag": 32, "type": 20, "default": 26}
"""Characters in a line of a column, of which types have many choices and defaults may be rules."""
_WIDTH = 120
"""Columns of a table in a file or a pipe."""


@click.command("list")
def list_recipes() -> None:
    """Lists the recipes, family by family, with what each is good for."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "family", "good for", "paper"):
        table.add_column(column, no_wrap=column in ("recipe", "family"))
    for entry in catalogue.entries().values():
        table.add_row(entry.name, entry.family, entry.use, entry.paper)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)
    click.echo("\n`pofx show RECIPE` says what a recipe is and takes.")


@click.command("show")
@click.argument("recipe", metavar="RECIPE|RUN")
def show(recipe: str) -> None:
    """Says what a recipe is and takes, or what the model of a run takes when it samples."""
    if Path(recipe, "run.json").is_file():
        _show_run(recipe)
        return
    entry = catalogue.describe(recipe)
    click.echo(f"{entry.name}: {entry.title}\n\nGood for: {entry.use}.\n")
    for part in paragraphs(entry.description):
        text = part if isinstance(part, str) else "\n".join(f"    {line}" for line in part)
        click.echo(f"{text}\n")
    rows = [_cells(p) for p in entry.parameters]
    _print(("flag", "type", "default", "meaning"), rows)
    click.echo(f"\n`pofx show RUN` lists what a run of {entry.name} takes when it samples.")


def _cells(p: catalogue.Parameter) -> tuple[str, ...]:
    meaning = inline(p.meaning) + (f" ({p.range.words})" if p.range.words else "")
    kind = " | ".join(p.choices) or p.type
    return p.flag, kind, p.default_text, meaning


def _show_run(path: str) -> None:
    from pofx.run import Run

    run = Run(path, device="cpu")
    entry = catalogue.describe(run.job.recipe)
    click.echo(f"{run}\n\n{entry.name}: {entry.title}\n\nGood for: {entry.use}.")
    for method in filter(lambda m: hasattr(run.model, m), ("sample", "complete", "edit")):
        rows = described(run, method)
        takes = "also takes" if rows else "takes no options of the model's own."
        click.echo(f"\n`pofx {method} {path}` {takes}")
        if rows:
            _print(("flag", "meaning"), rows)


def _print(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in header:
        table.add_column(column, max_width=_MOST.get(column))
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)


@click.command("cite")
@click.argument("recipe")
def cite(recipe: str) -> None:
    """Prints BibTeX for a recipe."""
    click.echo(catalogue.citation(recipe))


COMMANDS = {"list": list_recipes, "show": show, "cite": cite}
