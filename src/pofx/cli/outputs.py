"""Where a verb writes: never over what it reads, which is found out before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pofx.errors import UserError, printable

if TYPE_CHECKING:
    from pofx.opened import Opened


escape_formulas = click.option(
    "--escape-formulas", is_flag=True,
    help="In a .csv or .tsv, an apostrophe before words that a spreadsheet takes for a formula.",
)  # fmt: skip


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Prints what may hold names from files, of which a terminal obeys none."""
    click.echo(printable(str(text), spared="\n\t"), err=err, nl=nl)


def target(run: Opened, out: str | None, name: str, *read: str | None) -> str:
    """The path of `--out`, or a name in the run folder.

    Args:
        run: whose folder, and whose data are spared.
        out: what the user asks for.
        name: of the file otherwise.
        read: other data that are spared.

    Raises:
        UserError: the path is empty, or what is there would be overwritten.
    """
    if out == "":
        raise UserError("--out is a path, and an empty one came; leave it out for the run folder.")
    path = str(run.path / name) if out is None else out
    run.spare(path, *read)
    return path
