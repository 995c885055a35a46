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
from pofx.flow.flow import DECAY, MaximumLikelihood, check_elements, flow, vector_flow
from pofx.flow.squeeze import colours_to_rows, multi_scale
from pofx.parameters import Bound, Conditional, Count, Sizes, Training, Whole, follows
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def image_scales(
    shape: tuple[int, int, int],
    layers: int = 4,
    *,
    scales: int = 3,
    channels: int = 32,
    blocks: int = 2,
    bound: float = 1.0,
    cond: DataSpec | None = None,
) -> Bijection:
    """Couplings between the colours of a checkerboard and between rows, at each scale."""

    def couplings(c: int, number: int) -> Couplings:
        nets = [ImageConditioner(c // 2, c, channels, blocks, cond) for _ in range(number)]
        return Couplings([ElementwiseCoupling(net, Affine(bound)) for net in nets], c // 2)

    def steps(c: int) -> list[Bijection]:
        of_colours = couplings(c, layers - layers // 2)
        return [of_colours, colours_to_rows(c), couplings(c, layers // 2)]

    return multi_scale(shape, steps, scales)


def _convolves(spec: DataSpec, channels: int) -> bool:
    return spec.is_image and bool(channels) and spec.shape[1] % 2 == spec.shape[2] % 2 == 0


def recipe(
    spec: DataSpec,
    *,
    layers: Count = follows(
        "4 for images, 16 for vectors",
        lambda spec, channels: 4 if _convolves(spec, channels) else 16,
    ),
    hidden: Sizes = (64, 64),
    channels: Whole = 32,
    blocks: Count = 2,
    scales: Count = 3,
    bound: Bound = 1.0,
    conditional: Conditional = False,
    training: Training = Training(
        lr=follows(
            "0.001 for images, 0.003 for vectors",
            lambda spec, channels: 1e-3 if _convolves(spec, channels) else 3e-3,
        ),
        batch_size=follows(
            "64 for images, 1024 for vectors",
            lambda spec, channels: 64 if _convolves(spec, channels) else 1024,
        ),
        steps=8_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A RealNVP: couplings of halves for vectors, of several scales for images.

    Args:
        spec: what the data is; an image with an odd side is served as a vector.
        layers: couplings; of an image, at each scale.
        hidden: widths of the hidden layers of a vector's coupling networks.
        channels: channels of an image's coupling networks; 0 treats an image as a vector.
        blocks: residual blocks of an image's coupling networks.
        scales: at most so many scales of an image.
    """
    check_elements(spec, halves=True)
    if _convolves(spec, channels):
        scale = image_scales(
            spec.shape, layers,  # type: ignore[arg-type]
            scales=scales, channels=channels, blocks=blocks, bound=bound, cond=spec.cond,
        )  # fmt: skip
        model = flow(scale, spec)
    else:
        couplings = vector_couplings(spec.size, layers, hidden, Affine(bound), spec.cond)
        model = vector_flow(couplings, spec)
    return trained(model, MaximumLikelihood(model), training)
