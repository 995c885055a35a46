"""network: the network of a denoiser, chosen by the shape of relaxed examples."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from pofx.diffusion.marginals import Marginals, marginals
from pofx.functional.dequantize import relaxed_shape
from pofx.nn.defaults import FEW_WORTH, decay_of
from pofx.nn.dit import DiT, SequenceDiT
from pofx.nn.resnet import LARGE
from pofx.nn.unet import TimedMLP, UNet
from pofx.nn.unet1d import SequenceUNet
from pofx.parameters import DenoiserSize, Training, follows
from pofx.recipe import RecipeError
from pofx.spec import Categorical, DataSpec

_HEAD = 64


class Chosen(NamedTuple):
    """A network for some data.

    Args:
        network: `(x, t, cond) -> y`.
        data_std: about what the standard deviation of its data is.
        marginals: what it adds to, if anything.
    """

    network: nn.Module
    data_std: float
    marginals: Marginals | None


def _is_image(spec: DataSpec) -> bool:
    return len(relaxed_shape(spec)) == 3


def data_std_of(spec: DataSpec) -> float:
    """About what the standard deviation of relaxed examples is."""
    return 0.5 if _is_image(spec) else 1.0


def _patch(spec: DataSpec, network: str) -> int:
    large = _is_image(spec) and min(spec.shape[1:]) >= LARGE
    return 2 if large or network == "dit" else 1


NETWORK = DenoiserSize(
    network=follows("unet for images, else mlp", lambda spec: "unet" if _is_image(spec) else "mlp"),
    channels=(32, 64, 96),
    blocks=1,
    patch=follows("2 for sides of 24 or more and in a DiT, else 1", _patch),
    hidden=256,
)
TRAINING = Training(
    lr=2e-3,
    batch_size=follows("32 for images, else 256", lambda spec: 32 if _is_image(spec) else 256),
    steps=10_000,
    weight_decay=follows(
        "0, or 3,000 over the number of fewer than 1,000 examples with bits or categories",
        lambda spec, lr: decay_of(spec, lr, FEW_WORTH),
    ),
    warmup=200,
    clip=1.0,
    ema=500.0,
)


def choose(spec: DataSpec, size: DenoiserSize, *, copies: int = 1) -> Chosen:
    """Builds the network that a recipe asks for.

    Args:
        spec: of the data.
        size: of the network.
        copies: how many outputs there are.

    Raises:
        RecipeError: it does not suit the data.
    """
    shape = relaxed_shape(spec)
    if len(shape) not in (1, 3):
        raise RecipeError(f"examples must be images or vectors (got shape {shape}): reshape them.")
    if not size.channels:
        raise RecipeError("--channels must be one number or more (got none): give 32,64.")
    build = _of_images if len(shape) == 3 else _of_vectors
    network = build(spec, size, {"cond": spec.cond, "copies": copies})
    return Chosen(network, data_std_of(spec), marginals(spec))


def _of_images(spec: DataSpec, size: DenoiserSize, shared: dict[str, Any]) -> nn.Module:
    c, h, w = relaxed_shape(spec)
    if size.network == "mlp":
        raise RecipeError(
            f"--network mlp must have vectors (got images of {c}, {h}, {w}): take unet or dit."
        )
    if size.network == "dit":
        return DiT((c, h, w), patch=size.patch, **_deep(size), **shared)
    return UNet((c, h, w), widths=size.channels, blocks=size.blocks, patch=size.patch, **shared)


def _of_vectors(spec: DataSpec, size: DenoiserSize, shared: dict[str, Any]) -> nn.Module:
    length, part = _parts(spec)
    if size.network == "unet":
        return SequenceUNet(length, part, widths=size.channels, blocks=size.blocks, **shared)
    if size.network == "dit":
        return SequenceDiT(length, part, **_deep(size), **shared)
    (width,) = relaxed_shape(spec)
    return TimedMLP(width, hidden=size.hidden, blocks=4 * size.blocks, **shared)


def _deep(size: DenoiserSize) -> dict[str, Any]:
    """Arguments of a Transformer."""
    return {"width": size.hidden, "layers": 4 * size.blocks, "heads": heads(size.hidden)}


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
