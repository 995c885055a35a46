"""network: the network of a denoiser, chosen by the shape of relaxed examples."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from pofx.diffusion.marginals import Marginals, marginals
from pofx.functional.dequantize import relaxed_shape
from pofx.nn.dit import DiT, SequenceDiT
from pofx.nn.unet import TimedMLP, UNet
from pofx.nn.unet1d import SequenceUNet
from pofx.recipe import RecipeError, check_at_least
from pofx.spec import Categorical, DataSpec

_HEAD = 64


class Chosen(NamedTuple):
    """A network for some data.

    Args:
        network: `(x, t, cond) -> y`.
        classes: how many it knows.
        batch_size: examples in a step that suit it.
        data_std: about what the standard deviation of its data is.
        marginals: what it adds to, if anything.
    """

    network: nn.Module
    classes: int
    batch_size: int
    data_std: float
    marginals: Marginals | None


def choose(  # noqa: PLR0913, what the recipes of the family have in common
    recipe: str,
    spec: DataSpec,
    kind: str | None,
    *,
    channels: tuple[int, ...],
    blocks: int,
    patch: int | None,
    hidden: int,
    conditional: bool,
    drop_label: float,
    copies: int = 1,
) -> Chosen:
    """The network that a recipe asks for.

    Args:
        recipe: its name.
        spec: of the data.
        kind: `mlp`, `unet` or `dit`; None takes a U-Net for images and a residual network for
            vectors.
        channels: of the U-Net at each resolution, the finest first.
        blocks: at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; None takes 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        conditional: whether to condition on the class, where the data has any.
        drop_label: how often a label is withheld in training.
        copies: how many outputs there are.

    Raises:
        RecipeError: it does not suit the data, or a number is out of its range.
    """
    if not 0 < drop_label <= 1:
        raise RecipeError(
            f"{recipe}: --drop-label is above 0 and at most 1, and {drop_label} came."
        )
    check_at_least(recipe, 1, blocks=blocks, hidden=hidden, channels=min(channels, default=0))
    check_at_least(recipe, 1, patch=patch)
    shape, classes = relaxed_shape(spec), spec.classes if conditional else 0
    shared = {"classes": classes, "copies": copies}
    network: nn.Module
    if len(shape) == 3:
        if kind == "mlp":
            raise RecipeError(
                f"{recipe}: --network mlp is for vectors, and examples are images of {shape}; take "
                "unet or dit."
            )
        deep = {"width": hidden, "layers": 4 * blocks, "heads": heads(hidden)}
        large = min(shape[1:]) >= 24
        if kind == "dit":
            network = DiT(shape, patch=patch or 2, **deep, **shared)
        else:
            patch = patch or (2 if large else 1)
            network = UNet(shape, widths=channels, blocks=blocks, patch=patch, **shared)
    elif len(shape) == 1:
        network = _of_vectors(spec, kind, channels, blocks, hidden, shared)
    else:
        raise RecipeError(f"{recipe}: examples are images or vectors, and their shape is {shape}.")
    image = len(shape) == 3
    return Chosen(
        network, classes, 32 if image else 256, 0.5 if image else 1.0,
        marginals(spec),
    )  # fmt: skip


def _of_vectors(
    spec: DataSpec,
    kind: str | None,
    channels: tuple[int, ...],
    blocks: int,
    hidden: int,
    shared: dict[str, int],
) -> nn.Module:
    (size,) = relaxed_shape(spec)
    length, part = _parts(spec)
    if kind == "unet":
        return SequenceUNet(length, part, widths=channels, blocks=blocks, **shared)
    if kind == "dit":
        deep = {"width": hidden, "layers": 4 * blocks, "heads": heads(hidden)}
        return SequenceDiT(length, part, **deep, **shared)
    return TimedMLP(size, hidden=hidden, blocks=4 * blocks, **shared)


def _parts(spec: DataSpec) -> tuple[int, int]:
    """A vector as a sequence: how many parts it has, and how many numbers each."""
    if isinstance(spec.support, Categorical):
        return spec.size, spec.support.levels
    return relaxed_shape(spec)[0], 1


def heads(width: int) -> int:
    """How many heads of attention suit a width: of about 64 numbers each.

    >>> heads(256), heads(96), heads(16)
    (4, 1, 1)
    """
    return next(h for h in range(max(1, width // _HEAD), 0, -1) if width % h == 0)
