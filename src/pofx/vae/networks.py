"""networks: encoders and decoders that suit the data, and how the whole family is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pofx.distributions.heads import Head, head
from pofx.functional.dequantize import relaxed_shape
from pofx.nn.defaults import Decoder, Encoder, Network
from pofx.nn.resnet import LARGE
from pofx.objective import Objective
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least, check_classes
from pofx.spec import DataSpec


@dataclass(frozen=True)
class Networks:
    """What a recipe says of its networks; the rest comes from the data.

    Args:
        name: of the recipe.
        spec: of the data.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution.
        network: the kind; by default residual for large images, whose pixels it folds (in as long,
            it gets further than plain convolutions), and else what suits the shape.
        conditional: whether both are told the class.
        pixel_noise: whether the shades of an image are drawn from p(x | z).

    Raises:
        RecipeError: classes where there are none, convolutions of what is no image.
    """

    name: str
    spec: DataSpec
    hidden: tuple[int, ...]
    channels: int
    network: Network | None
    conditional: bool = False
    pixel_noise: bool = False

    def __post_init__(self) -> None:
        check_classes(self.name, self.spec, conditional=self.conditional)
        if self.network == "conv" and not self.spec.is_image:
            raise RecipeError(
                f"{self.name}: convolutions serve images, and the data has shape "
                f"{self.spec.shape}; use --network mlp or resnet."
            )
        if self.network in ("conv", "resnet") and self.spec.is_image:
            check_at_least(self.name, 1, channels=self.channels)

    def encoder(self, outputs: int) -> Encoder:
        """`(x relaxed, cond) -> (n, outputs)`."""
        return Encoder(
            relaxed_shape(self.spec), outputs, hidden=self.hidden, channels=self.channels,
            classes=self.classes, network=self.kind,
        )  # fmt: skip

    def decoder(self, latent: int) -> tuple[Decoder, Head]:
        """A decoder of codes, and the likelihood that the data calls for.

        Raises:
            RecipeError: a code without numbers.
        """
        check_at_least(self.name, 1, latent=latent)
        likelihood = head(self.spec)
        decoder = Decoder(
            latent, likelihood.parameters_shape, hidden=self.hidden[::-1], channels=self.channels,
            classes=self.classes, network=self.kind,
        )  # fmt: skip
        return decoder, likelihood

    @property
    def kind(self) -> Network | None:
        large = self.spec.is_image and min(self.spec.shape[1:]) >= LARGE
        return self.network or ("resnet" if large and self.channels else None)

    @property
    def classes(self) -> int:
        return self.spec.classes if self.conditional else 0

    @property
    def options(self) -> dict[str, bool]:
        """What else `LatentVariable` takes. Samples are drawn from p(x | z) always, but for the
        shades of an image.
        """
        shades = self.spec.is_image and self.spec.columns[0].levels != 2
        return {
            "conditional": self.conditional, "pixel_noise": self.pixel_noise or not shades,
        }  # fmt: skip


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
