"""pofx data: looks at data before anything is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pofx.cli.data_options import Seed, data_options, split_data_options

if TYPE_CHECKING:
    from rich.console import Console

    from pofx.data.inspect import Report, TextReport


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
    from pofx.data.limits import printable

    report = inspect.inspect(source, seed=seed, **split_data_options(options))
    drawn = None if sheet is None else inspect.sheet(report.dataset, sheet)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    _print(console, report)
    if drawn is not None:
        console.print(printable(f"contact sheet: {drawn}"), markup=False)


def _print(console: Console, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    from pofx.data.limits import printable

    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(report):
        facts.add_row(Text(name, "bold"), Text(printable(value)))
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
        *([("values", _range(report))] if report.text is None else _text(report.text)),
        ("spec", f"shape {spec.shape}, {support(spec)}, log scale {spec.log_scale:.4f}"),
    ]
    if report.classes:
        facts.append(("classes", _class_counts(report.classes)))
    if report.captions:
        facts.append(("captions", f"{report.captions:,}"))
    if report.text is None:
        facts.append(("duplicates", _duplicates(report)))
    facts.append(("fingerprint", dataset.fingerprint[:16]))
    return facts


def _text(text: TextReport) -> list[tuple[str, str]]:
    return [
        ("characters", f"{text.characters:,} in {text.lines:,} lines"),
        ("vocabulary", f"{text.vocabulary:,} tokens, of which {text.symbols:,} occur"),
        ("frequent", text.common),
        ("rarest", text.rare),
    ]


def _range(report: Report) -> str:
    if report.low != report.low:
        return "categories only"
    return f"{report.low:.6g} to {report.high:.6g}"


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

    from pofx.data.limits import printable

    table = Table("column", "type", "missing", "values", box=None, pad_edge=False)
    for c in report.columns:
        name, values = Text(printable(c.name)), Text(printable(c.values))
        table.add_row(name, c.kind, f"{c.missing:,}", values)
    return table


data.params.extend(data_options())

COMMANDS = {"data": data}
