"""Defaults on a few examples: nats of test data against independent bits and the truth.

    python benchmarks/small.py [sparse] [dense] [few] [--recipes made,nade] [--seconds 15]
    python benchmarks/small.py [sparse] --grid

Bits of a mixture of twelve products of Bernoulli distributions, whose log-likelihood is known: 400
rows of 500 bits, about a third of them ones, like the words of papers; the same with half of them
ones; and 60 rows of the first. Every recipe with a likelihood is trained by its defaults, for at
most so many seconds of one thread; the weights kept are those of the least validation loss, which
is looked at after every epoch at first, and then each time that training is a tenth longer.

The bars: no recipe is worse than independent bits (each count a half more), and `made` and `nade`
are within 3% of the best of the settings in `GRID`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pofx import catalogue
from pofx.capabilities import Fits
from pofx.data.batches import batches
from pofx.data.dataset import Dataset
from pofx.data.source import load
from pofx.evaluation.likelihood import likelihood
from pofx.recipe import Recipe, RecipeError
from pofx.training.loop import Budget, Training, train
from pofx.training.validation import validation_loss

SIZE, COMPONENTS, HELD = 500, 12, 100
SETS = {"sparse": (400, -1.0), "dense": (400, 0.0), "few": (60, -1.0)}
"""Rows to train on, and the mean log-odds of a bit."""
SPREAD, APART = 0.9, 0.75
"""Standard deviations of log-odds: of the bits, and of a bit's in one component from the others."""
SLOW = ("iaf", "ffjord", "residual-flow", "gpt", "wavenet", "d3pm", "mdlm")
GRID: dict[str, list[dict[str, Any]]] = {
    "made": [
        {"hidden": (hidden,), "direct": direct, "weight_decay": decay, "lr": lr}
        for hidden, direct, decay, lr in [
            (500, True, 1.0, 1e-3), (500, True, 10.0, 1e-3), (500, False, 1.0, 1e-3),
            (500, False, 10.0, 1e-3), (100, True, 1.0, 1e-3), (100, True, 10.0, 1e-3),
            (100, False, 1.0, 1e-3), (100, False, 10.0, 1e-3), (32, True, 10.0, 1e-3),
            (32, False, 1.0, 1e-3), (32, False, 10.0, 1e-3), (16, False, 1.0, 1e-3),
            (16, False, 10.0, 3e-3), (16, False, 30.0, 1e-3), (64, False, 30.0, 1e-3),
            (64, False, 3.0, 3e-4), (500, True, 30.0, 3e-4), (500, False, 30.0, 3e-4),
            (8, False, 3.0, 1e-2), (32, False, 3.0, 1e-2),
        ]
    ],
    "nade": [
        {"hidden": hidden, "weight_decay": decay, "lr": lr}
        for hidden, decay, lr in [
            (500, 0.1, 5e-3), (500, 1.0, 1e-3), (500, 10.0, 1e-3), (500, 30.0, 1e-3),
            (500, 3.0, 3e-4), (100, 0.1, 5e-3), (100, 1.0, 1e-3), (100, 10.0, 1e-3),
            (100, 30.0, 1e-3), (100, 10.0, 5e-3), (32, 0.1, 5e-3), (32, 1.0, 5e-3),
            (32, 10.0, 5e-3), (32, 10.0, 1e-3), (32, 30.0, 1e-3), (16, 1.0, 5e-3),
            (16, 10.0, 5e-3), (16, 10.0, 1e-3), (8, 1.0, 5e-3), (8, 10.0, 5e-3),
        ]
    ],
}  # fmt: skip
"""Twenty settings each, of width, direct connections, weight decay and learning rate; how long to
train is chosen by validation in all of them.
"""


def mixture(name: str, seed: int = 0) -> tuple[dict[str, Tensor], float]:
    """Train, valid and test parts, and the mean nats of the test part under the truth."""
    rows, odds = SETS[name]
    g = torch.Generator().manual_seed(seed)
    common = odds + SPREAD * torch.randn(SIZE, generator=g)
    logits = common + APART * torch.randn(COMPONENTS, SIZE, generator=g)
    n = rows + 2 * HELD
    owner = torch.randint(COMPONENTS, (n,), generator=g)
    x = torch.bernoulli(logits[owner].sigmoid(), generator=g)
    parts = dict(zip(("train", "valid", "test"), x.split([rows, HELD, HELD]), strict=True))
    y = parts["test"].double()
    each = y @ logits.double().T - torch.nn.functional.softplus(logits.double()).sum(1)
    truth = each.logsumexp(1) - np.log(COMPONENTS)
    return parts, -float(truth.mean())


