"""RealNVP, NSF and MAF against zuko, nflows and normflows: equal nets, in turn in one process.

    python benchmarks/flows.py
    python benchmarks/flows.py --flows nsf --features 2 --rounds 15

Eight layers on a vector of 63, each with networks of two hidden layers of 128; batches of 1,024,
float32, one thread. Training is log_prob and backward, without an optimizer; sampling is each
library's own, without gradient. RealNVP and NSF couple halves; splines have 8 bins within [-3, 3].
MAF's masked networks have no direct connections, as the peers' have none. Exits with 1 where ours
is not faster than the best of the three by the bar.

zuko and normflows are set up as their documentation does it, with these exceptions. The coupling
networks of nflows' flows, and of normflows' splines, have a layer more than the others' at the
least, so their couplings are given their own MLP instead, and what adapts that to the context
argument, which it does not take. normflows' splines do without a second spline for the half that
stays. Its autoregressive layers sample in one pass and find densities one element after the other,
so they are reversed, to be the MAF that their documentation names.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator

import torch
from products import Layer, alone, network
from side_by_side import ratio, status
from torch import Tensor, nn

from pofx.flow.autoregressive import Autoregressive
from pofx.flow.bijection import Chain
from pofx.flow.conditioner import vector_couplings
from pofx.flow.elementwise import Affine, Spline
from pofx.flow.flow import Flow
from pofx.spec import DataSpec

Hidden = tuple[int, ...]
Asked = tuple[nn.Module, Callable[[Tensor], Tensor], Callable[[int], object]]
"""A model, and how to ask it for log_prob and for samples."""
Peer = tuple[str, nn.Module, Callable[[Tensor], Tensor], Callable[[int], object]]
"""A library's name, and the same."""
BINS, BOUND = 8, 3.0


class Nflows:
    """nflows' MLP, called as a coupling calls its network, of nflows or normflows."""

    def __init__(self, hidden: Hidden) -> None:
        self.hidden = hidden

    def __call__(self, inputs: int, outputs: int) -> nn.Module:
        from nflows.nn.nets import MLP

        class Conditioner(MLP):
            def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
                return super().forward(inputs)

        return Conditioner((inputs,), (outputs,), self.hidden)


def ask(model: nn.Module) -> Asked:
    return model, model.log_prob, model.sample  # type: ignore[return-value]


def ask_zuko(model: nn.Module) -> Asked:
    return model, lambda x: model().log_prob(x), lambda n: model().sample((n,))


def ask_nflows(features: int, transforms: list[nn.Module]) -> Asked:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.base import CompositeTransform

    return ask(Flow(CompositeTransform(transforms), StandardNormal([features])))


def ask_normflows(features: int, flows: list[nn.Module]) -> Asked:
    import normflows as nf

    return ask(nf.NormalizingFlow(nf.distributions.base.DiagGaussian(features), flows))


def halves(features: int, layer: int) -> Tensor:
    """The mask of a coupling: alternate elements."""
    mask = torch.ones(features)
    mask[::2] = -1
    return mask * (-1) ** layer


def realnvp(features: int, layers: int, hidden: Hidden) -> Asked:
    return ask(Flow(vector_couplings(features, layers, hidden), DataSpec((features,))))


def zuko_realnvp(features: int, layers: int, hidden: Hidden) -> Asked:
    import zuko

    return ask_zuko(zuko.flows.RealNVP(features, transforms=layers, hidden_features=hidden))


def nflows_realnvp(features: int, layers: int, hidden: Hidden) -> Asked:
    from nflows.transforms.coupling import AffineCouplingTransform

    net = Nflows(hidden)
    each = [AffineCouplingTransform(halves(features, i), net) for i in range(layers)]
    return ask_nflows(features, each)


def normflows_realnvp(features: int, layers: int, hidden: Hidden) -> Asked:
    import normflows as nf

    first, second = (features + 1) // 2, features // 2
    flows = []
    for _ in range(layers):
        net = nf.nets.MLP([first, *hidden, 2 * second], init_zeros=True)
        flows += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(features, mode="swap")]
    return ask_normflows(features, flows)


def nsf(features: int, layers: int, hidden: Hidden) -> Asked:
    couplings = vector_couplings(features, layers, hidden, Spline(BINS, BOUND))
    return ask(Flow(couplings, DataSpec((features,))))


def zuko_nsf(features: int, layers: int, hidden: Hidden) -> Asked:
    import zuko

    flow = zuko.flows.NSF(features, transforms=layers, hidden_features=hidden, bins=BINS, passes=2)
    return ask_zuko(flow)


def nflows_nsf(features: int, layers: int, hidden: Hidden) -> Asked:
    from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform as Coupling

    net, tails = Nflows(hidden), {"tails": "linear", "tail_bound": BOUND}
    each = [Coupling(halves(features, i), net, num_bins=BINS, **tails) for i in range(layers)]
    return ask_nflows(features, each)


