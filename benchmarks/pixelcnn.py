"""A gated PixelCNN on binarised MNIST in 15 minutes of one core; its samples against naive ones.

    POFX_DATA=... python benchmarks/pixelcnn.py [--steps N] [--precision float32] [--out FOLDER]

Training images are binarised anew at every presentation, test images once, by a fixed seed. The
test NLL is exact, of all 10,000 images. Sampling by kept columns is timed beside a pass of the rows
down to each new pixel, of the same noise. A picture of samples lies in the run's folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

import pofx
from pofx.evaluation.likelihood import likelihood
from pofx.functional.random import noise
from pofx.training.loop import Options

BAR = 92.0
MOST_MINUTES = 15.0
LEAST_SPEEDUP = 30.0
NAIVE = 16
"""Images drawn either way."""


def timed(draw):
    """What is drawn, and the CPU seconds it took."""
    with noise(0, NAIVE), torch.no_grad():
        start = time.process_time()
        x = draw()
        return x, time.process_time() - start


def measure_sampling(model) -> bool:
    kept, fast = timed(lambda: model.sample(NAIVE))
    naive, slow = timed(lambda: model.naive(NAIVE))
    same = int((kept == naive).flatten(1).all(1).sum())
    met = slow >= LEAST_SPEEDUP * fast
    print(
        f"{NAIVE} samples of {tuple(kept.shape[1:])}: {fast:.2f} CPU seconds with kept columns, "
        f"{slow:.1f} naively, {slow / fast:.0f} times as long; {same} of {NAIVE} are equal; bar "
        f"{LEAST_SPEEDUP:g} times: {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met and same == NAIVE


def measure_likelihood(folder: Path, steps: int, options: Options):
    start = time.process_time()
    run = pofx.fit(
        "pixelcnn", data="mnist", data_options={"binarize": "dynamic"}, out=folder / "pixelcnn",
        steps=steps, sample_every=10**9, threads=1, options=options,
    )  # fmt: skip
    minutes = (time.process_time() - start) / 60
    found = likelihood(run.model, *run.dataset.test.values(), run.spec)
    assert found is not None
    met = -found.nats <= BAR and minutes <= MOST_MINUTES
    print(
        f"pixelcnn, {steps} steps: test NLL {-found.nats:.2f} +- {found.stderr:.2f} nats "
        f"({found.kind}), trained in {minutes:.1f} CPU-minutes; bars {BAR:g} nats, "
        f"{MOST_MINUTES:g} minutes: {'met' if met else 'MISSED'}",
        flush=True,
    )
    print(run.save(run.sample(100), folder / "pixelcnn.png"), flush=True)
    return run.model, met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="pofx-pixelcnn-"))
    options = Options(precision=arguments.precision)
    model, met = measure_likelihood(folder, arguments.steps, options)
    return 0 if measure_sampling(model) and met else 1


if __name__ == "__main__":
    sys.exit(main())
