"""`pofx list`, `pofx show` and `pofx cite`: the catalogue, described without an import."""

from __future__ import annotations

import click

from pofx import catalogue

_TYPE = 20
"""Characters in a line of a type, which may have many choices."""


@click.command("list")
def list_recipes() -> None:
    """Lists the recipes, family by family."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "family", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for entry in catalogue.entries().values():
        table.add_row(entry.name, entry.family, entry.title)
    Console().print(table)


@click.command("show")
@click.argument("recipe")
def show(recipe: str) -> None:
    """Says what a recipe is, and what it takes."""
    from rich.console import Console
    from rich.table import Table

    entry = catalogue.describe(recipe)
    click.echo(f"{entry.name}: {entry.title}\n\n{entry.description}\n")
    table = Table(box=None, pad_edge=False)
    for column in ("flag", "type", "default", "meaning"):
        most = _TYPE if column == "type" else None
        table.add_column(column, no_wrap=column in ("flag", "default"), max_width=most)
    for p in entry.parameters:
        default = ",".join(map(str, p.default)) if isinstance(p.default, tuple) else str(p.default)
        kind = " | ".join(p.choices) or p.type
        table.add_row(f"--{p.name.replace('_', '-')}", kind, default, p.meaning)
    Console().print(table)


@click.command("cite")
@click.argument("recipe")
def cite(recipe: str) -> None:
    """Prints BibTeX for a recipe."""
    click.echo(catalogue.citation(recipe))


COMMANDS = {"list": list_recipes, "show": show, "cite": cite}
