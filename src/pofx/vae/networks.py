"""networks: encoders and decoders that suit the data, and how the whole family is trained."""

from __future__ import annotations

from torch import nn

from pofx.distributions.heads import Head, head
from pofx.functional.dequantize import relaxed_shape
from pofx.nn.defaults import Decoder, Encoder
from pofx.objective import Objective
from pofx.recipe import Adam, Recipe, check_at_least, check_classes
from pofx.spec import DataSpec


def check_codes(name: str, spec: DataSpec, *, latent: int, conditional: bool = False) -> None:
    """Refuses codes without numbers, and classes where there are none."""
    check_classes(name, spec, conditional=conditional)
    check_at_least(name, 1, latent=latent)


def encoder_for(
    spec: DataSpec, outputs: int, hidden: tuple[int, ...], channels: int, classes: int = 0
) -> Encoder:
    """An encoder that suits the data: `(x relaxed, cond) -> (n, outputs)`."""
    return Encoder(relaxed_shape(spec), outputs, hidden=hidden, channels=channels, classes=classes)


def decoder_for(
    spec: DataSpec, latent: int, hidden: tuple[int, ...], channels: int, classes: int = 0
) -> tuple[Decoder, Head]:
    """A decoder and the likelihood that suit the data; `hidden` is the encoder's."""
    likelihood = head(spec)
    shape = likelihood.parameters_shape
    decoder = Decoder(latent, shape, hidden=hidden[::-1], channels=channels, classes=classes)
    return decoder, likelihood


def is_noisy(spec: DataSpec, pixel_noise: bool) -> bool:
    """Whether samples are drawn from p(x | z): always, but for the shades of an image."""
    return pixel_noise or not spec.is_image or spec.columns[0].levels == 2


def trained(
    model: nn.Module, objective: Objective, lr: float, batch_size: int, steps: int
) -> Recipe:
    """How the whole family is trained: Adam, its learning rate decayed to 0 by a cosine."""
    return Recipe(
        model=model,
        objective=objective,
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
        clip=100.0,
        warmup=100,
    )
