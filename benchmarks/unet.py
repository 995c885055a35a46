"""Our U-Net and samplers against diffusers', of equal parameters, in turn in one process.

    python benchmarks/unet.py

The U-Nets take 32 x 32 grey images at three resolutions, with two residual blocks at each on the
way down and attention at the coarsest. A training step is forward, backward and AdamW; theirs with
torch's default AdamW, as its users have it, and with the fused one. All in float32, on one thread.
The samplers' cost is that of a step around a network that costs nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys

import torch
from side_by_side import ratio, status
from torch import nn

from pofx.diffusion.denoiser import Clip, NetworkDenoiser
from pofx.diffusion.parameterization import Eps
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.diffusion.samplers.ddim import DDIM
from pofx.diffusion.schedule import LinearVP
from pofx.nn.unet import UNet
from pofx.recipe import Adam


def our_net() -> nn.Module:
    """Two blocks a resolution on the way down and two on the way up; wider where it is coarse."""
    return UNet((1, 32, 32), widths=(32, 64, 112), blocks=2, head=56, embedding=112)


def their_net() -> nn.Module:
    """UNet2DModel with its default heads of 8 channels."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=32, in_channels=1, out_channels=1,
        block_out_channels=(32, 64, 64), layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def steps(net, call, optimizer, x, t):
    def step():
        optimizer.zero_grad()
        (call(net, x, t) - x).square().mean().backward()
        optimizer.step()

    return step


def networks(batches: tuple[int, ...]) -> None:
    """Training steps and calls without gradient."""
    ours, theirs = our_net(), their_net()
    print(f"U-Net parameters: ours {size(ours):,}, diffusers {size(theirs):,}")
    fused = Adam(1e-4).build(ours.parameters())
    default = torch.optim.AdamW(theirs.parameters(), 1e-4)
    their_fused = Adam(1e-4).build(theirs.parameters())

    def ask_ours(net, x, t):
        return net(x, t)

    def ask_theirs(net, x, t):
        return net(x, t * 1000).sample

    for n in batches:
        x, t = torch.randn(n, 1, 32, 32), torch.rand(n)
        our_step = steps(ours, ask_ours, fused, x, t)
        for name, optimizer in (("", default), (", both fused AdamW", their_fused)):
            their_step = steps(theirs, ask_theirs, optimizer, x, t)
            ratio(f"U-Net training step, batch {n}{name}", our_step, their_step, bar=1.2, rounds=3)
        with torch.no_grad():
            ratio(
                f"U-Net call without gradient, batch {n}",
                lambda x=x, t=t: ours(x, t),
                lambda x=x, t=t: ask_theirs(theirs, x, t),
                rounds=5,
            )


class Free(NetworkDenoiser):
    """A denoiser whose network costs nothing; what it says has still to become clean data."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__(nn.Identity(), LinearVP(), Eps())
        self.output = output

    def predict(self, x_t, t, cond=None):
        return self.output


def samplers(count: int = 50) -> None:
    """Fifty steps of 64 x 1 x 32 x 32, with the guess clipped to [-1, 1] on both sides."""
    from diffusers import DDIMScheduler, DDPMScheduler

    x, output = torch.randn(64, 1, 32, 32), torch.randn(64, 1, 32, 32)
    denoiser = Clip(Free(output))
    times = denoiser.schedule.grid(count)

    def ours(sampler):
        def walk():
            for _ in sampler.trajectory(denoiser, x.clone(), times):
                pass

        return walk

    def theirs(scheduler):
        def walk():
            scheduler.set_timesteps(count)
            x_t = x.clone()
            for t in scheduler.timesteps:
                x_t = scheduler.step(output, t, x_t).prev_sample

        return walk

    options = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": True}
    ratio("DDIM, 50 steps of the solver", ours(DDIM()), theirs(DDIMScheduler(**options)), bar=3.0)
    ratio(
        "DDPM, 50 steps of the solver", ours(Ancestral()), theirs(DDPMScheduler(**options)), bar=3.0
    )

    def noise_alone():
        for _ in itertools.repeat(None, count - 1):
            torch.randn_like(x)

    ratio("of which DDPM's noise alone", noise_alone, ours(Ancestral()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batches", nargs="*", type=int, default=[16, 64])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules["torchvision"] = None  # that of another peer does not fit a CPU build of torch
    try:
        import diffusers  # noqa: F401
    except ImportError:
        print("U-Net and samplers against diffusers: skipped; pip install diffusers")
        return
    torch.manual_seed(0)
    samplers()
    networks(tuple(arguments.batches))


if __name__ == "__main__":
    main()
    sys.exit(status())
