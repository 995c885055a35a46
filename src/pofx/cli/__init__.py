"""The command line: one verb a file, imported when it is used.

A user's mistake prints one sentence and exits with code 2.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from pofx.errors import UserError, did_you_mean

VERBS = {
    "list": "the recipes there are",
    "show": "what a recipe is, and what it takes",
    "cite": "BibTeX for a recipe",
    "data": "look at data before training on it",
    "train": "train a recipe on data",
    "resume": "go on with a run",
    "sample": "draw new examples from a run",
    "evaluate": "measure a run",
    "runs": "the runs there are",
}


class _Verbs(click.Group):
    """Finds a verb's command in the file of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"pofx.cli.{_FILES.get(name, name)}")
        return module.COMMANDS[name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(
                f"there is no command '{args[0]}'; {did_you_mean(args[0], VERBS)}"
            )
        return super().resolve_command(ctx, args)


_FILES = {"list": "catalogue", "show": "catalogue", "cite": "catalogue", "resume": "train"}


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pofx")
def pofx() -> None:
    """P of x: every family of deep generative model behind one command.

    Start with `pofx train vae --data digits`, then `pofx sample RUN` and `pofx evaluate RUN`.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    try:
        sys.exit(pofx.main(arguments, prog_name="pofx", standalone_mode=False) or 0)
    except UserError as error:
        _complain(str(error))
        sys.exit(128 + error.signal if hasattr(error, "signal") else 2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        where = f" (see `{ctx.command_path} --help`)" if ctx else ""
        _complain(f"{error.format_message()}{where}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


def _complain(message: str) -> None:
    click.echo(f"pofx: {' '.join(message.split())}", err=True)
