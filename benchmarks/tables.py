"""Flows on two small tables: held-out log-likelihood of each, above a Gaussian.

    POFX_DATA=... python benchmarks/tables.py [--sets wine banknote] [--steps 3000]

The white wines' eleven measurements and the banknotes' four, each column standardised by the
training rows; a tenth of the rows validates and chooses the weights, a tenth is held out. Figures
are nats for each row, in standardised units. Splines must come out above MAF, MAF above RealNVP,
and that above a Gaussian with a full covariance.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

import pofx
from pofx.evaluation.likelihood import likelihood

SETS = {
    "wine": ("winequality-white.csv", "column 12"),
    "banknote": ("banknote_authentication.csv", "column 5"),
}
NETS = {"hidden": (64, 64), "batch_size": 256, "lr": 5e-4}
RECIPES = {
    "Gaussian": ("gmm", {"components": 1, "covariance": "full", "prior": 0.0}),
    "RealNVP": ("realnvp", {"layers": 8, **NETS}),
    "MAF": ("maf", {"layers": 10, **NETS}),
    "NSF": ("nsf", {"layers": 4, **NETS}),
}


def measure(path: Path, label: str, name: str, steps: int, folder: Path) -> float:
    recipe, arguments = RECIPES[name]
    budget = {} if name == "Gaussian" else {"steps": steps, "keep": "best", "threads": 1}
    start = time.process_time()
    run = pofx.fit(
        recipe, path, out=folder / name, data_options={"label": label}, quiet=True,
        sample_every=10**9, save_every=max(1, steps // 20), **budget, **arguments,
    )  # fmt: skip
    seconds = time.process_time() - start
    x, _ = run.dataset.test.values()
    said = likelihood(run.model, x, None, run.spec)
    nats = said.nats + run.spec.log_scale
    print(
        f"  {name:10s} {nats:9.3f} +- {said.stderr:.3f} nats ({said.kind})   step {run.step:5d}   "
        f"{seconds:5.0f} CPU-s",
        flush=True,
    )
    return nats


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    home = os.environ.get("POFX_DATA")
    if not home:
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    status = 0
    for name in arguments.sets:
        file, label = SETS[name]
        path = Path(home, "tabular-uci", file)
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            found = [measure(path, label, kind, arguments.steps, Path(folder)) for kind in RECIPES]
        met = all(a < b for a, b in pairwise(found))
        print(f"  each above the one before: {'met' if met else 'MISSED'}", flush=True)
        status = max(status, 0 if met else 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
