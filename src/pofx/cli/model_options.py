"""Flags that are not a verb's but the model's own, which its methods that draw examples take."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pofx import catalogue
from pofx.cli.formulas import inline
from pofx.errors import UserError, nearest
from pofx.signatures import argument_meanings


def own_options(options: tuple[str, ...]) -> dict[str, Any]:
    """Words of the command line as options of a model.

    >>> own_options(("--steps", "50", "--guidance-interval=0.2,0.8"))
    {'steps': 50, 'guidance_interval': (0.2, 0.8)}
    """
    words = [w for o in options for w in (o.split("=", 1) if o.startswith("--") else [o])]
    if len(words) % 2 or not all(o.startswith("--") for o in words[::2]):
        raise UserError(
            f"sampling options come in pairs such as `--steps 50`, and '{' '.join(options)}' came."
        )
    names = [o[2:].replace("-", "_") for o in words[::2]]
    return dict(zip(names, map(_value, words[1::2]), strict=True))


class ModelCommand(click.Command):
    """A verb whose help page ends with what the model of the run that is named takes itself; the
    method has the verb's name, but for one of `sample`'s.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = list(args)  # `--help` is answered before RUN is read
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        words = [w for w in ctx.meta.get(_WORDS, ()) if Path(w, "run.json").is_file()]
        if not words:
            formatter.write_paragraph()
            formatter.write_text(
                f"`pofx {self.name} RUN --help` lists what the model of RUN takes as well."
            )
            return
        from pofx.run import Run

        try:
            run = Run(words[0], device="cpu")
            rows = described(run, self.name if self.name in _METHODS else "sample")
        except UserError as error:
            rows = [(words[0], str(error))]
        own = {o for p in self.params for o in p.opts}
        own |= {o.removesuffix("s") for o in own}  # a ladder's --samplers stand for --sampler
        rows = [row for row in rows if row[0].split()[0] not in own]
        with formatter.section("Options of its model"):
            formatter.write_dl(rows or [("none", "This model takes no options of its own.")])


_WORDS = "pofx.words"
_METHODS = ("sample", "complete", "edit")
_KINDS = {"int": "INTEGER", "float": "FLOAT", "str": "TEXT", "bool": "true|false"}


def described(run: Any, method: str) -> list[tuple[str, str]]:
    """Flags that a method of a run's model takes, and what each means.

    Args:
        run: opened.
        method: `sample`, `complete` or `edit`.
    """
    from pofx.diffusion.grid import GRIDS

    model = run.model
    meanings = _meanings(model, "sample") | _meanings(model, method)
    names = {"sampler": getattr(model, "samplers", ()), "grid": tuple(GRIDS)}
    rows = []
    for name, annotation in run.options_of(method).items():
        if "Tensor" in annotation:  # the verb's own, read as text
            continue
        typed = run.parameters_of(method).get(name)
        kind = "A,B" if typed is None else _KINDS.get(typed.type, "A,B")
        choices = names.get(name, ())
        parts = [inline(meanings.get(name, ""))]
        if choices:
            parts.append(f"One of {', '.join(choices)}.")
        facts = [f"default: {default}"] if (default := _default(run, name)) else []
        facts += [typed.range.words] if typed is not None and typed.range.words else []
        if facts:
            parts.append(f" [{'; '.join(facts)}]")
        rows.append((f"{_flag(name)} {'NAME' if choices else kind}", " ".join(parts)))
    return rows


def _meanings(model: object, method: str) -> dict[str, str]:
    return argument_meanings(inspect.getdoc(getattr(model, method, None)) or "")


def _default(run: Any, name: str) -> str:
    """What the run's recipe was told to sample by, where one of its arguments has that name."""
    known = {p.name: p for p in catalogue.describe(run.job.recipe).parameters}
    for own in (f"sampling_{name}", name):
        if own in known and own != "steps":  # those of training
            told = run.job.arguments.get(own, known[own].default)
            return replace(known[own], default=told).default_text
    return ""


def check_options(run: Any, own: dict[str, Any], method: str = "sample") -> None:
    """Refuses what the model does not take; of an unknown flag the nearest is named, be it the
    verb's that runs or the model's.

    Args:
        run: whose model it is.
        own: the model's options.
        method: of the model, that takes them.
    """
    known = run.options_of(method)
    verb = click.get_current_context().command
    options = [p for p in verb.params if isinstance(p, click.Option)]
    flags = [o for p in options for o in (*p.opts, *p.secondary_opts)] + list(map(_flag, known))
    # without their dashes, which make any two alike
    named = {f.lstrip("-").replace("-", "_"): f for f in flags}
    for name in own:
        if name not in known:
            near = nearest(name, named)
            takes = ", ".join(map(_flag, known))
            rest = f"its options are {takes}." if takes else "it takes none."
            hint = f"did you mean '{named[near]}'?" if near else rest
            raise UserError(
                f"recipe '{run.job.recipe}' {method}s with no {_flag(name)}; {hint} "
                f"`pofx {verb.name} {run.path} --help` lists them all."
            )
    run.check(own, method)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if "," in text:  # several, such as the two ends of an interval
        return tuple(map(_value, text.split(",")))
    return {"true": True, "false": False}.get(text, text)
