"""GAN with R1 on mixtures whose modes can be counted, and without, where it loses some.

    python benchmarks/modes.py
    python benchmarks/modes.py --seeds 0 1 2

Trains through `pofx.fit` with the recipe's own defaults, one thread, on the 25-Gaussian grid and
the ring of eight, and counts modes on 2,500 samples as the literature does
(`pofx.evaluation.modes`). Without the penalty the reverse divergence must be worse on the grid.
Exits with 1 where a bar is missed.

References:
    PacGAN: the power of two samples in generative adversarial networks (Lin et al., 2018), section
    4.1. https://arxiv.org/abs/1712.04086
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

import pofx
from pofx.data import toy
from pofx.evaluation.modes import ModeCoverage, mode_coverage

_SAMPLES = 2_500


class Bars(NamedTuple):
    """What a sampler of one mixture must reach."""

    modes: int
    high_quality: float = 0.0
    reverse_kl: float = float("inf")
    seconds: float = float("inf")


BARS = {"grid-25": Bars(25, 0.88, 0.05, 90.0), "ring-8": Bars(8)}


def trained(name: str, seed: int, **arguments) -> tuple[ModeCoverage, float]:
    """Trains a GAN; its coverage, and the CPU-seconds of training."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = pofx.fit(
            "gan", data=name, seed=seed, out=Path(folder) / "run", device="cpu", threads=1,
            quiet=True, **arguments,
        )  # fmt: skip
        seconds = time.process_time() - start
        samples = run.sample(_SAMPLES)
    mixture = toy.density(name)
    assert isinstance(mixture, toy.GaussianMixture)
    return mode_coverage(samples.double(), mixture.means, mixture.sd), seconds


def show(name: str, coverage: ModeCoverage, seconds: float, bars: Bars) -> bool:
    """Prints each number with its bar; whether all are met."""
    met = (
        coverage.modes >= bars.modes
        and coverage.high_quality >= bars.high_quality
        and coverage.reverse_kl <= bars.reverse_kl
        and seconds <= bars.seconds
    )
    limits = (
        f"modes {bars.modes}, high quality {bars.high_quality:g}, reverse KL {bars.reverse_kl:g}, "
        f"{bars.seconds:g} s"
    )
    print(
        f"{name:34s} modes {coverage.modes:2d}   high quality {coverage.high_quality:.3f}   "
        f"reverse KL {coverage.reverse_kl:.4f}   {seconds:5.1f} CPU-s   bars: {limits}: "
        f"{'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def grid(seed: int) -> bool:
    """The grid with the penalty, which must meet its bars, and without, which must be worse."""
    ours, seconds = trained("grid-25", seed)
    met = show(f"grid-25, R1, seed {seed}", ours, seconds, BARS["grid-25"])
    without, seconds = trained("grid-25", seed, r1=0.0)
    show(f"grid-25, no penalty, seed {seed}", without, seconds, Bars(0))
    worse = without.reverse_kl > ours.reverse_kl
    print(f"  reverse KL without the penalty is worse: {'met' if worse else 'MISSED'}")
    return met and worse


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    met = []
    for seed in arguments.seeds:
        met.append(grid(seed))
        met.append(show(f"ring-8, R1, seed {seed}", *trained("ring-8", seed), BARS["ring-8"]))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
