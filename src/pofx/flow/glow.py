r"""glow: Glow: generative flow with invertible 1x1 convolutions (Kingma and Dhariwal, 2018).

Good for: densities of images with codes that lead back exactly.

A step of the flow scales and shifts each channel, mixes the channels by a matrix, and couples one
half of them to the other:

.. math:: x \leftarrow x e^s + b, \qquad x \leftarrow P L U x, \qquad
    x_b \leftarrow x_b \odot e^{s(x_a)} + t(x_a)

Each scale squeezes the image to half its size, takes such steps, and is then done with half of its
channels.

References:
    Glow: generative flow with invertible 1x1 convolutions (Kingma and Dhariwal, 2018), table 1,
    eq. 9-11, sections 3 and 5.
    https://arxiv.org/abs/1807.03039

Note:
    What a scale is done with is standard normal, where the paper learns its mean and scale from the
    rest. Log-scales are bounded. Coupling networks are those of `realnvp`: residual, and narrower
    than the paper's 512 channels.
"""

from __future__ import annotations

from pofx.flow.actnorm import ActNorm
from pofx.flow.bijection import Bijection
from pofx.flow.conditioner import ImageConditioner
from pofx.flow.coupling import Couplings, ElementwiseCoupling
from pofx.flow.elementwise import Affine
from pofx.flow.flow import MaximumLikelihood, check_elements, flow
from pofx.flow.linear import LU, rotation
from pofx.flow.squeeze import multi_scale
from pofx.parameters import Bound, Conditional, Count, Training
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec


def glow_scales(
    shape: tuple[int, int, int],
    layers: int = 8,
    *,
    scales: int = 3,
    channels: int = 64,
    blocks: int = 1,
    bound: float = 1.0,
    cond: DataSpec | None = None,
) -> Bijection:
    """Steps of the flow at each scale."""

    def step(c: int) -> list[Bijection]:
        net = ImageConditioner(c // 2, c, channels, blocks, cond)
        coupling = Couplings([ElementwiseCoupling(net, Affine(bound))], c // 2)
        return [ActNorm(c), LU(rotation(c)), coupling]

    def steps(c: int) -> list[Bijection]:
        return [bijection for _ in range(layers) for bijection in step(c)]

    return multi_scale(shape, steps, scales)


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 8,
    scales: Count = 3,
    channels: Count = 64,
    blocks: Count = 1,
    bound: Bound = 1.0,
    conditional: Conditional = False,
    training: Training = Training(lr=1e-3, batch_size=64, steps=10_000, warmup=100, clip=1.0),
) -> Recipe:
    """A Glow of several scales.

    Args:
        spec: images with even sides.
        layers: steps of the flow at each scale; 32 in the paper.
        scales: at most so many scales.
        channels: channels of the coupling networks.
        blocks: residual blocks of the coupling networks.
    """
    if not spec.is_image or spec.shape[1] % 2 or spec.shape[2] % 2:
        raise RecipeError(
            f"examples must be images with even sides (got shape {spec.shape}): bring them to an "
            "even size with --resize, or use realnvp or nsf."
        )
    check_elements(spec)
    bijection = glow_scales(
        spec.shape, layers,  # type: ignore[arg-type]
        scales=scales, channels=channels, blocks=blocks, bound=bound,
        cond=spec.cond,
    )  # fmt: skip
    model = flow(bijection, spec)
    return trained(model, MaximumLikelihood(model), training)
