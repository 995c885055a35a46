"""`pofx train` and `pofx resume`. A recipe's flags are its signature's keyword arguments."""

from __future__ import annotations

import math
import os
import shlex
import sys
from typing import Any

import click

from pofx import catalogue
from pofx.catalogue import Entry, Parameter
from pofx.cli.data_options import Seed, data_options, split_data_options
from pofx.cli.formulas import inline, paragraphs
from pofx.cli.outputs import say
from pofx.errors import UserError


class Value(click.ParamType):
    """A value of a parameter, of its type and in its range.

    Args:
        parameter: what its signature declares.
    """

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.name = _NAMES[parameter.type]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = parsed(self.parameter.type, value) if isinstance(value, str) else value
        if (problem := self.parameter.problem(found)) is not None:
            raise UserError(f"{self.parameter.flag} {problem}.")
        return found


def parsed(kind: str, word: str) -> Any:
    """Returns a word of the command line as a value of that type, or itself if it is none.

    >>> parsed("ints", "64,32"), parsed("float", "1e-3"), parsed("int", "many")
    ((64, 32), 0.001, 'many')
    """
    try:
        if kind in ("ints", "floats") and word == "none":
            return ()
        if kind in ("ints", "floats"):
            of = int if kind == "ints" else float
            numbers = tuple(of(v) for v in word.split(",") if v.strip())
            return numbers or word
        return {"int": int, "float": float, "str": str}[kind](word)
    except ValueError:
        return word


_NAMES = {"int": "integer", "float": "float", "str": "text", "ints": "n,n,...", "floats": "x,x,..."}


class _Positive(click.ParamType):
    """A number above zero."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a positive number", param, ctx)
        return number


_BUDGET = [
    click.Option(
        ["--steps"],
        type=click.IntRange(min=1),
        help="Optimizer steps; the recipe's own by default.",
    ),
    click.Option(["--minutes"], type=_Positive(), help="Minutes of training, instead of steps."),
]

_LOOP = [
    click.Option(
        ["--out"], type=click.Path(), help="Run folder; by default the first free runs/RECIPE-DATA."
    ),
    *_BUDGET,
    click.Option(
        ["--seed"],
        type=Seed(),
        default=0,
        show_default=True,
        help="Fixes weights, order and noise.",
    ),
    click.Option(["--device"], default="auto", show_default=True, help="auto, cpu or cuda."),
    click.Option(
        ["--threads"],
        type=click.IntRange(1, 1024),
        help="CPU threads; one for tiny models by default.",
    ),
    click.Option(
        ["--precision"],
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="What the networks compute in; weights are float32.",
    ),
    click.Option(
        ["--accumulate"],
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Micro-batches in a step, to save memory.",
    ),
    click.Option(
        ["--on-nonfinite"],
        type=click.Choice(["stop", "skip", "rollback"]),
        default="stop",
        show_default=True,
        help="What to do when a loss or a gradient is NaN or infinite.",
    ),
    click.Option(
        ["--keyed-noise"],
        is_flag=True,
        help="Noise belongs to the example: the same step for any number of processes.",
    ),
    click.Option(
        ["--save-every"],
        type=click.IntRange(min=1),
        help="Steps between checkpoints; two minutes by default.",
    ),
    click.Option(
        ["--sample-every"],
        type=click.IntRange(min=1),
        help="Steps between sample grids; a tenth of the budget by default.",
    ),
    click.Option(
        ["--keep"],
        type=click.Choice(["best", "last"]),
        default="best",
        show_default=True,
        help="Which weights to sample from: the best on validation data, where there is a loss on "
        "them, or the last.",
    ),
    click.Option(["--quiet"], is_flag=True, help="Show nothing."),
]

_OPTIONS = ("accumulate", "precision", "on_nonfinite", "keyed_noise", "seed")


class _Recipes(click.Group):
    """A command for each recipe, made from its signature."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(catalogue.entries())

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        entry = catalogue.describe(name)
        own = [_option(p) for p in entry.parameters if p.name != "steps"]
        shared = [
            click.Option(
                ["--data"], default="digits", show_default=True, help="A built-in name or a path."
            ),
            *data_options(),
            *_LOOP,
        ]
        return click.Command(
            name,
            params=[*own, *shared],
            callback=lambda **values: _train(name, values),
            help=_help(entry),
            short_help=entry.title,
        )


def _help(entry: Entry) -> str:
    """What a recipe is, up to its references; formulas are not wrapped."""
    text = entry.description.split("\nReferences:\n")[0].split("\nNote:\n")[0].strip()
    shown = [
        part if isinstance(part, str) else "\n    ".join(["\b", *part]) for part in paragraphs(text)
    ]
    return "\n\n".join([entry.title, f"Good for: {entry.use}.", *shown])


def _option(p: Parameter) -> click.Option:
    facts = [f"default: {p.default_text}"] if p.default_text else []
    facts += [p.range.words] if p.range.words else []
    meaning = inline(p.meaning)
    shown = f"{meaning}  [{'; '.join(facts)}]" if facts else meaning
    if p.type == "bool":
        return click.Option([f"{p.flag}/--no-{p.flag[2:]}"], default=None, help=shown)
    kind = click.Choice(p.choices) if p.choices else Value(p)
    return click.Option([p.flag], type=kind, default=None, help=shown)


def _train(name: str, values: dict[str, Any]) -> None:
    from pofx.training.fit import fit
    from pofx.training.loop import Options

    options = Options(**{k: values.pop(k) for k in _OPTIONS})
    given = split_data_options(values)
    command = shlex.join(["pofx", *sys.argv[1:]])
    known = {p.name for p in catalogue.describe(name).parameters}
    own = {k: v for k, v in values.items() if v is not None or k not in known or k == "steps"}
    folder = fit(name, own.pop("data"), options=options, data_options=given, command=command, **own)
    if os.environ.get("RANK", "0") == "0":
        say(f"{folder}")


@click.group("train", cls=_Recipes, subcommand_metavar="RECIPE [OPTIONS]")
def train() -> None:
    """Trains a recipe on data: `pofx train vae --data digits --latent 16`.

    `pofx train RECIPE --help` lists the recipe's own flags.
    """


@click.command(
    "resume", params=[click.Argument(["run"]), *_BUDGET, click.Option(["--quiet"], is_flag=True)]
)
def resume(run: str, steps: int | None, minutes: float | None, quiet: bool) -> None:
    """Goes on with a run from its newest sound checkpoint, exactly where it was."""
    from pofx.run import Run

    say(f"{Run(run, device='cpu').resume(steps=steps, minutes=minutes, quiet=quiet).path}")


COMMANDS = {"train": train, "resume": resume}
