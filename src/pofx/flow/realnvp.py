r"""realnvp: Density estimation using Real NVP (Dinh et al., 2017).

Good for: densities of images and vectors, quick to sample as well.

A stack of affine couplings: each scales and shifts one half of an example by what a network makes
of the other half,

.. math:: b \leftarrow b \odot e^{s(a)} + t(a),

so that the inverse and the Jacobian determinant cost one pass each. Images go through several
scales: couplings between the colours of a checkerboard, then between channels, after which half of
the channels are finished.

References:
    Density estimation using Real NVP (Dinh et al., 2017), eq. 3-8 and 13-16, section 3.6 and
    appendix E.
    https://arxiv.org/abs/1605.08803

Note:
    No batch normalisation, because an example's density would then depend on its neighbours;
    log-scales are bounded and networks start at the identity instead. Every scale begins with its
    squeeze, see `pofx.flow.squeeze`.
"""

from __future__ import annotations

from pofx.flow.bijection import Bijection
from pofx.flow.conditioner import ImageConditioner, vector_couplings
from pofx.flow.coupling import Couplings, ElementwiseCoupling
from pofx.flow.elementwise import Affine
from pofx.flow.flow import MaximumLikelihood, check_arguments, flow, vector_flow
from pofx.flow.squeeze import colours_to_rows, multi_scale
from pofx.nn.defaults import decay_of
from pofx.recipe import Adam, Recipe, check_at_least
from pofx.spec import DataSpec


def image_scales(
    shape: tuple[int, int, int],
    layers: int = 4,
    *,
    scales: int = 3,
    channels: int = 32,
    blocks: int = 2,
    bound: float = 1.0,
    classes: int = 0,
) -> Bijection:
    """Couplings between the colours of a checkerboard and between rows, at each scale."""

    def couplings(c: int, number: int) -> Couplings:
        nets = [ImageConditioner(c // 2, c, channels, blocks, classes) for _ in range(number)]
        return Couplings([ElementwiseCoupling(net, Affine(bound)) for net in nets], c // 2)

    def steps(c: int) -> list[Bijection]:
        of_colours = couplings(c, layers - layers // 2)
        return [of_colours, colours_to_rows(c), couplings(c, layers // 2)]

    return multi_scale(shape, steps, scales)


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    layers: int | None = None,
    hidden: tuple[int, ...] = (64, 64),
    channels: int = 32,
    blocks: int = 2,
    scales: int = 3,
    bound: float = 1.0,
    conditional: bool = False,
    lr: float | None = None,
    weight_decay: float | None = None,
    batch_size: int | None = None,
    steps: int = 8_000,
) -> Recipe:
    """A RealNVP: couplings of halves for vectors, of several scales for images.

    Args:
        spec: what the data is; an image with an odd side is served as a vector.
        layers: couplings; of an image, at each scale. By default 16 for vectors, 4 for images.
        hidden: widths of the hidden layers of a vector's coupling networks.
        channels: channels of an image's coupling networks; 0 treats an image as a vector.
        blocks: residual blocks of an image's coupling networks.
        scales: at most so many scales of an image.
        bound: largest log-scale of one coupling, nats.
        conditional: condition every coupling on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine; by default 3e-3 for vectors, 1e-3 for
            images.
        weight_decay: of AdamW; 1 helps where rows are few. By default 0, or, with bits or
            categories, 12,000 over the number of examples where those are fewer than 1,000.
        batch_size: examples in a step; by default 1,024 for vectors, 64 for images.
        steps: optimizer steps.
    """
    convolves = spec.is_image and bool(channels) and spec.shape[1] % 2 == spec.shape[2] % 2 == 0
    layers = layers if layers is not None else 4 if convolves else 16
    lr = lr if lr is not None else 1e-3 if convolves else 3e-3
    batch_size = batch_size if batch_size is not None else 64 if convolves else 1024
    check_arguments("realnvp", spec, conditional, bound=bound, layers=layers, scales=scales)
    check_at_least("realnvp", 0, weight_decay=weight_decay)
    weight_decay = decay_of(spec, lr) if weight_decay is None else weight_decay
    classes = spec.classes if conditional else 0
    if convolves:
        scale = image_scales(
            spec.shape, layers,  # type: ignore[arg-type]
            scales=scales, channels=channels, blocks=blocks, bound=bound, classes=classes,
        )  # fmt: skip
        model = flow(scale, spec, conditional=conditional)
    else:
        couplings = vector_couplings(spec.size, layers, hidden, Affine(bound), classes)
        model = vector_flow(couplings, spec, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, weight_decay=weight_decay)},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm: now and then an example far out has a million times the usual one
    )
