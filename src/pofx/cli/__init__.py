"""The command line: one verb a file, imported when it is used.

A user's mistake prints one sentence and exits with code 2.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any

import click

from pofx.errors import UserError, did_you_mean, printable

VERBS = {
    "list": "the recipes there are",
    "show": "what a recipe is, and what it takes",
    "cite": "BibTeX for a recipe",
    "data": "look at data before training on it",
    "train": "train a recipe on data",
    "resume": "go on with a run",
    "sample": "draw new examples from a run",
    "complete": "draw the rest of what is begun",
    "edit": "draw examples near given ones",
    "evaluate": "measure a run",
    "ladder": "what fewer steps of sampling cost",
    "anomaly": "how strange data look to a run",
    "encode": "the codes of data",
    "decode": "the examples of codes",
    "interpolate": "from one example to another",
    "traverse": "what each coordinate of a code does",
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
            hint = did_you_mean(args[0], [*VERBS, "--version", "--help"])
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)


_FILES = {
    **dict.fromkeys(("list", "show", "cite"), "catalogue"),
    **dict.fromkeys(("encode", "decode", "interpolate", "traverse"), "latent"),
    "edit": "complete",
    "resume": "train",
}


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pofx")
def pofx() -> None:
    """P of x: every family of deep generative model behind one command.

    Start with `pofx train vae --data digits`, then `pofx sample RUN` and `pofx evaluate RUN`.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    _give_way()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names that the terminal's encoding lacks
    try:
        sys.exit(pofx.main(arguments, prog_name="pofx", standalone_mode=False) or 0)
    except UserError as error:
        _complain(str(error))
        sys.exit(128 + error.signal if hasattr(error, "signal") else 2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        where = f" (see `{ctx.command_path} --help`)" if ctx else ""
        _complain(f"{error.format_message()}{where}")
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except (OSError, MemoryError, RuntimeError) as error:
        lack = _lack(error)
        if lack is None:
            raise
        _complain(lack)
        sys.exit(2)


def _give_way() -> None:
    """Lets threads that wait for one another give their core away soon: OpenMP's spin for
    milliseconds, in which, on a machine that has other work, the one waited for does not run.
    It is read when torch is loaded, so later is too late.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def _lack(error: Exception) -> str | None:
    """What the machine refused, if that and no defect of ours is behind the error."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"'{error.filename}' cannot be used ({error.strerror}); choose another path."
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"the disk must take what is written ({error.strerror}): free some space."
    if isinstance(error, MemoryError) or "allocate" in str(error):
        return "there is not enough memory; make the model, the batch or the data smaller."
    return None


def _complain(message: str) -> None:
    click.echo(f"pofx: {printable(' '.join(message.split()))}", err=True)
