"""reconstruction: the contract of the family: a code, what is made of it, and how far off it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.batch import Batch
from pofx.functional.dequantize import harden, relax, relaxed_shape, split_relaxed
from pofx.functional.reductions import sum_event
from pofx.nn.defaults import Decoder, Encoder, check_network, suitable
from pofx.objective import LossObjective, Metrics
from pofx.parameters import EncoderSize, Training, follows
from pofx.spec import Binary, Categorical, DataSpec, Simple
from pofx.typing import Cond, Data, PerExample


class Autoencoder(nn.Module):
    """Maps examples to codes and back: capability Latent.

    Both networks see examples relaxed (`functional.dequantize`): bits as -1 and 1, categories as
    one-hot vectors; what the decoder puts out for those are logits.

    Args:
        encoder: `(n, *relaxed_shape(spec)) -> (n, latent)`.
        decoder: `(n, latent) -> (n, *relaxed_shape(spec))`.
        spec: of the data.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.encoder, self.decoder, self.spec = encoder, decoder, spec

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        return self.code(relax(x, self.spec))

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        y = harden(self.decoder(z), self.spec)
        return y.reshape(len(y), *self.spec.shape)

    def code(self, relaxed: Tensor) -> Tensor:
        """The code of relaxed examples."""
        return self.encoder(relaxed)

    def reconstruction_error(self, x: Data) -> PerExample:
        """How far each example is from its reconstruction: squared error and cross-entropy."""
        relaxed = relax(x, self.spec)
        return distance(self.decoder(self.code(relaxed)), relaxed, self.spec)


def distance(y: Tensor, target: Tensor, spec: DataSpec) -> PerExample:
    """Between what a decoder put out and relaxed examples: the squared error of numbers, and the
    cross-entropy of bits and categories, in nats.

    >>> distance(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]), DataSpec((2,)))
    tensor([4.])
    """
    parts = zip(split_relaxed(y, spec), split_relaxed(target, spec), strict=True)
    return torch.stack([_distance(a, b, support) for (a, support), (b, _) in parts]).sum(0)


def _distance(y: Tensor, target: Tensor, support: Simple) -> PerExample:
    if isinstance(support, Categorical):
        return F.cross_entropy(y, target.argmax(1), reduction="none")
    if isinstance(support, Binary):
        return sum_event(F.softplus(-target * y))
    return sum_event((y - target) ** 2)


class Reconstruction(LossObjective):
    """Minimises the mean distance between examples and their reconstructions."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model: Autoencoder = model

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x = batch.x
        return self.model.reconstruction_error(x).mean(), {}


NETWORK = EncoderSize(
    hidden=(256, 256),
    channels=16,
    network=follows(
        "conv for images, else mlp", lambda spec, channels: suitable(spec.shape, channels)
    ),
)
TRAINING = Training(lr=1e-3, batch_size=128, steps=5_000, warmup=100)


def networks(spec: DataSpec, latent: int, network: EncoderSize) -> tuple[Encoder, Decoder]:
    """Builds an encoder and a decoder that suit the data."""
    check_network(spec, network)
    shape, hidden = relaxed_shape(spec), network.hidden
    like: dict[str, Any] = {"channels": network.channels, "network": network.network}
    encoder = Encoder(shape, latent, hidden=hidden, **like)
    return encoder, Decoder(latent, shape, hidden=hidden[::-1], **like)
