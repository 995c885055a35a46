r"""tarflow: Normalizing flows are capable generative models (Zhai et al., 2024).

Good for: densities of images by Transformers.

An image is a sequence of patches; each is scaled and shifted by what a causal Transformer makes of
the patches before it, and the next layer takes them from the other end:

.. math:: z_i = x_i \odot e^{s_i} + t_i, \qquad (s_i, t_i) = \mathrm{net}_i(x_{<i}), \qquad
    \log|\det| = \sum_i s_i

A density costs one pass of each layer, and a sample one step for each patch.

References:
    Normalizing flows are capable generative models (Zhai et al., 2024), eq. 5-8, sections 2.3 and
    3.1.
    https://arxiv.org/abs/2412.06329

Note:
    Values are dequantised evenly, as in the paper's likelihoods; its best pictures are trained with
    normal noise and denoised by a step along the score. The first patch moves too, by numbers that
    depend on nothing, or on the class. Log-scales are bounded.
"""

from __future__ import annotations

from pofx.flow.bijection import Chain, Flatten
from pofx.flow.elementwise import Affine
from pofx.flow.flow import MaximumLikelihood, check_arguments, flow
from pofx.flow.patches import PatchAutoregressive, Patches
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    layers: int = 4,
    patch: int | None = None,
    width: int = 64,
    blocks: int = 2,
    heads: int = 4,
    bound: float = 2.0,
    conditional: bool = False,
    lr: float = 1e-3,
    batch_size: int = 64,
    steps: int = 10_000,
) -> Recipe:
    """A TarFlow.

    Args:
        spec: images whose sides are multiples of the patch's.
        layers: autoregressive layers, with a Transformer each; 8 in the paper.
        patch: side of a patch; by default 2, or 4 of images with a side above 16.
        width: of the Transformers.
        blocks: of each Transformer.
        heads: of their attention; twice as many divide the width.
        bound: largest log-scale of one layer, nats.
        conditional: condition every layer on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if patch is None:
        patch = 4 if max(spec.shape) > 16 else 2
    check_arguments("tarflow", spec, conditional, bound=bound,
        layers=layers, patch=patch, width=width, blocks=blocks, heads=heads,
    )  # fmt: skip
    if not spec.is_image or spec.shape[1] % patch or spec.shape[2] % patch:
        raise RecipeError(
            f"tarflow cuts images into patches of {patch} by {patch}, but examples of shape "
            f"{spec.shape} came; bring images to another size with --resize, or set --patch."
        )
    if width % (2 * heads):
        raise RecipeError(
            f"tarflow: --width is a multiple of twice --heads, and {width} with {heads} came."
        )
    c, h, w = spec.shape
    length, size = (h // patch) * (w // patch), c * patch * patch
    each = [
        PatchAutoregressive(
            length, size, Affine(bound), width=width, blocks=blocks, heads=heads,
            backwards=i % 2 == 1, classes=spec.classes if conditional else 0,
        )
        for i in range(layers)
    ]  # fmt: skip
    chain = Chain([Patches((c, h, w), patch), *each, Flatten((length, size))])
    model = flow(chain, spec, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm, as in realnvp
    )
