r"""wavenet: WaveNet: a generative model for raw audio (van den Oord et al., 2016).

Good for: long sequences of numbers or levels, such as sound.

Every element of a sequence from those before it, through dilated causal convolutions whose reach
doubles from layer to layer:

.. math:: \log p(x) = \sum_t \log p(x_t | x_{t - R}, \ldots, x_{t - 1})

Sampling keeps what each layer has yet to see again, so that a step costs one column of the network.

References:
    WaveNet: a generative model for raw audio (van den Oord et al., 2016), eq. 1-3. https://arxiv.org/abs/1609.03499

Note:
    Categories and bytes get a softmax, and numbers a mixture of logistics. It is left to the data
    to be audio of 256 levels by the mu-law.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.conditionals import Grey, element_head
from pofx.autoregressive.sequence import Sequence
from pofx.autoregressive.written import written
from pofx.nn.defaults import decay_of
from pofx.nn.log_odds import LogOdds, cheap
from pofx.nn.wavenet import Steps, WaveStack
from pofx.parameters import ByteLikelihood, Conditional, Count, Logistics, Training, follows
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond


class WaveNet(Sequence):
    """A sequence whose elements are all of one kind, in the order in which they stand.

    Args:
        spec: of the data, `(length,)`.
        channels: of the layers.
        layers: in a block.
        blocks: how many.
        components: of the mixture of bytes, real or bounded elements.
        grey: how bytes are distributed.

    >>> from pofx.spec import Binary
    >>> model = WaveNet(DataSpec((3,), Binary()), 8, 2, 1, 1)
    >>> strings = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> round(model.log_prob(strings).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self,
        spec: DataSpec,
        channels: int,
        layers: int,
        blocks: int,
        components: int,
        *,
        grey: Grey = "softmax",
    ) -> None:
        element = element_head(spec, grey, components)
        marginals = LogOdds(spec, [element.channels] * spec.size) if cheap(spec) else None
        super().__init__(spec, element, marginals=marginals)
        self.start = nn.Parameter(torch.zeros(self.inputs))
        self.net = WaveStack(
            self.inputs, element.channels, channels, layers=layers, blocks=blocks, cond=spec.cond
        )

    def parameters_of(self, seen: Tensor, cond: Cond | None) -> Tensor:
        start = self.start.expand(len(seen), 1, -1)
        out = self.net(torch.cat([start, seen[:, :-1]], 1), cond)
        return out if self.marginals is None else out + self.marginals().view(out.shape[1:])

    def unfolding(self, n: int, cond: Cond | None) -> _Unfolding:
        own = None if self.marginals is None else self.marginals().view(self.spec.size, -1)
        return _Unfolding(Steps(self.net, n, cond), self.start.expand(n, -1), own)


class _Unfolding:
    """The parameters of the element after those that were seen."""

    def __init__(self, steps: Steps, start: Tensor, own: Tensor | None) -> None:
        self.steps, self.seen, self.own = steps, start, own

    def outputs(self) -> Tensor:
        place, out = self.steps.count, self.steps(self.seen)
        return out if self.own is None else out + self.own[place]

    def reveal(self, seen: Tensor) -> None:
        self.seen = seen


def _reaching(spec: DataSpec) -> int:
    """Layers of a block that see the whole sequence."""
    return (spec.size - 1).bit_length() or 1


def recipe(
    spec: DataSpec,
    *,
    channels: Count = 64,
    layers: Count = follows(
        "as many as see the whole sequence, at most 10", lambda spec: min(10, _reaching(spec))
    ),
    blocks: Count = 1,
    likelihood: ByteLikelihood = "softmax",
    components: Logistics = 10,
    conditional: Conditional = False,
    training: Training = Training(
        lr=2e-3,
        batch_size=64,
        steps=10_000,
        weight_decay=follows(
            "0, or 3,000 over the number of fewer than 1,000 examples that are 20 for each level",
            lambda spec, lr: decay_of(spec, lr, 3_000) if cheap(spec) else 0.0,
        ),
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A WaveNet of sequences: text, categories, bits or numbers.

    Args:
        channels: of the layers.
        layers: in a block.
        blocks: how many.
    """
    if len(spec.shape) != 1 or isinstance(spec.support, Mixed):
        raise RecipeError(
            f"examples must be sequences of one kind of element (got {spec.shape} of "
            f"{type(spec.support).__name__}): use pixelcnn for images, made for tables."
        )
    if layers > _reaching(spec):
        raise RecipeError(
            f"--layers must be at most {_reaching(spec)}, by which one sees all of {spec.size} "
            f"elements (got {layers}): add --blocks instead."
        )
    net = WaveNet(spec, channels, layers, blocks, components, grey=likelihood)
    model = written(net)
    return trained(model, MaximumLikelihood(model), training)
