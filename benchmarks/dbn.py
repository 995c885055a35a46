"""A deep belief network of binarised MNIST, and the RBM that is its first layer.

    POFX_DATA=... python benchmarks/dbn.py [--precision bfloat16] [--hidden 1000] [--out FOLDER]

Training images are binarised anew at every presentation, test images once, by a fixed seed. The
RBM has 500 hidden units and is trained by persistent CD; the second layer starts tied to it, where
the bound is the RBM's likelihood, and must end above. Both constants are by AIS with 100 chains
over 5,000 temperatures, the RBM's also from above, from samples of 2,000 Gibbs sweeps. A picture
of samples lies in the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.source import load
from pofx.data.write import write
from pofx.evaluation.likelihood import likelihood
from pofx.functional.draw import draw
from pofx.mcmc.ais import temperatures
from pofx.training.checkpoint import save_model
from pofx.training.loop import Budget, Options, Training, train

STEPS, TEMPERATURES = 40_000, 5_000
RBM_BAR, RBM_MINUTES = -91.0, 15.0


def trained(dataset, hidden: int, precision: str):
    """The network, with the CPU-minutes of its first layer and of all."""
    recipe = catalogue.build(
        "dbn", dataset.spec, hidden=(500, hidden), steps=STEPS, temperatures=TEMPERATURES
    )
    training = Training(recipe, options=Options(precision=precision))
    stream = batches(dataset.train, recipe.batch_size)
    start, first = time.process_time(), 0.0
    for step in train(training, stream, Budget(steps=STEPS)):
        if step.number == STEPS // 2:
            first = (time.process_time() - start) / 60
        if step.number % 5000 == 0:
            gap = float(step.metrics["energy_gap"])
            print(f"  step {step.number}: energy gap {gap:.2f}", flush=True)
    return recipe.model.eval(), first, (time.process_time() - start) / 60


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--hidden", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="pofx-dbn-"))
    folder.mkdir(parents=True, exist_ok=True)
    dataset = load("mnist", binarize="dynamic")
    model, first, minutes = trained(dataset, arguments.hidden, arguments.precision)
    save_model(folder / "model.safetensors", model.state_dict(), {"step": str(STEPS)})
    write(draw(model, 100), dataset.schema, folder / "samples.png")
    x, cond = dataset.test.values()
    rbm = model.layers[0]
    rbm.temperatures = TEMPERATURES
    below, bound = (likelihood(m, x, cond, dataset.spec) for m in (rbm, model))
    assert below is not None
    assert bound is not None
    met = below.nats >= RBM_BAR and first <= RBM_MINUTES
    print(
        f"RBM 784-500: test log p(x) {below.nats:.2f} +- {below.stderr:.2f} nats ({below.kind}, "
        f"{below.detail}), trained in {first:.1f} CPU-minutes; bars {RBM_BAR:g} nats, "
        f"{RBM_MINUTES:g} minutes: {'met' if met else 'MISSED'}",
        flush=True,
    )
    print(
        f"DBN 784-500-{arguments.hidden}: test bound {bound.nats:.2f} +- {bound.stderr:.2f} nats "
        f"({bound.kind}, {bound.detail}), trained in {minutes:.1f} CPU-minutes; bar the RBM's: "
        f"{'met' if bound.nats >= below.nats else 'MISSED'}; {folder / 'samples.png'}",
        flush=True,
    )
    ends = rbm.sample(100, sweeps=2000)
    forward, backward = rbm.sandwich(temperatures(TEMPERATURES), 100, ends)
    print(
        f"the RBM's log Z: {forward.log_z:.2f} +- {forward.stderr:.2f} forwards, "
        f"{backward.log_z:.2f} +- {backward.stderr:.2f} backwards",
        flush=True,
    )
    return 0 if met and bound.nats >= below.nats else 1


if __name__ == "__main__":
    sys.exit(main())
