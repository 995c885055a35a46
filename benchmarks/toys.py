"""RealNVP on known densities: how far its NLL is from the entropy, and its integral and inverse.

    python benchmarks/toys.py
    python benchmarks/toys.py --data pinwheel rings --set layers=16

Trains through `pofx.fit` with the recipe's own defaults, one thread. The NLL is that of fresh exact
draws; no model can fall below the entropy, and the difference of the two is the divergence KL(data
| model). It is also estimated draw by draw, as the mean of log p - log q, which has the smaller
standard error. The density is then added up on a grid, and the inverse is held against the map in
float64. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

import pofx
from pofx.data import toy

NLL_BAR, INTEGRAL_BAR, INVERSE_BAR = 0.05, 1e-3, 1e-8
_DRAWS = 200_000
_TEST_SEED = 987_654
"""Training draws its examples from seed 0."""


@torch.no_grad()
def log_prob(model, x: Tensor, size: int = 20_000) -> Tensor:
    """The model's log-densities, block by block."""
    return torch.cat([model.log_prob(b) for b in x.split(size)])


def likelihood(model, name: str) -> bool:
    """Prints test NLL, entropy and their difference; whether that meets the bar."""
    truth = toy.density(name)
    x = toy.examples(name, _TEST_SEED, _DRAWS)
    log_q = log_prob(model, x).double()
    excess = truth.log_prob(x.double()) - log_q
    nll, entropy = -log_q.mean().item(), truth.entropy()
    errors = [v.std().item() / _DRAWS**0.5 for v in (log_q, excess)]
    met = nll - entropy <= NLL_BAR
    print(
        f"  test NLL {nll:.4f} +- {errors[0]:.4f}   entropy {entropy:.4f}   difference "
        f"{nll - entropy:.4f}   bar {NLL_BAR:g}: {verdict(met)}\n"
        f"  draw by draw: KL {excess.mean().item():.4f} +- {errors[1]:.4f}"
    )
    return met


def integral(model, reach: float, points: int = 1500) -> bool:
    """Adds the density up on a grid."""
    axis = torch.linspace(-reach, reach, points)
    total = sum(
        log_prob(model, torch.cartesian_prod(rows, axis)).double().exp().sum().item()
        for rows in axis.split(50)
    )
    total *= (2 * reach / (points - 1)) ** 2
    met = abs(total - 1) <= INTEGRAL_BAR
    print(f"  integral {total:.5f} on a grid   bar 1 +- {INTEGRAL_BAR:g}: {verdict(met)}")
    return met


@torch.no_grad()
def inverse(model, name: str) -> bool:
    """The largest error of `decode(encode(x))` in float64, at the data and far from it."""
    model.double()
    x = toy.examples(name, _TEST_SEED, 20_000).double()
    x = torch.cat([x, 2 * x])
    error = (model.decode(model.encode(x)) - x).abs().max().item()
    model.float()
    met = error <= INVERSE_BAR
    print(f"  inverse to {error:.1e} in float64   bar {INVERSE_BAR:g}: {verdict(met)}")
    return met


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def assignment(text: str) -> tuple[str, object]:
    """`lr=1e-3` as ("lr", 0.001)."""
    key, value = text.split("=", 1)
    return key, ast.literal_eval(value)


def judge(name: str, recipe: str, seed: int, arguments: dict) -> bool:
    """Trains on one toy and prints what it is worth; whether every bar is met."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = pofx.fit(
            recipe, data=name, seed=seed, out=Path(folder) / "run", device="cpu", threads=1,
            quiet=True, **arguments,
        )  # fmt: skip
        model = run.model
    seconds = time.process_time() - start
    size = sum(p.numel() for p in model.parameters())
    print(f"{name}, seed {seed}: {recipe}, {size:,} parameters, {seconds:.0f} CPU-seconds")
    reach = 2.5 * toy.examples(name, _TEST_SEED, 10_000).abs().max().item()
    return all([likelihood(model, name), integral(model, reach), inverse(model, name)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", nargs="*", default=["eight-gaussians", "two-moons"])
    parser.add_argument("--recipe", default="realnvp")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", nargs="*", type=assignment, default=[], help="arguments of the recipe"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    met = [
        judge(name, arguments.recipe, arguments.seed, dict(arguments.set))
        for name in arguments.data
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
