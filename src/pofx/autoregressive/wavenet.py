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

from typing import Literal

import torch
from torch import Tensor, nn

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.conditionals import Grey, element_head
from pofx.autoregressive.sequence import Sequence
from pofx.autoregressive.written import written
from pofx.nn.defaults import decay_of
from pofx.nn.log_odds import LogOdds, cheap
from pofx.nn.wavenet import Steps, WaveStack
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least, check_classes
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
        conditional: whether `cond` is used.

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
        conditional: bool = False,
    ) -> None:
        element = element_head(spec, grey, components)
        marginals = LogOdds(spec, [element.channels] * spec.size) if cheap(spec) else None
        super().__init__(spec, element, conditional=conditional, marginals=marginals)
        classes = spec.classes if conditional else 0
        self.start = nn.Parameter(torch.zeros(self.inputs))
        self.net = WaveStack(
            self.inputs, element.channels, channels, layers=layers, blocks=blocks, classes=classes
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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    channels: int = 64,
    layers: int | None = None,
    blocks: int = 1,
    likelihood: Literal["softmax", "logistic"] = "softmax",
    components: int = 10,
    conditional: bool = False,
    lr: float = 2e-3,
    batch_size: int = 64,
    steps: int = 10_000,
) -> Recipe:
    """A WaveNet of sequences: text, categories, bits or numbers.

    Args:
        spec: what the data is.
        channels: of the layers.
        layers: in a block; by default as many as see the whole sequence, at most 10.
        blocks: how many.
        likelihood: of bytes: a softmax over their levels, or a mixture of discretised logistics.
        components: of the mixture of logistics of bytes, real or bounded elements.
        conditional: condition every element on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if len(spec.shape) != 1 or isinstance(spec.support, Mixed):
        raise RecipeError(
            f"wavenet: takes sequences of one kind of element, and these data are {spec.shape} of "
            f"{type(spec.support).__name__}; use pixelcnn for images, made for tables."
        )
    reaching = (spec.size - 1).bit_length() or 1
    layers = layers if layers is not None else min(10, reaching)
    check_classes("wavenet", spec, conditional=conditional)
    check_at_least(
        "wavenet", 1, channels=channels, layers=layers, blocks=blocks, components=components
    )
    if layers > reaching:
        raise RecipeError(
            f"wavenet: --layers is at most {reaching}, by which one sees all of {spec.size} "
            f"elements, and {layers} came; add --blocks instead."
        )
    net = WaveNet(
        spec, channels, layers, blocks, components, grey=likelihood, conditional=conditional
    )
    model = written(net)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={
            "model": Adam(lr, weight_decay=decay_of(spec, lr, 3_000) if net.marginals else 0.0)
        },
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
        warmup=100,
        clip=1.0,
    )
