"""Families on the same digits, each trained for the same CPU time: what each says of log p(x), how
its samples do, and what they cost.

    python benchmarks/families.py [--minutes 1] [--recipes vae realnvp ...] [--out runs/families]

One thread. A recipe is timed for some steps first, and then given as many as fit into the minutes,
so that the table does not depend on what else the machine does; the best weights on the validation
digits are kept, where a loss tells them. Yardsticks are fitted at once. Autoencoders have no prior:
a mixture of Gaussians on their codes draws. Prints a table in Markdown, and saves a picture of
every recipe's samples.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

import pofx
from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.source import load
from pofx.run import Run
from pofx.training.loop import Budget, Training
from pofx.training.loop import train as train_on

YARDSTICKS = ("ppca", "gmm", "kde")
AUTOENCODERS = ("autoencoder", "denoising", "sparse")
RECIPES = (
    *YARDSTICKS, *AUTOENCODERS, "vae", "beta-vae", "iwae", "vamp", "iaf-vae", "ladder-vae",
    "nice", "realnvp", "glow", "maf", "nsf", "ffjord", "residual-flow", "tarflow",
    "made", "pixelcnn", "pixelcnn-pp", "pixelrnn",
    "gan", "wgan-gp", "deep-energy",
    "ddpm", "improved-ddpm", "score-sde", "edm", "flow-matching", "rectified-flow", "ncsn",
)  # fmt: skip
TIMED = 30
DRAWN = 1000


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def train(recipe: str, folder: Path, steps: int) -> Run:
    budget = {} if recipe in YARDSTICKS else {"steps": steps, "keep": "best"}
    how = {"threads": 1, "quiet": True, "sample_every": 10**9, "save_every": max(50, steps // 20)}
    return pofx.fit(recipe, "digits", out=folder, **how, **budget)


def steps_within(recipe: str, seconds: float) -> int:
    """How many steps take so long, by the steps of a warm training loop."""
    torch.manual_seed(0)
    data = load("digits")
    training = Training(catalogue.build(recipe, data.spec))
    with closing(batches(data.train, training.recipe.batch_size)) as stream:
        steps = train_on(training, stream, Budget(steps=TIMED))
        spent = [cpu_seconds(lambda: next(steps)) for _ in range(TIMED)]
    return max(1, math.floor(seconds / statistics.median(spent)))


def row(recipe: str, minutes: float, folder: Path) -> str:
    """A line of the table: trains, evaluates, and saves what it draws."""
    fitted = recipe in YARDSTICKS
    steps = 1 if fitted else steps_within(recipe, 60 * minutes)
    run: Run | None = None

    def work() -> None:
        nonlocal run
        run = train(recipe, folder / recipe, steps)

    spent = cpu_seconds(work)
    assert run is not None
    prior = None
    if recipe in AUTOENCODERS:
        codes, _ = run.encode()
        prior = pofx.fit("gmm", codes.numpy(), out=folder / f"{recipe}-gmm", threads=1, quiet=True)
    report = run.evaluate(prior=prior)
    seconds = cpu_seconds(lambda: run.sample(DRAWN, prior=prior))
    run.save(run.sample(64, prior=prior), folder / f"{recipe}.png")
    said, frechet = report.likelihood, report.metrics["frechet"]
    sign = {"exact": "", "bound": "<= ", "estimate": "~ "}
    bits = "" if said is None else f"{sign[said.kind]}{report.bits_per_dim:.3f}"
    kind = "" if said is None else f"{said.kind}{', ' if said.detail else ''}{said.detail}"
    name = f"{recipe}, gmm on its codes" if prior else recipe
    figures = (name, bits, kind, f"{frechet.value:.2f}", f"{1e3 * seconds / DRAWN:.2f}")
    return f"| {' | '.join(figures)} | {'' if fitted else f'{steps:,}'} | {spent:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    unknown = [name for name in arguments.recipes if name not in catalogue.entries()]
    if unknown:
        print(f"there is no recipe {', '.join(unknown)}", file=sys.stderr)
        return 2
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="pofx-families-"))
    print(
        "| recipe | bits/dim | kind | Frechet distance | ms a sample | steps | CPU s |\n"
        "|---|---|---|---|---|---|---|"
    )
    for recipe in arguments.recipes:
        print(row(recipe, arguments.minutes, folder), flush=True)
    print(f"pictures: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
