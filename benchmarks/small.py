"""Defaults on a few examples: nats of test data against independent bits and the truth.

    python benchmarks/small.py [sparse] [dense] [few] [--recipes made,nade] [--seconds 10]
    python benchmarks/small.py [sparse] --grid

Bits of a mixture of twelve products of Bernoulli distributions, whose log-likelihood is known: 400
rows of 500 bits, about a third of them ones, like the words of papers; the same with half of them
ones; and 60 rows of the first. Every recipe with a likelihood is trained by `pofx.fit` with its
defaults, and `minutes` for a box of so many seconds of one thread; what was noticed while it
trained is printed beside the test data's nats.

The bars: no recipe is worse than independent bits (each count a half more), and `made` and `nade`
are within 3% of the best of the settings in `GRID`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pofx
from pofx import catalogue
from pofx.errors import UserError
from pofx.evaluation.likelihood import likelihood
from pofx.recipe import RecipeError

SIZE, COMPONENTS, HELD = 500, 12, 100
SETS = {"sparse": (400, -1.0), "dense": (400, 0.0), "few": (60, -1.0)}
"""Rows to train on, and the mean log-odds of a bit."""
SPREAD, APART = 0.9, 0.75
"""Standard deviations of log-odds: of the bits, and of a bit's in one component from the others."""
ROUNDING = 1e-3
"""Nats by which sums of single precision differ."""
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


def saved(parts: dict[str, Tensor], folder: Path) -> Path:
    """The file that a user would have."""
    path = folder / "bits.npz"
    np.savez(path, **{k: v.numpy().astype(np.uint8) for k, v in parts.items()})
    return path


def independent_bits(parts: dict[str, Tensor]) -> float:
    """Nats of the test data under the training data's frequencies, each count a half more."""
    x, y = parts["train"], parts["test"]
    p = (x.sum(0) + 0.5) / (len(x) + 1)
    return -(y * p.log() + (1 - y) * (1 - p).log()).sum(1).mean().item()


def measure(name: str, path: Path, seconds: float, **arguments: Any) -> float | None:
    """Prints and returns the nats of the test data; None of a recipe that has none."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        try:
            run = pofx.fit(
                name, path, out=Path(out) / "run", minutes=seconds / 60, device="cpu", threads=1,
                quiet=True, **arguments,
            )  # fmt: skip
        except RecipeError:
            return None
        except UserError as error:
            print(f"{name:17} ended: {error}", flush=True)
            return float("inf")
        spent = time.process_time() - start
        test = run.dataset.test
        found = likelihood(run.model, *test.values(), run.dataset.spec, samples=50)
        named = symptoms(run.path)
    if found is None:
        return None
    settings = " ".join(f"{k}={v}" for k, v in arguments.items())
    print(
        f"{name:17} {-found.nats:9.2f} +- {found.stderr:.2f} {found.kind:8} {spent:5.1f} s "
        f"{', '.join(named) or '-'} {settings}",
        flush=True,
    )
    return -found.nats


def symptoms(folder: Path) -> list[str]:
    """The names of what was noticed while it trained, each once."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return list(dict.fromkeys(r["symptom"] for r in records if "symptom" in r))


def compare(which: str, names: list[str], seconds: float, seed: int) -> bool:
    """Whether no recipe is worse than independent bits."""
    parts, truth = mixture(which, seed)
    alone = independent_bits(parts)
    print(
        f"{which}, seed {seed}: {len(parts['train'])} rows; truth {truth:.2f}, "
        f"independent bits {alone:.2f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = saved(parts, Path(folder))
        found = {name: measure(name, path, seconds) for name in names}
    worse = [
        name for name, nats in found.items() if nats is not None and not nats <= alone + ROUNDING
    ]
    print(f"{which}: worse than independent bits: {', '.join(worse) or 'none'}")
    return not worse


def search(which: str, names: list[str], seconds: float, seed: int) -> bool:
    """Whether the defaults are within 3% of the best of `GRID`."""
    parts, truth = mixture(which, seed)
    met = True
    alone = independent_bits(parts)
    print(f"{which}, seed {seed}: truth {truth:.2f}, independent bits {alone:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = saved(parts, Path(folder))
        for name in (n for n in GRID if n in names):
            default = measure(name, path, seconds)
            best = min(measure(name, path, seconds, **s) or float("inf") for s in GRID[name])
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
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the mixture")
    parser.add_argument("--grid", action="store_true", help="search the settings in GRID instead")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.recipes.split(",") if asked.recipes else list(catalogue.entries())
    if not asked.recipes:
        names = [n for n in names if n not in SLOW]
    met = True
    for which in asked.sets or SETS:
        check = search if asked.grid else compare
        met &= check(which, names, asked.seconds, asked.seed)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
