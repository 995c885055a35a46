"""Energies on the plane against known densities, and Langevin dynamics against torchebm.

    python benchmarks/energy.py toys
    python benchmarks/energy.py toys --data two-moons --objective nce
    python benchmarks/energy.py langevin

`toys` trains deep-energy through `pofx.fit` by each of its objectives, one thread, and adds the
learned energy up on a grid. The divergence KL(truth | model) is the mean of log p - log q over
fresh exact draws, with its standard error. The bar is of all objectives but score matching, which
does not see how modes are weighed that lie apart. Samples by Langevin dynamics are held against
exact draws by the energy distance, beside that of exact draws themselves.

`langevin` moves 10,000 chains by 1,000 steps in the double well and the normal distribution of
torchebm, in turn with it; times are those of the processor, of one thread. Exits with 1 where a bar
is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

import pofx
from pofx.data import toy
from pofx.functional.draw import draw
from pofx.functional.gradients import score_of
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin

KL_BAR, SPEED_BAR = 0.05, 4.0
HELD = ("pcd", "nce", "cd")
OBJECTIVES = (*HELD, "score-matching")
_DRAWS = 200_000
_TEST_SEED = 987_654
"""Training draws its examples from seed 0."""


@torch.no_grad()
def divergence(model, name: str) -> tuple[float, float, float]:
    """KL(truth | model), its standard error, and log Z on the grid."""
    x = toy.examples(name, _TEST_SEED, _DRAWS)
    log_z, error = model.log_partition()
    energy = torch.cat([model.energy(part) for part in x.split(20_000)]).double()
    excess = toy.density(name).log_prob(x.double()) + energy + log_z
    spread = (excess.var().item() / _DRAWS + error**2) ** 0.5
    return excess.mean().item(), spread, log_z


def distances(model, name: str, n: int = 2000) -> tuple[float, float]:
    """The energy distance of samples from exact draws, and that of other exact draws."""
    from pofx.evaluation.two_sample import energy_distance

    real, other = toy.examples(name, _TEST_SEED, 2 * n).chunk(2)
    return energy_distance(real, draw(model, n, batch=n)), energy_distance(real, other)


def judge(name: str, objective: str, arguments: dict) -> float:
    """Trains on one toy and prints what it is worth; the divergence."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = pofx.fit(
            "deep-energy", data=name, objective=objective, out=Path(folder) / "run",
            device="cpu", threads=1, quiet=True, **arguments,
        ).model  # fmt: skip
    seconds = time.process_time() - start
    kl, error, log_z = divergence(model, name)
    far, floor = distances(model, name)
    print(
        f"{name:16s} {objective:15s} KL {kl:8.4f} +- {error:.4f}   log Z {log_z:7.3f}   "
        f"energy distance of samples {far:.4f} (exact draws {floor:.4f})   {seconds:.0f} CPU-s",
        flush=True,
    )
    return kl


def toys(names: list[str], objectives: list[str], arguments: dict) -> int:
    missed = 0
    for name in names:
        for objective in objectives:
            kl = judge(name, objective, arguments)
            if objective in HELD:
                met = kl <= KL_BAR
                missed += not met
                print(f"  bar KL <= {KL_BAR:g}: {'met' if met else 'MISSED'}", flush=True)
    return int(missed > 0)


def against_torchebm(chains: int = 10_000, steps: int = 1000, step: float = 0.01) -> int:
    import side_by_side
    from torchebm.core import DoubleWellModel, GaussianModel
    from torchebm.samplers import LangevinDynamics

    start = torch.randn(chains, 2)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]])
    precision = covariance.inverse()
    scores = {
        "double well": (DoubleWellModel(), lambda x: (x - x**3).mul_(8)),
        "normal": (GaussianModel(torch.zeros(2), covariance), lambda x: -(x @ precision)),
    }
    for name, (energy, score) in scores.items():
        error = (score_of(energy)(start) - score(start)).abs().max().item()
        assert error < 1e-3, f"{name}: the two scores differ by {error}"
        sampler = LangevinDynamics(energy, step_size=step, noise_scale=1.0, device="cpu")

        def peer(sampler=sampler):
            return sampler.sample(x=start.clone(), n_steps=steps)

        def ours(score=score):  # their step of eta with noise of variance 2 eta is ours of 2 eta
            return take(langevin(score, start, 2 * step), steps)

        def by_autograd(energy=energy):
            return take(langevin(score_of(energy), start, 2 * step), steps)

        for a, b in zip(ours().var(0), peer().var(0), strict=True):
            assert abs(a / b - 1) < 0.1, f"{name}: variances {a:.3f} and {b:.3f}"
        what = f"Langevin, {name}, {chains:,} chains x {steps:,} steps"
        side_by_side.ratio(what, ours, peer, bar=SPEED_BAR, clock=time.process_time)
        side_by_side.ratio(f"{what}, autograd", by_autograd, peer, clock=time.process_time)
    return side_by_side.status()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", choices=["toys", "langevin"])
    parser.add_argument("--data", nargs="*", default=["eight-gaussians", "two-moons"])
    parser.add_argument("--objective", nargs="*", default=list(OBJECTIVES))
    parser.add_argument("--set", nargs="*", default=[], help="arguments of the recipe, as steps=10")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.work == "langevin":
        return against_torchebm()
    pairs = (text.split("=", 1) for text in given.set)
    arguments = {k: float(v) if "." in v or "e" in v else int(v) for k, v in pairs}
    return toys(given.data, given.objective, arguments)


if __name__ == "__main__":
    sys.exit(main())
