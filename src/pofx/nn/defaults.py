"""defaults: the network that a recipe starts from, chosen by the shape of the data."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal

from torch import Tensor, nn

from pofx.nn.condition import condition, embedded
from pofx.nn.conv import ConvDecoder, ConvEncoder, conditioned
from pofx.nn.mlp import MLP, ResidualMLP
from pofx.nn.resnet import ResNetDecoder, ResNetEncoder
from pofx.parameters import EncoderSize
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, is_counted

Activation = Callable[[], nn.Module]
Network = Literal["mlp", "conv", "resnet"]


def suitable(shape: tuple[int, ...], channels: int) -> Network:
    """What serves an example of this shape: convolutions an image, unless they have no channels.

    >>> suitable((1, 28, 28), 32), suitable((1, 28, 28), 0), suitable((7,), 32)
    ('conv', 'mlp', 'mlp')
    """
    return "conv" if len(shape) == 3 and channels else "mlp"


def check_network(spec: DataSpec, network: EncoderSize) -> None:
    """Refuses convolutions of what is no image, and those without channels."""
    kind = network.network
    if kind == "conv" and not spec.is_image:
        raise RecipeError(
            f"--network conv must have images (got examples of shape {spec.shape}): take mlp or "
            "resnet."
        )
    if kind != "mlp" and spec.is_image and not network.channels:
        raise RecipeError("--channels must be at least 1 (got 0): give more, or --network mlp.")


FEW = 1000
"""Examples to train on below which a model of its usual freedom learns them by heart."""


FEW_WORTH = 3_000
"""Weight decay of networks that add to frequencies, times the number of examples where they are
few.
"""


def few(count: int | None) -> bool:
    """Whether there are so few examples; where it is not known how many there are, there are
    enough.

    >>> few(400), few(60_000), few(None)
    (True, False, False)
    """
    return count is not None and count < FEW


def sgd_decay(worth: float, count: int | None, lr: float) -> float:
    """Weight decay of gradient descent: `worth` over the square of their number where examples are
    few, else 0; at most what takes half of a weight in a step.

    >>> [round(sgd_decay(4000, count, 0.05), 3) for count in (5, 60, 400, 60_000)]
    [10.0, 1.111, 0.025, 0.0]
    """
    return min(worth / max(count or 1, 1) ** 2, 0.5 / lr) if few(count) else 0.0


def adam_decay(usual: float, worth: float, count: int | None, lr: float) -> float:
    """Weight decay of AdamW: the usual one, or `worth` over their number where examples are few; at
    most what takes half of a weight in a step.

    >>> [adam_decay(1.0, 12_000, count, 1e-3) for count in (5, 400, 60_000)]
    [500.0, 30.0, 1.0]
    """
    return min(worth / max(count or 1, 1), 0.5 / lr) if few(count) else usual


def batch_of(usual: int, spec: DataSpec) -> int:
    """Examples in a step: all of them where they are few and their first batch sets frequencies.

    >>> from pofx.spec import Binary
    >>> [batch_of(256, DataSpec((2,), Binary(), count=n)) for n in (60, 400, 60_000, None)]
    [256, 400, 256, 256]
    """
    return max(usual, spec.count or 0) if few_frequencies(spec) else usual


def decay_of(spec: DataSpec, lr: float, worth: float = 12_000) -> float:
    """Weight decay of AdamW: 0, or `worth` over their number where examples with frequencies are
    few, so that a model which cannot learn from them stays near independent elements.

    >>> from pofx.spec import Binary
    >>> [decay_of(DataSpec((2,), Binary(), count=n), 1e-3) for n in (400, 60_000, None)]
    [30.0, 0.0, 0.0]
    """
    return adam_decay(0.0, worth, spec.count, lr) if few_frequencies(spec) else 0.0


def few_frequencies(spec: DataSpec) -> bool:
    """Whether there are bits or categories, and so few examples that a model must begin with their
    frequencies.

    >>> from pofx.spec import Binary
    >>> few_frequencies(DataSpec((2,), Binary(), count=400)), few_frequencies(DataSpec((2,)))
    (True, False)
    """
    return few(spec.count) and any(is_counted(c) for c in set(spec.columns))


_WIDTH = 32
"""Of the vector that a condition is embedded as."""


class Encoder(nn.Module):
    """An example of any shape, and its condition if it has one, to a vector: `(n, *shape) -> (n,
    outputs)`.

    Args:
        shape: event shape.
        outputs: width of the vector.
        hidden: widths of the hidden layers of the fully connected network, or, for an image, the
            width of the vector between the convolutions and the output (the last entry). A
            residual network of vectors has as many blocks, of the last width.
        channels: channels of the first convolution; 0 flattens an image and uses the fully
            connected network.
        cond: the spec of the condition, if there is one.
        network: by default what is `suitable`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
        channels: int = 32,
        cond: DataSpec | None = None,
        network: Network | None = None,
        activation: Activation = nn.SiLU,
    ) -> None:
        super().__init__()
        self.label = condition(cond, _WIDTH)
        extra = 0 if cond is None else _WIDTH
        kind = network or suitable(shape, channels)
        width, size = hidden[-1] if hidden else outputs, prod(shape) + extra
        if kind != "mlp" and len(shape) == 3:
            convolutions = (
                ConvEncoder(shape, width, channels, activation)
                if kind == "conv"
                else ResNetEncoder(shape, width, channels)
            )
            self.body: nn.Module = nn.Sequential(convolutions, activation())
            self.head: nn.Module = nn.Linear(width + extra, outputs)
        else:
            self.body = nn.Flatten()
            self.head = (
                ResidualMLP(size, outputs, width, len(hidden))
                if kind == "resnet"
                else MLP([size, *hidden, outputs], activation)
            )

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.head(conditioned(self.body(x), embedded(self.label, cond, x)))


class Decoder(nn.Module):
    """A vector, and a condition if there is one, to an example of any shape: `(n, inputs) -> (n,
    *shape)`.

    Arguments as for `Encoder`; `hidden` is given in the order in which it is passed.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (256, 256),
        channels: int = 32,
        cond: DataSpec | None = None,
        network: Network | None = None,
        activation: Activation = nn.SiLU,
    ) -> None:
        super().__init__()
        self.label = condition(cond, _WIDTH)
        extra = 0 if cond is None else _WIDTH
        kind = network or suitable(shape, channels)
        width, size = hidden[0] if hidden else inputs, inputs + extra
        if kind != "mlp" and len(shape) == 3:
            convolutions = (
                ConvDecoder(width, shape, channels, activation)
                if kind == "conv"
                else ResNetDecoder(width, shape, channels)
            )
            self.body = nn.Sequential(nn.Linear(size, width), activation(), convolutions)
        else:
            layers = (
                ResidualMLP(size, prod(shape), width, len(hidden))
                if kind == "resnet"
                else MLP([size, *hidden, prod(shape)], activation)
            )
            self.body = nn.Sequential(layers, nn.Unflatten(1, shape))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.body(conditioned(z, embedded(self.label, cond, z)))