def loaded(parts: dict[str, Tensor]) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bits.npz"
        np.savez(path, **{k: v.numpy().astype(np.uint8) for k, v in parts.items()})
        return load(path)


def independent_bits(parts: dict[str, Tensor]) -> float:
    """Nats of the test data under the training data's frequencies, each count a half more."""
    x, y = parts["train"], parts["test"]
    p = (x.sum(0) + 0.5) / (len(x) + 1)
    return -(y * p.log() + (1 - y) * (1 - p).log()).sum(1).mean().item()


def trained(recipe: Recipe, data: Dataset, seconds: float) -> tuple[nn.Module, str]:
    """The model with the weights of the least validation loss, and when that was."""
    if recipe.objective is None:
        assert isinstance(recipe.model, Fits)
        recipe.model.fit(*data.train.values())
        return recipe.model, "fitted"
    training = Training(recipe)
    stream = batches(data.train, recipe.batch_size)
    epoch = max(1, len(data.train) // recipe.batch_size)
    best, kept, look, start = float("inf"), (0, recipe.model), epoch, time.process_time()
    for step in train(training, stream, Budget(steps=recipe.steps)):
        late = time.process_time() - start > seconds
        if step.number >= look or late:
            look = max(step.number + epoch, int(1.1 * step.number))
            loss = validation_loss(training, data.valid)
            if loss is None or loss < best:
                best = best if loss is None else loss
                kept = (step.number, copy.deepcopy(training.sampled))
        if late:
            break
    return kept[1], f"step {kept[0]} of {training.step}"


def measure(name: str, data: Dataset, seconds: float, **arguments: Any) -> float | None:
    """Prints and returns the nats of the test data; None of a recipe that has none."""
    torch.manual_seed(0)
    try:
        recipe = catalogue.build(name, data.spec, **arguments)
    except RecipeError:
        return None
    start = time.process_time()
    model, when = trained(recipe, data, seconds)
    spent = time.process_time() - start
    found = likelihood(model, *data.test.values(), data.spec, samples=50)
    if found is None:
        return None
    settings = " ".join(f"{k}={v}" for k, v in arguments.items())
    print(
        f"{name:15} {-found.nats:9.2f} +- {found.stderr:.2f} {found.kind:8} {when:20} "
        f"{spent:5.1f} s {settings}",
        flush=True,
    )
    return -found.nats


def compare(which: str, names: list[str], seconds: float) -> bool:
    """Whether no recipe is worse than independent bits."""
    parts, truth = mixture(which)
    data, alone = loaded(parts), independent_bits(parts)
    print(f"{which}: {len(data.train)} rows; truth {truth:.2f}, independent bits {alone:.2f}")
    found = {name: measure(name, data, seconds) for name in names}
    worse = [name for name, nats in found.items() if nats is not None and not nats <= alone]
    print(f"{which}: worse than independent bits: {', '.join(worse) or 'none'}")
    return not worse


def search(which: str, seconds: float) -> bool:
    """Whether the defaults are within 3% of the best of `GRID`."""
    parts, truth = mixture(which)
    data, met = loaded(parts), True
    print(f"{which}: truth {truth:.2f}, independent bits {independent_bits(parts):.2f}")
    for name, settings in GRID.items():
        default = measure(name, data, seconds)
        best = min(measure(name, data, seconds, **s) or float("inf") for s in settings)
        assert default is not None
        met &= default <= 1.03 * best
        print(f"{which}: {name} {default:.2f}, best {best:.2f}: {default / best - 1:+.1%}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=[])
    parser.add_argument("--recipes", help="between commas; all by default but the slowest")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--grid", action="store_true", help="search the settings in GRID instead")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.recipes.split(",") if asked.recipes else list(catalogue.entries())
    if not asked.recipes:
        names = [n for n in names if n not in SLOW]
    met = True
    for which in asked.sets or SETS:
        met &= search(which, asked.seconds) if asked.grid else compare(which, names, asked.seconds)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
