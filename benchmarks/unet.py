"""Our U-Net against diffusers', of equal parameters, in turn in one process.

    python benchmarks/unet.py

The U-Nets take 32 x 32 grey images at three resolutions, with two residual blocks at each on the
way down and attention at the coarsest. A training step is forward, backward and AdamW; theirs with
torch's default AdamW, as its users have it, and with the fused one. All in float32, on one thread.
"""

from __future__ import annotations

import argparse
import sys

import torch
from side_by_side import ratio, status
from torch import nn

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
        print("U-Net against diffusers: skipped; pip install diffusers")
        return
    torch.manual_seed(0)
    networks(tuple(arguments.batches))


if __name__ == "__main__":
    main()
    sys.exit(status())
