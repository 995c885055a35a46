"""What a step of a solver costs beside its network: samplers against diffusers' schedulers and
k-diffusion, equations against torchdiffeq and torchsde.

    python benchmarks/solvers.py [--threads 1] [--rounds 15]

Times are those of the processor, of one thread. The network is a tensor that is ready, and so is
the noise of samplers, so that the time is the solver's own. A whole trajectory of 50 steps is
timed, plan and all, for a batch of 16 images of 3 x 32 x 32; of DPM-Solver-2 in single steps it is
25 of ours against diffusers, whose scheduler counts a step for each of the two evaluations. Bars: a
third of what diffusers' and k-diffusion's steps cost, half of torchdiffeq's evaluations, a tenth of
torchsde's.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import side_by_side
import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.grid import Karras
from pofx.diffusion.samplers import SAMPLERS
from pofx.diffusion.schedule import EDM, LinearVP, Schedule
from pofx.solvers.ode import dormand_prince, rk4
from pofx.solvers.sde import euler_maruyama

SHAPE, STEPS = (16, 3, 32, 32), 50

ratio = functools.partial(side_by_side.ratio, clock=time.process_time)


class Ready(Denoiser):
    """A network that costs nothing."""

    def __init__(self, schedule: Schedule, answer: torch.Tensor) -> None:
        super().__init__(schedule)
        self.answer = answer

    def denoise(self, x_t, level, cond=None):
        return self.answer


def ours(name: str, schedule: Schedule, grid, steps: int = STEPS) -> Callable[[], object]:
    """A trajectory of ours."""
    denoiser, x = Ready(schedule, torch.randn(SHAPE)), torch.randn(SHAPE)

    def work():
        for _ in SAMPLERS[name]().trajectory(denoiser, x.clone(), grid(schedule, steps)):
            pass

    return work


def diffusers(name: str, **options) -> Callable[[], object]:
    """A trajectory of a scheduler there."""
    module = importlib.import_module("diffusers")
    scheduler = getattr(module, name)(num_train_timesteps=1000, **options)
    answer, x = torch.randn(SHAPE), torch.randn(SHAPE)

    def work():
        scheduler.set_timesteps(STEPS)
        x_t = x.clone()
        for t in scheduler.timesteps:
            scheduler.scale_model_input(x_t, t)
            x_t = scheduler.step(answer, t, x_t).prev_sample

    return work


def k_diffusion() -> types.ModuleType | None:
    """Its file of samplers alone, without what the package imports for pictures and training."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or not found.submodule_search_locations:
        return None
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["k_diffusion"] = package
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules.setdefault(name, types.ModuleType(name))
    functional = sys.modules["torchvision.transforms.functional"]
    sys.modules["torchvision.transforms"].functional = functional  # type: ignore[attr-defined]
    return importlib.import_module("k_diffusion.sampling")


@contextlib.contextmanager
def noise_ready():
    """In place of normal draws, one that was made before."""
    ready, draws = torch.randn(SHAPE), (torch.randn, torch.randn_like)
    torch.randn = torch.randn_like = lambda *_, **__: ready
    try:
        yield
    finally:
        torch.randn, torch.randn_like = draws


def samplers(rounds: int) -> None:
    """Against diffusers and k-diffusion."""
    vp, uniform = LinearVP(), lambda schedule, steps: schedule.grid(steps)
    for name, peer, options in (
        ("ddim", "DDIMScheduler", {}),
        ("ancestral-small", "DDPMScheduler", {}),
        ("dpmpp-2m", "DPMSolverMultistepScheduler", {}),
        ("dpmpp-2m-sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("dpm-2", "DPMSolverSinglestepScheduler", {"final_sigmas_type": "sigma_min"}),
        ("deis", "DEISMultistepScheduler", {"solver_order": 3}),
        ("unipc", "UniPCMultistepScheduler", {}),
        ("euler", "EulerDiscreteScheduler", {}),
        ("heun", "HeunDiscreteScheduler", {}),
    ):
        try:
            work = diffusers(peer, **options)
        except (ImportError, AttributeError) as error:
            print(f"{name}: not against diffusers ({error})")
            continue
        ratio(
            f"{name}, against diffusers' {peer}",
            ours(name, vp, uniform, STEPS // 2 if name == "dpm-2" else STEPS),
            work,
            bar=3.0,
            rounds=rounds,
        )
    peer = k_diffusion()
    if peer is None:
        print("k-diffusion is not installed")
        return
    edm, x, answer = EDM(), torch.randn(SHAPE), torch.randn(SHAPE)
    for name in ("euler", "heun", "dpm-2", "dpmpp-2m", "dpmpp-2m-sde"):
        other = {"dpm-2": "dpm_2"}.get(name, name.replace("dpmpp-2m", "dpmpp_2m").replace("-", "_"))
        sample = getattr(peer, f"sample_{other}")

        def work(sample=sample):
            sigmas = peer.get_sigmas_karras(STEPS, 0.002, 80.0)
            sample(lambda x, sigma: answer, x.clone(), sigmas, disable=True)

        ratio(
            f"{name}, against k-diffusion", ours(name, edm, Karras()), work, bar=3.0, rounds=rounds
        )


def equations(rounds: int) -> None:
    """Against torchdiffeq and torchsde, in evaluations of a field that costs little."""
    x, steps = torch.randn(64, 16), 100

    def field(t, x):
        return x.neg()

    try:
        from torchdiffeq import odeint
    except ImportError:
        print("torchdiffeq is not installed")
    else:
        ends = torch.tensor([0.0, 1.0])
        ratio(
            "rk4, 100 steps, against torchdiffeq",
            lambda: rk4(field, x, 0.0, 1.0, steps),
            lambda: odeint(field, x, ends, method="rk4", options={"step_size": 1 / steps}),
            bar=2.0,
            rounds=rounds,
        )
        cost = {"ours": 0, "torchdiffeq": 0}

        def counted(who):
            def f(t, x):
                cost[who] += 1
                return x.neg()

            return f

        far, tolerance = torch.tensor([0.0, 20.0]), 1e-6
        dormand_prince(counted("ours"), x.double(), 0.0, 20.0, rtol=tolerance, atol=tolerance)
        odeint(counted("torchdiffeq"), x.double(), far, rtol=tolerance, atol=tolerance)
        print(f"  evaluations to 1e-6: {cost}")
        share = cost["torchdiffeq"] / cost["ours"]
        found = ratio(
            "Dormand and Prince, to 1e-6, against torchdiffeq",
            lambda: dormand_prince(field, x.double(), 0.0, 20.0, rtol=tolerance, atol=tolerance),
            lambda: odeint(field, x.double(), far, rtol=tolerance, atol=tolerance),
            rounds=rounds,
        )
        print(f"  for an evaluation: ratio {found / share:.2f}, bar 2")
    try:
        import torchsde
    except ImportError:
        print("torchsde is not installed")
        return

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, x):
            return x.neg()

        def g(self, t, x):
            return ones

    ones, equation = torch.ones_like(x), Equation()
    ends = torch.tensor([0.0, 1.0])
    ratio(
        "Euler and Maruyama, 100 steps, against torchsde",
        lambda: euler_maruyama(field, lambda t, x: ones, x, 0.0, 1.0, steps),
        lambda: torchsde.sdeint(equation, x, ends, method="euler", dt=1 / steps),
        bar=10.0,
        rounds=rounds,
    )


def main() -> int:
    """Prints the ratios; 1 where a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        with noise_ready():
            samplers(arguments.rounds)
        equations(arguments.rounds)
    return side_by_side.status()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
