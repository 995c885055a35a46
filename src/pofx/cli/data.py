"""pofx data: looks at data before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pofx.data.inspect import Report

F = TypeVar("F", bound=Callable[..., Any])


class Resize(click.ParamType):
    """A side, or a height and a width: `32` or `32x48`."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int]:
        """The number or the pair that the text says."""
        if not isinstance(value, str):
            return value
        sides = value.lower().split("x")
        if not all(s.isdecimal() for s in sides) or len(sides) > 2:
            self.fail(f"'{value}' is no size: give a side such as 32, or height x width as 32x48.")
        return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


_OPTIONS = (
    click.option(
        "--binarize",
        type=click.Choice(["threshold", "sample", "dynamic"]),
        help="Bytes to bits: at half range, drawn once, or drawn at every presentation.",
    ),
    click.option("--dequantize", is_flag=True, help="Bytes to real numbers by uniform noise."),
    click.option("--resize", type=Resize(), help="Crop and scale images: 32, or HEIGHTxWIDTH."),
    click.option("--classes", help="Only these classes, by name or number, comma between."),
    click.option("--limit", type=int, help="At most this many examples over all."),
    click.option(
        "--standardize/--no-standardize",
        default=True,
        show_default=True,
        help="Numbers to mean 0 and standard deviation 1.",
    ),
)
LOAD_OPTIONS = ("binarize", "dequantize", "resize", "classes", "limit", "standardize")
"""The names of the parameters that `load_options` adds, all of them arguments of `pofx.data.load`."""


def load_options(command: F) -> F:
    """Adds the options of `pofx.data.load` to a command, except its seed."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def load_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `pofx.data.load` among a command's options."""
    arguments = {k: options[k] for k in LOAD_OPTIONS if k in options}
    if isinstance(arguments.get("classes"), str):
        arguments["classes"] = [c.strip() for c in arguments["classes"].split(",") if c.strip()]
    return arguments


@click.command()
@click.argument("source")
@load_options
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the split.")
@click.option("--sheet", type=click.Path(), help="Write a contact sheet to this PNG.")
def data(source: str, seed: int, sheet: str | None, **options: Any) -> None:
    """Say what SOURCE holds: a built-in name, a folder or zip of images, a .npy, .npz, .csv or .tsv."""
    from rich.console import Console

    from pofx.data import inspect

    report = inspect.inspect(source, seed=seed, **load_arguments(options))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    _print(console, report)
    if sheet is not None:
        console.print(f"contact sheet: {inspect.sheet(report.dataset, sheet)}", markup=False)


def _print(console: Console, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(report):
        facts.add_row(Text(name, "bold"), Text(value))
    console.print(facts)
    if report.columns:
        console.print(_column_table(report))
    for note in report.dataset.notes:
        console.print(Text.assemble(("note: ", "yellow"), note))


def _facts(report: Report) -> list[tuple[str, str]]:
    from pofx.data.inspect import support

    dataset, spec = report.dataset, report.dataset.spec
    total = sum(report.counts.values())
    split = ", ".join(f"{n:,} {name}" for name, n in report.counts.items())
    facts = [
        ("name", dataset.name),
        ("what", report.what),
        ("examples", f"{total:,} ({split})"),
        ("values", f"{report.low:.6g} to {report.high:.6g}"),
        ("spec", f"shape {spec.shape}, {support(spec)}, log scale {spec.log_scale:.4f}"),
    ]
    if report.classes:
        facts.append(("classes", _class_counts(report.classes)))
    if report.captions:
        facts.append(("captions", f"{report.captions:,}"))
    facts.append(("duplicates", _duplicates(report)))
    facts.append(("fingerprint", dataset.fingerprint[:16]))
    return facts


def _class_counts(classes: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(classes.items())[:20]]
    more = len(classes) - len(shown)
    return f"{len(classes)}: {', '.join(shown)}" + (f" and {more} more" if more else "")


def _duplicates(report: Report) -> str:
    if report.duplicates is None:
        return "not counted (the set is mapped from the disk)"
    return f"{report.duplicates:,} exact; {report.leaked:,} test examples are also in train"


def _column_table(report: Report) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("column", "type", "missing", "values", box=None, pad_edge=False)
    for c in report.columns:
        table.add_row(Text(c.name), c.kind, f"{c.missing:,}", Text(c.values))
    return table
