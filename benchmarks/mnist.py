"""Binarised MNIST, ten or fifteen minutes of one core each: models against known rows.

    POFX_DATA=... python benchmarks/mnist.py [vae] [iwae] [made] [rbm] [--precision bfloat16]

Training images are binarised anew at every presentation, test images once, by a fixed seed. The
VAE is 784-200-200-50; its test NLL is by 500 importance samples for each of the 10,000 images. The
IWAE is the same with five codes to an example, and must be a nat better than the VAE. The MADE has
one order and 1,000 hidden units, and its NLL is exact. The RBM has 500 hidden units and is trained
by persistent CD; its log Z is by AIS with 100 chains over 14,500 temperatures. A picture of samples
lies in each run's folder.
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
from pofx.training.loop import Options

RUNS = {
    "vae": {
        "latent": 50, "hidden": (200, 200), "channels": 0, "lr": 2e-3, "kl_warmup": 0.1,
        "steps": 57_000,
    },
    "iwae": {
        "k": 5, "latent": 50, "hidden": (200, 200), "channels": 0, "lr": 2e-3, "kl_warmup": 0.1,
        "steps": 62_000,
    },
    "made": {"hidden": (1000,), "steps": 20_000},
    "rbm": {
        "hidden": 500, "lr": 0.05, "k": 1, "weight_decay": 0.0, "steps": 70_000,
        "temperatures": 14_500,
    },
}  # fmt: skip
BARS = {"vae": -92.0, "iwae": -87.5, "made": -95.0, "rbm": -95.0}
MOST_MINUTES = {"vae": 10.0, "iwae": 15.0, "made": 15.0, "rbm": 10.0}


def measure(name: str, folder: Path, options: Options) -> bool:
    start = time.process_time()
    run = pofx.fit(
        name, data="mnist", data_options={"binarize": "dynamic"}, out=folder / name, threads=1,
        sample_every=10**9, options=options, **RUNS[name],
    )  # fmt: skip
    minutes = (time.process_time() - start) / 60
    x, cond = run.dataset.test.values()
    said = likelihood(run.model, x, cond, run.spec, samples=500)
    how = ", ".join(filter(None, [said.kind, said.detail]))
    run.save(run.sample(100), folder / f"{name}.png")
    met = said.nats >= BARS[name] and minutes <= MOST_MINUTES[name]
    print(
        f"{name}: test log p(x) {said.nats:.2f} +- {said.stderr:.2f} nats ({how}), "
        f"trained in {minutes:.1f} CPU-minutes; bars {BARS[name]:g} nats, "
        f"{MOST_MINUTES[name]:g} minutes: {'met' if met else 'MISSED'}; {folder / name}.png",
        flush=True,
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], default=[])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="pofx-mnist-"))
    options = Options(precision=arguments.precision)
    met = [measure(name, folder, options) for name in arguments.names or RUNS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
