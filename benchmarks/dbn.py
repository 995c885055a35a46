"""A deep belief network of binarised MNIST, and the RBM that is its first layer.

    POFX_DATA=... python benchmarks/dbn.py [--precision bfloat16] [--hidden 1000] [--steps 50000]
        [--temperatures 14500] [--out FOLDER]

Training images are binarised anew at every presentation, test images once, by a fixed seed. The
RBM has 500 hidden units and is trained by persistent CD; its log Z is by AIS with 100 chains. The
second layer starts tied to it, where the bound is the RBM's likelihood, and must end above: the
difference of the two is by AIS from the tied layer to the trained one, both ways, which is far more
exact than either constant. A picture of samples lies in the folder.
"""

from __future__ import annotations

import argparse
import math
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
from pofx.ebm.belief_network import tie
from pofx.ebm.harmonium import Harmonium
from pofx.ebm.interpolated_path import InterpolatedPath
from pofx.ebm.units import Bits
from pofx.evaluation.likelihood import likelihood
from pofx.functional.draw import draw
from pofx.mcmc.ais import ais, reverse_ais
from pofx.training.checkpoint import save_model
from pofx.training.loop import Budget, Options, Training, train

RBM_BAR, RBM_MINUTES = -91.0, 15.0


def trained(dataset, asked: argparse.Namespace):
    """The network, with the CPU-minutes of its first layer and of all."""
    recipe = catalogue.build(
        "dbn", dataset.spec, hidden=(500, asked.hidden), steps=asked.steps,
        temperatures=asked.temperatures,
    )  # fmt: skip
    training = Training(recipe, options=Options(precision=asked.precision))
    stream = batches(dataset.train, recipe.batch_size)
    start, first = time.process_time(), 0.0
    for step in train(training, stream, Budget(steps=asked.steps)):
        if step.number == asked.steps // 2:
            first = (time.process_time() - start) / 60
        if step.number % 5000 == 0:
            gap = float(step.metrics["energy_gap"])
            print(f"  step {step.number}: energy gap {gap:.2f}", flush=True)
    return recipe.model.eval(), first, (time.process_time() - start) / 60


@torch.no_grad()
def gain(model, x, temperatures: int):
    """The bound less the RBM's log-likelihood, nats, from above and from below, with errors."""
    rbm, top = model.layers
    tied = Harmonium(Bits((500,)), top.hidden_shape[0])
    tied.weight.zero_()
    tie(rbm, tied)
    spare = (top.hidden_shape[0] - 784) * math.log(2)
    path = InterpolatedPath(tied, top)
    betas = torch.linspace(0, 1, temperatures).tolist()
    ends = path.state(top.sample(100, sweeps=1000))
    apart = torch.cat([rbm.energy(part) - model.energy_bound(part) for part in x.split(500)])
    error = float(apart.std()) / len(x) ** 0.5
    for found in (ais(path, betas, 100), reverse_ais(path, betas, ends)):
        yield float(apart.mean()) - found.log_z - spare, math.hypot(error, found.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--hidden", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--temperatures", type=int, default=14_500)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = asked.out or Path(tempfile.mkdtemp(prefix="pofx-dbn-"))
    folder.mkdir(parents=True, exist_ok=True)
    dataset = load("mnist", binarize="dynamic")
    model, first, minutes = trained(dataset, asked)
    save_model(folder / "model.safetensors", model.state_dict(), {"step": str(asked.steps)})
    write(draw(model, 100), dataset.schema, folder / "samples.png")
    x, cond = dataset.test.values()
    below = likelihood(model.layers[0], x, cond, dataset.spec)
    assert below is not None
    met = below.nats >= RBM_BAR and first <= RBM_MINUTES
    print(
        f"RBM 784-500: test log p(x) {below.nats:.2f} +- {below.stderr:.2f} nats ({below.kind}, "
        f"{below.detail}), trained in {first:.1f} CPU-minutes; bars {RBM_BAR:g} nats, "
        f"{RBM_MINUTES:g} minutes: {'met' if met else 'MISSED'}",
        flush=True,
    )
    (forward, error), (backward, other) = gain(model, x.float(), asked.temperatures)
    above = min(forward, backward) > 0
    print(
        f"DBN 784-500-{asked.hidden}: its bound is {forward:.2f} +- {error:.2f} nats above that "
        f"by AIS forwards, {backward:.2f} +- {other:.2f} backwards; trained in {minutes:.1f} "
        f"CPU-minutes; bar 0: {'met' if above else 'MISSED'}; {folder / 'samples.png'}",
        flush=True,
    )
    return 0 if met and above else 1


if __name__ == "__main__":
    sys.exit(main())
