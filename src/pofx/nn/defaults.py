"""defaults: the network that a recipe starts from, chosen by the shape of the data."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from pofx.nn.conv import ConvDecoder, ConvEncoder, conditioned
from pofx.nn.embeddings import ClassEmbedding
from pofx.nn.mlp import MLP

Activation = Callable[[], nn.Module]


class Encoder(nn.Module):
    """An example of any shape, and its class if it has one, to a vector: `(n, *shape) -> (n,
    outputs)`.

    Args:
        shape: event shape; convolutions serve an image, a fully connected network anything else.
        outputs: width of the vector.
        hidden: widths of the hidden layers of the fully connected network, or, for an image, the
            width of the vector between the convolutions and the output (the last entry).
        channels: channels of the first convolution; 0 flattens an image and uses the fully
            connected network.
        classes: how many classes a label may name; 0 for none.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
        channels: int = 32,
        classes: int = 0,
        activation: Activation = nn.SiLU,
    ) -> None:
        super().__init__()
        self.label = ClassEmbedding(classes, 32) if classes else None
        extra = 32 if classes else 0
        if len(shape) == 3 and channels:
            width = hidden[-1] if hidden else outputs
            self.body: nn.Module = nn.Sequential(
                ConvEncoder(shape, width, channels, activation),
                activation(),
            )
            self.head: nn.Module = nn.Linear(width + extra, outputs)
        else:
            self.body = nn.Flatten()
            self.head = MLP([prod(shape) + extra, *hidden, outputs], activation)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.head(conditioned(self.body(x), _embed(self.label, cond, x.shape[0])))


class Decoder(nn.Module):
    """A vector, and a class if there is one, to an example of any shape: `(n, inputs) -> (n,
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
        classes: int = 0,
        activation: Activation = nn.SiLU,
    ) -> None:
        super().__init__()
        self.label = ClassEmbedding(classes, 32) if classes else None
        extra = 32 if classes else 0
        if len(shape) == 3 and channels:
            width = hidden[0] if hidden else inputs
            self.body: nn.Module = nn.Sequential(
                nn.Linear(inputs + extra, width),
                activation(),
                ConvDecoder(width, shape, channels, activation),
            )
        else:
            self.body = nn.Sequential(
                MLP([inputs + extra, *hidden, prod(shape)], activation), nn.Unflatten(1, shape)
            )

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.body(conditioned(z, _embed(self.label, cond, z.shape[0])))


def _embed(label: ClassEmbedding | None, cond: Tensor | None, n: int) -> Tensor | None:
    if label is None:
        return None
    return label(label.none(n) if cond is None else cond)
