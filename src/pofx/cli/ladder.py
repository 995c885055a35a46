"""`pofx ladder`: what fewer steps of sampling cost in quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pofx.cli.data_options import Seed
from pofx.cli.model_options import ModelCommand, check_options, own_options
from pofx.cli.outputs import say, target
from pofx.errors import UserError

if TYPE_CHECKING:
    from pofx.evaluation.ladder import Ladder, Rung


@click.command("ladder", cls=ModelCommand, context_settings={"ignore_unknown_options": True})
@click.argument("run")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--samplers", help="Names, separated by commas; six by default, `all` for all.")
@click.option(
    "--steps", default="5,10,20,50", show_default=True, help="Counts, separated by commas."
)
@click.option(
    "-n", "n", type=click.IntRange(min=10), default=1000, show_default=True,
    help="Samples of each setting, and real examples.",
)  # fmt: skip
@click.option(
    "--features", type=click.Choice(["raw", "pca", "classifier"]),
    help="What distances are measured in; chosen by the data by default.",
)  # fmt: skip
@click.option(
    "--split", type=click.Choice(["test", "valid", "train"]), default="test", show_default=True,
    help="The real examples to hold samples against.",
)  # fmt: skip
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Fixes the samples.")
@click.option("--out", help="A .png, a row of samples for each setting; in the run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def ladder(
    run: str,
    options: tuple[str, ...],
    samplers: str | None,
    steps: str,
    n: int,
    features: str | None,
    split: str,
    seed: int,
    out: str | None,
    as_json: bool,
    device: str,
) -> None:
    """Compares samplers and counts of steps on RUN, whose model has samplers.

    OPTIONS are what the model itself takes beside, such as `--guidance 1`. The table goes into
    `ladder.json` in RUN's folder too. Recommended is the setting of fewest evaluations whose
    distance is within 5% of the best.
    """
    if out and not out.lower().endswith(".png"):
        raise UserError(f"a ladder is drawn as .png, and --out is {out}.")
    counts = _counts(steps)
    from pofx.evaluation.ladder import Ladder, recommended
    from pofx.run import Run

    opened, own = Run(run, device=device), own_options(options)
    check_options(opened, own)
    path = target(opened, out, "ladder.png")
    named = getattr(opened.model, "samplers", ()) if samplers == "all" else _names(samplers)
    found = Ladder(
        opened.model, opened.dataset, samplers=named, steps=counts, n=n, features=features,
        split=split, seed=seed, options=own,
    )  # fmt: skip
    rungs = list(_told(found, quiet=as_json))
    best = recommended(rungs)
    report = _report(found, rungs, best, split)
    if as_json:
        say(json.dumps(report, indent=1))
    else:
        _recommend(found, best)
    _write(opened, rungs, report, Path(path))


def _recommend(found: Ladder, best: Rung) -> None:
    say(f"as many real examples: {found.floor:.3f}, by {found.features.name} features")
    say(
        f"recommended: --sampler {best.sampler} --steps {best.steps}, the fewest evaluations "
        "within 5% of the best distance"
    )


def _names(text: str | None) -> list[str]:
    return [s.strip() for s in (text or "").split(",") if s.strip()]


def _counts(text: str) -> list[int]:
    """`5,10,20` as numbers."""
    words = _names(text)
    if not words or not all(w.isdecimal() and int(w) for w in words):
        raise UserError(
            f"--steps are whole numbers from 1 between commas, such as 5,10,20, and '{text}' came."
        )
    return [int(w) for w in words]


def _told(found: Ladder, *, quiet: bool) -> Any:
    """The rungs, each said as it comes."""
    for i, rung in enumerate(found):
        if not i and not quiet:
            say(f"{'sampler':20s} steps  evaluations  ms a sample  Frechet distance")
        if not quiet:
            say(
                f"{rung.sampler:20s} {rung.steps:5d}  {rung.evaluations:11.1f}  "
                f"{1000 * rung.seconds:11.2f}  {rung.frechet:16.3f}"
            )
        yield rung


def _report(found: Ladder, rungs: list[Rung], best: Rung, split: str) -> dict[str, Any]:
    return {
        "split": split,
        "n": found.n,
        "seed": found.seed,
        "features": {"name": found.features.name, "detail": found.features.detail},
        "options": {k: str(v) for k, v in found.options.items()},
        "floor": found.floor,
        "rungs": [r.to_json() for r in rungs],
        "recommended": {"sampler": best.sampler, "steps": best.steps},
    }


def _write(run: Any, rungs: list[Rung], report: dict[str, Any], path: Path) -> None:
    """The table, and, of images, a row of samples for each rung."""
    import torch

    from pofx.data.pictures import displayed, grid
    from pofx.data.whole import written

    with written(run.path / "ladder.json", "w") as file:
        file.write(json.dumps(report, indent=1) + "\n")
    if not run.spec.is_image:
        return
    sheet = displayed(torch.cat([r.shown for r in rungs]), run.schema)
    with written(path) as file:
        grid(sheet, len(rungs[0].shown)).save(file, "PNG")


COMMANDS = {"ladder": ladder}
