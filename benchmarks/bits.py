"""Bits a pixel of a DDPM by the bound and by the probability flow, on the same test images.

    POFX_DATA=... python benchmarks/bits.py [digits] [fashion-mnist] [--minutes 20]
        [--weights FOLDER]

Both are bounds of the mass of discrete pixels, by the same decoder at the same least noise; between
that noise and the prior the one takes the chain of 1,000 steps, the other the equation, by 50 steps
of Runge and Kutta's method with Hutchinson's trace. The flow should cost no more bits, by two
standard errors, judged pair by pair: each image's difference is the mean of many draws of either.

References:
    Score-based generative modeling through SDEs (Song et al., 2021), table 2: DDPM on CIFAR-10, at
    most 3.70 bits by the bound and 3.28 by the flow.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path

import torch
from fashion import train
from ladder import loaded
from torch import Tensor, nn

from pofx.data.dataset import Dataset
from pofx.data.source import load
from pofx.evaluation.likelihood import per_example, state

IMAGES = {"digits": 180, "fashion-mnist": 200}
MINUTES = {"digits": 3.0, "fashion-mnist": 20.0}
DRAWS = {"digits": (600, 16), "fashion-mnist": (100, 4)}
"""Of the bound, and of the flow, for each image."""
DIRECTIONS = 4


def bits(model: nn.Module, data: Dataset, n: int, draws: int) -> Tensor:
    """Bits a pixel of each of the first test images, the mean of so many draws."""
    x, cond = data.test.values(slice(0, n))
    stated = state(model, 1)
    assert stated is not None
    each = [per_example(model, stated, x.float(), cond, (100, i, None)) for i in range(draws)]
    return torch.stack(each).mean(0) / (-data.spec.size * math.log(2))


def measure(name: str, minutes: float | None, weights: Path | None) -> bool:
    """Prints both, and whether the flow's is the lower."""
    data = load(name)
    if weights is not None:
        model = loaded(data, weights)["last-averaged"].eval()
    else:
        model = train("ddpm", data, minutes or MINUTES[name]).sampled.eval()
    n, start = IMAGES[name], time.process_time()
    chain = bits(model, data, n, DRAWS[name][0])
    flow = bits(model.by_flow(directions=DIRECTIONS), data, n, DRAWS[name][1])
    gain = flow - chain
    for label, each in (("bound", chain), ("flow", flow), ("flow - bound", gain)):
        print(f"{name}: {label} {each.mean():.4f} +- {each.std() / len(each) ** 0.5:.4f} bits")
    met = bool(gain.mean() + 2 * gain.std() / len(gain) ** 0.5 <= 0)
    minutes = (time.process_time() - start) / 60
    print(f"{name}: {len(gain)} images, {minutes:.1f} CPU-minutes: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*IMAGES, []], default=[])
    parser.add_argument("--minutes", type=float, help="of training; 3 and 20 by default")
    parser.add_argument("--weights", type=Path, help="what ladder.py has left of fashion-mnist")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    met = True
    for name in asked.names or IMAGES:
        if name != "digits" and not os.environ.get("POFX_DATA"):
            print(f"{name}: POFX_DATA names no folder of data sets: skipped")
            continue
        met &= measure(name, asked.minutes, asked.weights if name != "digits" else None)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
