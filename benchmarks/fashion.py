"""DDPM, VAEs, flows and PixelCNN++ on Fashion-MNIST, given the same CPU-minutes.

    POFX_DATA=... python benchmarks/fashion.py [--minutes 15] [--out FOLDER] [NAME ...]
    POFX_DATA=... python benchmarks/fashion.py realnvp glow

One thread; the budget is CPU time of the whole process, training alone. Samples of DDPM and VAEs
are drawn evenly from the classes and judged by the project's classifier: how many it gives the
class that was asked for, and the Frechet distance of its features to those of the test images,
beside the floor that as many real images score. A picture of ten of each class, a class a row, lies
in the folder.

Flows are held to bits for each pixel of the 10,000 test images, a bound: pixels are spread evenly
over their cells (uniform dequantisation), one draw each, and go to the real line by a logit, as in
Real NVP. PixelCNN++ knows the mass of each pixel, which is exact. They train in bfloat16 and are
measured in float32, and must stay below 8 bits, which is what knowing nothing costs.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.dataset import Dataset
from pofx.data.source import load
from pofx.data.write import write
from pofx.evaluation.features import Features, build_features
from pofx.evaluation.frechet import frechet_distance
from pofx.evaluation.likelihood import bits_per_dim, likelihood
from pofx.functional.draw import draw
from pofx.recipe import Recipe
from pofx.training.loop import Options, Training

RECIPES = {
    "ddpm": ("ddpm", {}),
    "vae-convolutional": ("vae", {"conditional": True, "network": "conv", "channels": 8}),
    "vae-connected": ("vae", {"conditional": True, "channels": 0, "hidden": (512, 512)}),
}
DENSITIES = {
    "realnvp": ("realnvp", {"lr": 3e-3}),
    "glow": ("glow", {"lr": 3e-3}),
    "tarflow": ("tarflow", {}),
    "residual-flow": ("residual-flow", {}),
    "pixelcnn-pp": ("pixelcnn-pp", {}),
}
SAMPLING = {"ddpm": ({"guidance": 0.0}, {"guidance": 0.5})}
SAMPLES = 5000
AGREEMENT = 0.8
UNIFORM = 8.0


def build(name: str, data: Dataset) -> Recipe:
    """A recipe with the arguments that it has here."""
    torch.manual_seed(0)
    recipe, arguments = (RECIPES | DENSITIES)[name]
    return catalogue.build(recipe, data.spec, **arguments)


def train(
    name: str, data: Dataset, minutes: float, halfway: Callable[[Training], None] | None = None
) -> Training:
    """Trains until so many CPU-minutes are spent, and calls `halfway` when half of them are."""
    options = Options(precision="bfloat16" if name in DENSITIES else "float32")
    training = Training(build(name, data), options=options)
    stream = batches(data.train, training.recipe.batch_size)
    start, shown = time.process_time(), 0
    while (spent := (time.process_time() - start) / (60 * minutes)) < 1:
        metrics = training.train_step(replace(next(stream), progress=spent))
        if halfway and spent >= 0.5:
            halfway(training)
            halfway = None
        if int(10 * spent) > shown:
            shown = int(10 * spent)
            print(f"  {spent:4.0%}  step {training.step:6d}  loss {float(metrics['loss']):.4f}")
    stream.close()
    size = sum(p.numel() for p in training.model.parameters())
    print(f"{name}: {size:,} parameters, {training.step:,} steps of {training.recipe.batch_size}")
    return training


class Judge:
    """What the classifier makes of examples; it is trained once, on the real ones."""

    def __init__(self, data: Dataset) -> None:
        self.features: Features = build_features("classifier", data)
        self.real = self.features(data.test.values()[0]).features

    def __call__(self, name: str, x: Tensor, cond: Tensor) -> tuple[float, float]:
        """Class agreement and Frechet distance to the test images, printed."""
        found = self.features(x)
        agreement = (found.logits.argmax(1) == cond).float().mean().item()
        distance = frechet_distance(found.features, self.real)
        print(f"{name:32s} class as asked {agreement:6.1%}  Frechet distance {distance:7.4f}")
        return agreement, distance


def measure(name: str, data: Dataset, judge: Judge, minutes: float, folder: Path) -> list:
    """Agreement and distance for each way to sample."""
    model = train(name, data, minutes).sampled
    cond = torch.arange(SAMPLES) % data.spec.classes
    rows = torch.arange(data.spec.classes).repeat_interleave(10)
    results = []
    for options in SAMPLING.get(name, ({},)):
        told = " ".join(f"{k} {v:g}" for k, v in options.items())
        x = draw(model, SAMPLES, cond=cond, **options)
        results.append(judge(f"{name} {told}", x, cond))
        picture = folder / f"{name}{told.replace(' ', '-')}.png"
        print(write(draw(model, len(rows), cond=rows, **options), data.schema, picture), flush=True)
    return results


def bits(name: str, data: Dataset, minutes: float, folder: Path) -> float:
    """Bits for each pixel of the test images, printed."""
    model = train(name, data, minutes).sampled
    said = likelihood(model, data.test.values()[0], None, data.spec, batch=500)
    found = bits_per_dim(said, data.spec)
    error = said.stderr / (data.spec.size * math.log(2))
    how = ", ".join(filter(None, [said.kind, said.detail]))
    print(f"{name}: {found:.3f} +- {error:.3f} bits a pixel ({how})")
    print(write(draw(model, 100), data.schema, folder / f"{name}.png"), flush=True)
    return found


def better(found: dict[str, list]) -> bool:
    """Whether DDPM draws the classes that are asked for, and is nearer the data than the VAEs."""
    agreement, ddpm = found["ddpm"][0]
    vae = min(distance for name in RECIPES if name != "ddpm" for _, distance in found[name])
    met = agreement >= AGREEMENT and ddpm < vae
    print(
        f"ddpm: {agreement:.1%} of samples of the class asked, bar {AGREEMENT:.0%}; Frechet "
        f"distance {ddpm:.3f} against {vae:.3f} of the better VAE: {'met' if met else 'MISSED'}"
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*RECIPES, *DENSITIES, []], default=[])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="pofx-fashion-"))
    folder.mkdir(parents=True, exist_ok=True)
    data = load("fashion-mnist")
    names = arguments.names or [*RECIPES, *DENSITIES]
    met = [bits(n, data, arguments.minutes, folder) < UNIFORM for n in names if n in DENSITIES]
    judged = [n for n in names if n in RECIPES]
    if judged:
        judge = Judge(data)
        judge(f"floor: {SAMPLES} real images", *(v[:SAMPLES] for v in data.train.values()))
        found = {n: measure(n, data, judge, arguments.minutes, folder) for n in judged}
        met += [better(found)] if len(found) == len(RECIPES) else []
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
