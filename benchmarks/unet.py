"""Our U-Net against those of diffusers and of denoising-diffusion-pytorch, in turn in one process.

    python benchmarks/unet.py [--peers diffusers denoising-diffusion-pytorch]

The U-Nets take 32 x 32 grey images at three resolutions, with two residual blocks at each on the
way down and attention as each peer has it by default, ours at the coarsest; ours is as large as the
peer's, within 3 in 100 parameters. A training step is forward, backward and AdamW; theirs with
torch's default AdamW, as its users have it, and with the fused one. All in float32, on one thread,
whose time on the processor is taken.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from unittest import mock

import side_by_side
import torch
from torch import Tensor, nn

from pofx.nn.unet import UNet
from pofx.recipe import Adam

STEP_BAR, CALL_BAR = 1.25, 1.2

ratio = functools.partial(side_by_side.ratio, clock=time.process_time)


def our_net(coarsest: int, embedding: int) -> nn.Module:
    """Two blocks a resolution on the way down and two on the way up; wider where it is coarse."""
    widths = (32, 64, coarsest)
    return UNet((1, 32, 32), widths=widths, blocks=2, head=coarsest // 2, embedding=embedding)


def diffusers_net() -> nn.Module:
    """UNet2DModel with its default heads of 8 channels."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=32, in_channels=1, out_channels=1,
        block_out_channels=(32, 64, 64), layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def denoising_diffusion_net() -> nn.Module:
    """Unet from its own file alone, without what its trainer imports for pictures and devices."""
    name = "denoising_diffusion_pytorch"
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(name)
    package = types.ModuleType(name)
    package.__path__ = list(found.submodule_search_locations)
    sys.modules[name] = package
    absent = dict.fromkeys(("torchvision", "ema_pytorch", "accelerate"), mock.MagicMock())
    with mock.patch.dict(sys.modules, absent):
        peer = importlib.import_module(f"{name}.{name}")
    return peer.Unet(32, dim_mults=(1, 2, 2), channels=1)


Call = Callable[[nn.Module, Tensor, Tensor], Tensor]
PEERS: dict[str, tuple[Callable[[], nn.Module], Call, tuple[int, int]]] = {
    "diffusers": (diffusers_net, lambda net, x, t: net(x, t * 1000).sample, (112, 112)),
    "denoising-diffusion-pytorch": (
        denoising_diffusion_net, lambda net, x, t: net(x, t * 1000), (96, 128),
    ),
}  # fmt: skip
"""Of each its network, how it is asked, and what makes ours as large."""


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def steps(net, call, optimizer, x, t):
    def step():
        optimizer.zero_grad()
        (call(net, x, t) - x).square().mean().backward()
        optimizer.step()

    return step


def against(peer: str, batches: list[int]) -> None:
    """Training steps and calls without gradient."""
    build, ask, ours_as_large = PEERS[peer]
    try:
        theirs = build()
    except ImportError as error:
        print(f"U-Net against {peer}: skipped ({error}); pip install {peer}")
        return
    ours = our_net(*ours_as_large)
    print(f"U-Net parameters: ours {size(ours):,}, {peer} {size(theirs):,}")
    fused = Adam(1e-4).build(ours.parameters())
    default = torch.optim.AdamW(theirs.parameters(), 1e-4)
    their_fused = Adam(1e-4).build(theirs.parameters())

    for n in batches:
        x, t = torch.randn(n, 1, 32, 32), torch.rand(n)
        our_step = steps(ours, lambda net, x, t: net(x, t), fused, x, t)
        for name, optimizer in (("", default), (", both fused AdamW", their_fused)):
            what = f"U-Net training step, batch {n}{name}"
            ratio(what, our_step, steps(theirs, ask, optimizer, x, t), bar=STEP_BAR, rounds=5)
        with torch.no_grad():
            ratio(
                f"U-Net call without gradient, batch {n}",
                lambda x=x, t=t: ours(x, t),
                lambda x=x, t=t: ask(theirs, x, t),
                bar=CALL_BAR,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batches", nargs="*", type=int, default=[16, 64])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules["torchvision"] = None  # that of another peer does not fit a CPU build of torch
    for peer in arguments.peers:
        torch.manual_seed(0)
        against(peer, arguments.batches)


if __name__ == "__main__":
    main()
    sys.exit(side_by_side.status())
