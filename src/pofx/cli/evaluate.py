"""`pofx evaluate`: the likelihood of a run, and the quality and variety of its samples."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from pofx.cli.data_options import Seed
from pofx.cli.outputs import say, target
from pofx.errors import UserError

if TYPE_CHECKING:
    from pofx.evaluation.report import Report
    from pofx.run import Run


class _Pulse:
    """Shows on stderr, now and then, that an evaluation goes on; it is polled, and never stops it.

    Args:
        every: seconds between lines.
    """

    def __init__(self, every: float = 10.0) -> None:
        self.every, self.start = every, time.monotonic()
        self.shown = self.start

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self.shown >= self.every:
            self.shown = now
            click.echo(f"evaluating, {now - self.start:.0f} s so far", err=True)
        return False


@click.command("evaluate")
@click.argument("run")
@click.option(
    "-n",
    "n",
    type=click.IntRange(min=10),
    help="How many samples; as many as the test data by default.",
)
@click.option(
    "--features", type=click.Choice(["raw", "pca", "classifier", "inception"]),
    help="What the distances are measured in; chosen by the data by default.",
)  # fmt: skip
@click.option("--weights", help="Inception-v3 weights, as .safetensors.")
@click.option(
    "--split", type=click.Choice(["test", "valid", "train"]), default="test", show_default=True,
    help="The real examples to hold samples against.",
)  # fmt: skip
@click.option(
    "--flow", is_flag=True,
    help="Take the likelihood by the probability flow, of at most 200 examples: dearer than a "
    "bound, and usually higher.",
)  # fmt: skip
@click.option("--prior", help="A run trained on the codes of RUN, whose draws RUN decodes.")
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Fixes the samples.")
@click.option("--out", help="A .json of the report; `evaluation.json` in RUN by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def evaluate(
    run: str,
    n: int | None,
    features: str | None,
    weights: str | None,
    split: str,
    flow: bool,
    prior: str | None,
    seed: int,
    as_json: bool,
    out: str | None,
    device: str,
) -> None:
    """Measures RUN on its own data, and writes `evaluation.json` into its folder, or --out."""
    if weights is not None and features != "inception":
        raise UserError("--weights are those of Inception-v3; give --features inception with them.")
    from pofx.run import Run, Unwritten

    opened = Run(run, device=device)
    path = target(opened, out, "evaluation.json")
    before = None if prior is None else Run(prior, device=device)
    try:
        report = opened.evaluate(
            prior=before, out=path, n=n, features=features, weights=weights, split=split, flow=flow,
            seed=seed, stop=_Pulse(),
        )  # fmt: skip
    except Unwritten as error:  # what was measured is told all the same
        _tell(opened, error.report, as_json=as_json)
        raise
    _tell(opened, report, as_json=as_json)


def _tell(opened: Run, report: Report, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(report.to_json(), indent=1))
        return
    from rich.console import Console

    table = report.table(f"{opened.job.recipe} on {opened.dataset.name}")
    Console().print(table.terminal())
    for warning in report.warnings:
        say(f"warning: {warning}", err=True)


COMMANDS = {"evaluate": evaluate}
