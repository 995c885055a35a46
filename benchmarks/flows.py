"""RealNVP against zuko, nflows and normflows: equal nets, in turn in one process.

    python benchmarks/flows.py
    python benchmarks/flows.py --features 2 --rounds 15

Eight affine couplings between the halves of a vector of 63, each with one network of two hidden
layers of 128 that puts out scale and shift; batches of 1,024, float32, one thread. Training is
log_prob and backward, without an optimizer; sampling is each library's own, without gradient.
Exits with 1 where ours is not faster than the best of the three by the bar.

zuko and normflows are set up as their documentation does it. The networks of nflows' own RealNVP
have a layer more than the others' at the least, so its couplings are given its MLP instead, and
what adapts that to the context argument, which it does not take.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import torch
from side_by_side import ratio
from torch import Tensor, nn

from pofx.flow.conditioner import vector_couplings
from pofx.flow.flow import Flow
from pofx.spec import DataSpec

TRAINING_BAR, SAMPLING_BAR = 1.2, 1.3
Peer = tuple[str, nn.Module, Callable[[Tensor], Tensor], Callable[[int], object]]
"""A library's name, its model, and how to ask that for log_prob and for samples."""


def ours(features: int, layers: int, hidden: tuple[int, ...]) -> Peer:
    model = Flow(vector_couplings(features, layers, hidden), DataSpec((features,)))
    return "ours", model, model.log_prob, model.sample


def of_zuko(features: int, layers: int, hidden: tuple[int, ...]) -> Peer:
    import zuko

    model = zuko.flows.RealNVP(features, transforms=layers, hidden_features=hidden)
    return "zuko", model, lambda x: model().log_prob(x), lambda n: model().sample((n,))


def of_nflows(features: int, layers: int, hidden: tuple[int, ...]) -> Peer:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.nn.nets import MLP
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.coupling import AffineCouplingTransform

    class Conditioner(MLP):
        """The MLP, called as a coupling calls its network."""

        def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
            return super().forward(inputs)

    mask = torch.ones(features)
    mask[::2] = -1
    couplings = [
        AffineCouplingTransform(mask * (-1) ** i, lambda a, b: Conditioner((a,), (b,), hidden))
        for i in range(layers)
    ]
    model = Flow(CompositeTransform(couplings), StandardNormal([features]))
    return "nflows", model, model.log_prob, model.sample


def of_normflows(features: int, layers: int, hidden: tuple[int, ...]) -> Peer:
    import normflows as nf

    first, second = (features + 1) // 2, features // 2
    flows = []
    for _ in range(layers):
        net = nf.nets.MLP([first, *hidden, 2 * second], init_zeros=True)
        flows += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(features, mode="swap")]
    model = nf.NormalizingFlow(nf.distributions.base.DiagGaussian(features), flows)
    return "normflows", model, model.log_prob, model.sample


def peers(features: int, layers: int, hidden: tuple[int, ...]) -> Iterator[Peer]:
    """Those of the three that are installed."""
    for build in (of_zuko, of_nflows, of_normflows):
        try:
            yield build(features, layers, hidden)
        except ImportError as error:
            print(f"{error.name} is not installed; skipped")


@torch.no_grad()
def shake(model: nn.Module) -> None:
    """Away from the start, where some output layers are zero."""
    for p in model.parameters():
        p += 0.02 * torch.randn_like(p)


def training(peer: Peer, x: Tensor) -> Callable[[], None]:
    _, model, log_prob, _ = peer

    def work() -> None:
        model.zero_grad()
        (-log_prob(x).mean()).backward()

    return work


def sampling(peer: Peer, n: int) -> Callable[[], None]:
    *_, sample = peer

    @torch.no_grad()
    def work() -> None:
        sample(n)

    return work


def several(work: Callable[[], None], times: int) -> Callable[[], None]:
    """Long enough for a clock on a busy machine."""

    def repeated() -> None:
        for _ in range(times):
            work()

    return repeated


def verdict(what: str, ratios: dict[str, float], bar: float) -> bool:
    """Ours is held against the fastest."""
    best = min(ratios, key=lambda name: ratios[name])
    met = ratios[best] >= bar
    print(
        f"{what}: {ratios[best]:.2f} times the best of them, {best}   bar {bar:g}: "
        f"{'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--features", type=int, default=63)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (arguments.features, arguments.layers, tuple(arguments.hidden))
    mine, theirs = ours(*shape), list(peers(*shape))
    if not theirs:
        return 0
    for name, model, *_ in (mine, *theirs):
        shake(model)
        size = sum(p.numel() for p in model.parameters())
        print(f"{name:10s} {size:,} parameters")
    x = torch.randn(arguments.batch, arguments.features)
    met = []
    for what, work, times, bar in (
        ("log_prob and backward", lambda p: training(p, x), 10, TRAINING_BAR),
        ("sampling", lambda p: sampling(p, arguments.batch), 20, SAMPLING_BAR),
    ):
        ratios = {
            peer[0]: ratio(
                f"{what}, {peer[0]}, {times} batches of {arguments.batch:,}",
                several(work(mine), times),
                several(work(peer), times),
                rounds=arguments.rounds,
            )
            for peer in theirs
        }
        met.append(verdict(what, ratios, bar))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
