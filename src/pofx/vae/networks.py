"""networks: encoders and decoders that suit the data, and the defaults of the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pofx.distributions.heads import Head, head
from pofx.functional.dequantize import relaxed_shape
from pofx.nn.defaults import Decoder, Encoder, Network, check_network, suitable
from pofx.nn.resnet import LARGE
from pofx.parameters import EncoderSize, Training, follows
from pofx.spec import DataSpec

NETWORK = EncoderSize(
    hidden=(256, 256),
    channels=16,
    network=follows(
        "conv for images, resnet from 24 pixels a side, else mlp",
        lambda spec, channels: _suitable(spec, channels),
    ),
)
TRAINING = Training(lr=1e-3, batch_size=128, steps=10_000, warmup=100, clip=100.0)


def _suitable(spec: DataSpec, channels: int) -> Network:
    """Residual blocks fold the pixels of large images: in as long, they get further than plain
    convolutions.
    """
    large = spec.is_image and min(spec.shape[1:]) >= LARGE
    return "resnet" if large and channels else suitable(spec.shape, channels)


@dataclass(frozen=True)
class Networks:
    """What a recipe says of its networks; the rest comes from the data.

    Args:
        spec: of the data.
        size: of the encoder.
        pixel_noise: whether the shades of an image are drawn from p(x | z).

    Raises:
        RecipeError: convolutions of what is no image, a condition that is no class or vector.
    """

    spec: DataSpec
    size: EncoderSize
    pixel_noise: bool = False

    def __post_init__(self) -> None:
        check_network(self.spec, self.size)

    def encoder(self, outputs: int) -> Encoder:
        """`(x relaxed, cond) -> (n, outputs)`."""
        hidden = self.size.hidden
        return Encoder(relaxed_shape(self.spec), outputs, hidden=hidden, **self._shared)

    def decoder(self, latent: int) -> tuple[Decoder, Head]:
        """A decoder of codes, and the likelihood that the data calls for."""
        likelihood, hidden = head(self.spec), self.size.hidden[::-1]
        shape = likelihood.parameters_shape
        return Decoder(latent, shape, hidden=hidden, **self._shared), likelihood

    @property
    def _shared(self) -> dict[str, Any]:
        size = self.size
        return {"channels": size.channels, "network": size.network, "cond": self.spec.cond}

    @property
    def options(self) -> dict[str, bool]:
        """What else `LatentVariable` takes. Samples are drawn from p(x | z) always, but for the
        shades of an image.
        """
        shades = self.spec.is_image and self.spec.columns[0].levels != 2
        return {"pixel_noise": self.pixel_noise or not shades}
