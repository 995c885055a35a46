"""Samplers against the schedulers of diffusers that implement the same papers, step for step.

Theirs count a chain's steps from 0, and ours from 1. Where the two differ by more than rounding it
is by choice. Their DEIS extrapolates in the logarithm of sigma / alpha, ours in time (both are in
the paper). Their single-step DPM-Solver of second order takes two points of the grid for its two
evaluations, ours the point between two. Their ancestral steps with the larger variance add noise to
the last one too, where the chain is shortened. Their Heun steps along sigma / alpha on every
schedule. Their UniPC of third order begins its last but one step at second order.
"""

import pytest
import torch

from pofx.diffusion.analytic import Mixture
from pofx.diffusion.samplers import SAMPLERS
from pofx.diffusion.schedule import LinearVP

diffusers = pytest.importorskip("diffusers")
pytestmark = [pytest.mark.usefixtures("single"), pytest.mark.filterwarnings("ignore")]
CHAIN = {
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"
}  # fmt: skip
NO_CLIP, UNSHORTENED = {"clip_sample": False}, {"lower_order_final": False}


@pytest.fixture
def single():
    """Leaves torch as it was."""
    yield
    torch.set_default_dtype(torch.float32)


def denoiser(schedule):
    means, stds = torch.tensor([[-1.0, 0.5], [1.0, -0.2]]), torch.tensor([0.5, 0.3])
    return Mixture(schedule, torch.tensor([0.3, 0.7]), means, stds)


def theirs(scheduler, model, x, steps):
    """Where a scheduler takes x, and the times at which it asks."""
    scheduler.set_timesteps(steps)
    x, times = x * getattr(scheduler, "init_noise_sigma", 1.0), []
    for k in scheduler.timesteps:
        times.append((float(k) + 1) / 1000)
        shown = scheduler.scale_model_input(x, k)
        level = model.schedule.level(torch.full((len(x),), times[-1]), 2)
        eps = (shown - level.alpha * model.denoise(shown, level)) / level.sigma
        x = scheduler.step(eps, k, x).prev_sample
    return x, [*dict.fromkeys(times), 0.0]


CASES = [
    ("ddim", "DDIMScheduler", NO_CLIP),
    ("ancestral-small", "DDPMScheduler", {**NO_CLIP, "variance_type": "fixed_small"}),
    ("euler", "EulerDiscreteScheduler", {}),
    ("dpmpp-2m", "DPMSolverMultistepScheduler", UNSHORTENED),
    ("dpmpp-2m-sde", "DPMSolverMultistepScheduler",
     {**UNSHORTENED, "algorithm_type": "sde-dpmsolver++"}),
    ("unipc", "UniPCMultistepScheduler", {"solver_order": 2}),
    ("heun", "HeunDiscreteScheduler", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scheduler", "options"), CASES, ids=[c[0] for c in CASES])
def test_samples_are_those_of_the_scheduler(name, scheduler, options):
    if name != "unipc":  # theirs solves its equations in float32
        torch.set_default_dtype(torch.float64)
    schedule = LinearVP()
    schedule.path = "ratio"  # theirs, whatever the schedule
    model, x = denoiser(schedule), torch.randn(6, 2)
    peer = getattr(diffusers, scheduler)(**CHAIN, timestep_spacing="trailing", **options)
    torch.manual_seed(1)
    wanted, times = theirs(peer, model, x.clone(), 20)
    torch.manual_seed(1)
    if "Discrete" in scheduler:  # it starts from sigma / alpha, where ours starts from 1 / alpha
        x *= schedule.scales([1.0])[0][1]
    *_, state = SAMPLERS[name]().trajectory(model, x.clone(), times)
    assert torch.allclose(state.x_t, wanted, atol=1e-4)