def normflows_nsf(features: int, layers: int, hidden: Hidden) -> Asked:
    import normflows as nf
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

    flows = []
    for i in range(layers):
        layer = nf.flows.CoupledRationalQuadraticSpline(features, 1, hidden[0])
        layer.prqct = PiecewiseRationalQuadraticCoupling(
            halves(features, i), Nflows(hidden), num_bins=BINS, tails="linear", tail_bound=BOUND
        )
        flows.append(layer)
    return ask_normflows(features, flows)


def maf(features: int, layers: int, hidden: Hidden) -> Asked:
    order, map = torch.arange(features), Affine()
    orders = [order if i % 2 == 0 else order.flip(0) for i in range(layers)]
    chain = Chain([Autoregressive(o, map, hidden, direct=False) for o in orders])
    return ask(Flow(chain, DataSpec((features,))))


def zuko_maf(features: int, layers: int, hidden: Hidden) -> Asked:
    import zuko

    return ask_zuko(zuko.flows.MAF(features, transforms=layers, hidden_features=hidden))


def nflows_maf(features: int, layers: int, hidden: Hidden) -> Asked:
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
    from nflows.transforms.permutations import ReversePermutation

    made = {"num_blocks": len(hidden) - 1, "use_residual_blocks": False}
    transforms = []
    for _ in range(layers):
        layer = MaskedAffineAutoregressiveTransform(features, hidden[0], **made)
        transforms += [layer, ReversePermutation(features)]
    return ask_nflows(features, transforms)


def normflows_maf(features: int, layers: int, hidden: Hidden) -> Asked:
    import normflows as nf

    made = {"num_blocks": len(hidden) - 1, "use_residual_blocks": False}
    flows = []
    for _ in range(layers):
        layer = nf.flows.MaskedAffineAutoregressive(features, hidden[0], **made)
        flows += [nf.flows.Reverse(layer), nf.flows.Permute(features, mode="swap")]
    return ask_normflows(features, flows)


def products(flow: str, shape: tuple[int, int, Hidden], batch: int) -> list[Layer]:
    """The matrix products of one step of training."""
    features, layers, hidden = shape
    halves = ((features + 1) // 2, features // 2)
    found: list[Layer] = []
    for i in range(layers):
        seen, moved = (features, features) if flow == "maf" else (halves[i % 2], halves[1 - i % 2])
        outputs = (3 * BINS - 1 if flow == "nsf" else 2) * moved
        found += network(batch, seen, *hidden, outputs, data=i == 0)
    return found


FLOWS = {
    # batches to time at once, and the bar: of training, and of sampling
    "realnvp": (realnvp, zuko_realnvp, nflows_realnvp, normflows_realnvp, (10, 1.2), (20, 1.3)),
    "nsf": (nsf, zuko_nsf, nflows_nsf, normflows_nsf, (3, 1.5), (5, 1.5)),
    "maf": (maf, zuko_maf, nflows_maf, normflows_maf, (5, 1.2), (1, 3.0)),
}

MOST = {"realnvp": 1.4, "nsf": None, "maf": 1.4}
"""How many times its products a step may take; splines are most of NSF's."""


def peers(
    builders: tuple[Callable[..., Asked], ...], shape: tuple[int, int, Hidden]
) -> Iterator[Peer]:
    """Those of the three that are installed."""
    for build in builders:
        try:
            yield build.__name__.split("_")[0], *build(*shape)
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


def sampling(peer: Peer, x: Tensor) -> Callable[[], None]:
    *_, sample = peer

    @torch.no_grad()
    def work() -> None:
        sample(len(x))

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


def compare(flow: str, shape: tuple[int, int, Hidden], batch: int, rounds: int) -> bool:
    """Times one flow of ours beside the peers'; whether both bars are met."""
    ours, *others, train, sample = FLOWS[flow]
    mine, theirs = ("ours", *ours(*shape)), list(peers(tuple(others), shape))
    for name, model, *_ in (mine, *theirs):
        shake(model)
        size = sum(p.numel() for p in model.parameters())
        print(f"{flow}, {name:10s} {size:,} parameters")
    x = torch.randn(batch, shape[0])
    met = []
    beside = {"products": alone(products(flow, shape, batch), train[0]), "most": MOST[flow]}
    for what, work, (times, bar) in (
        ("log_prob and backward", training, train),
        ("sampling", sampling, sample),
    ):
        ratios = {
            peer[0]: ratio(
                f"{flow}, {what}, {peer[0]}, {times} x {batch:,}",
                several(work(mine, x), times),
                several(work(peer, x), times),
                rounds=rounds,
                **(beside if work is training else {}),
            )
            for peer in theirs
        }
        met += [verdict(f"{flow}, {what}", ratios, bar)] if ratios else []
    return all(met)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--flows", nargs="+", default=list(FLOWS), choices=list(FLOWS))
    parser.add_argument("--features", type=int, default=63)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="Inputs to the softmax are not scaled down")
    shape = (arguments.features, arguments.layers, tuple(arguments.hidden))
    met = [compare(flow, shape, arguments.batch, arguments.rounds) for flow in arguments.flows]
    return 0 if all(met) and not status() else 1


if __name__ == "__main__":
    sys.exit(main())
