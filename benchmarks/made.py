"""MADE and NADE on dna: nats of the test data, against independent bits and the bars.

    POFX_DATA=/path/to/data python benchmarks/made.py [made] [nade]

180 binary columns of DNA splice junctions, 1,400 to train on, 600 to choose the weights by and
1,186 to test. Both draw the columns in one random order. MADE has its recipe's defaults; NADE's
width and epochs are those of the least validation loss. One thread; the CPU time is that of the
whole `fit`, checkpoints and all.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import torch

import pofx
from pofx.data.dataset import Dataset
from pofx.evaluation.likelihood import likelihood

SETTINGS = {"made": {"epochs": 200}, "nade": {"epochs": 60, "hidden": 256}}
BARS = {"made": 85.5, "nade": 83.76 + 1.5}
"""NADE's is what MADE reaches here, and 1.5 nats."""


def independent_bits(data: Dataset) -> float:
    """Nats of the test data under the training data's frequencies, each count one more."""
    x, test = data.train.values()[0], data.test.values()[0]
    p = (x.sum(0) + 1) / (len(x) + 2)
    return -(test * p.log() + (1 - test) * (1 - p).log()).sum(1).mean().item()


def measure(name: str, data: Dataset) -> bool:
    """Whether a recipe reaches its bar."""
    arguments, epoch = dict(SETTINGS[name]), len(data.train) // 100
    steps = arguments.pop("epochs") * epoch
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = pofx.fit(
            name, data, out=Path(folder) / "run", steps=steps, save_every=5 * epoch,
            keep="best", sample_every=10**9, threads=1, quiet=True, batch_size=100, **arguments,
        )  # fmt: skip
        seconds = time.process_time() - start
        valid, found = (
            likelihood(run.model, *part.values(), data.spec) for part in (data.valid, data.test)
        )
    assert valid is not None
    assert found is not None
    met = -found.nats <= BARS[name]
    print(
        f"{name}, {run.step} of {steps} steps, {seconds:.1f} CPU seconds: test NLL "
        f"{-found.nats:.2f} +- {found.stderr:.2f} nats ({found.kind}), validation "
        f"{-valid.nats:.2f}; bar {BARS[name]:.2f}: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def main(asked: list[str]) -> int:
    """0 where the bars are met, or nothing is there to measure; 1 where one is missed."""
    if not os.environ.get("POFX_DATA"):
        print("skipped: dna is read from the folder that POFX_DATA names, and it names none.")
        return 0
    if unknown := set(asked) - set(SETTINGS):
        print(f"there is no setting {', '.join(unknown)}; {__doc__}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    data = pofx.load_data("dna")
    print(f"independent bits {independent_bits(data):.2f} nats")
    return 0 if all([measure(name, data) for name in asked or SETTINGS]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
