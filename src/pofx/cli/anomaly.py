"""`pofx anomaly`: how strange each example of some data looks to a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click

from pofx.cli.data_options import FiniteRange, Seed
from pofx.cli.outputs import escape_formulas, say, target
from pofx.errors import UserError


@click.command("anomaly")
@click.argument("run")
@click.option("--data", "source", help="What to score; the run's own test examples by default.")
@click.option(
    "--score", type=click.Choice(["likelihood", "energy", "reconstruction", "latent"]),
    help="What to score by; the most telling that the model gives by default.",
)  # fmt: skip
@click.option(
    "--quantile", type=FiniteRange(0, 1, min_open=True, max_open=True), default=0.95,
    show_default=True, help="Share of validation examples that stay below the threshold.",
)  # fmt: skip
@click.option(
    "--normal",
    help="Classes that are no anomalies, separated by commas, which AUROC is told by; "
    "those of --only-class by default, or 0 where labels are 0 and 1.",
)
@click.option("--out", help="A .csv of scores; in the run folder by default.")
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of random draws.")
@escape_formulas
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def anomaly(
    run: str,
    source: str | None,
    score: str | None,
    quantile: float,
    normal: str | None,
    out: str | None,
    seed: int,
    escape_formulas: bool,
    device: str,
) -> None:
    """Scores data by RUN: the higher, the stranger.

    Train RUN on normal examples alone, such as with `--only-class`.
    """
    if out and not out.lower().endswith(".csv"):
        raise UserError(f"scores are written as .csv, and --out is {out}.")
    from pofx.data.whole import written
    from pofx.data.write import escaped
    from pofx.run import Run

    opened = Run(run, device=device)
    path = Path(target(opened, out, "anomaly.csv", source))
    kind: Any = score
    found = opened.anomaly(source, score=kind, quantile=quantile, normal=normal, seed=seed)
    flagged = int(found.flagged.sum())
    say(
        f"score: {found.kind}; threshold {found.threshold:.6g}, the {quantile:g} quantile of "
        f"validation; {flagged:,} of {len(found.scores):,} examples above it"
    )
    if found.detection is not None:
        d = found.detection
        say(
            f"AUROC {d.auroc:.4f}, average precision {d.average_precision:.4f} "
            f"({d.anomalies:,} anomalies of {d.examples:,})"
        )
    header = ["example", "score", "anomaly", *(["label"] if found.labels else [])]
    with written(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        rows = found.rows()
        writer.writerow(header)
        writer.writerows(map(escaped, row) if escape_formulas else row for row in rows)
    say(path)


COMMANDS = {"anomaly": anomaly}
