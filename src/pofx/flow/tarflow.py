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
from pofx.flow.flow import MaximumLikelihood, check_elements, flow
from pofx.flow.patches import PatchAutoregressive, Patches
from pofx.parameters import Bound, Conditional, Count, Training, follows
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 4,
    patch: Count = follows(
        "2, or 4 of images with a side above 16", lambda spec: 4 if max(spec.shape) > 16 else 2
    ),
    width: Count = 64,
    blocks: Count = 2,
    heads: Count = 4,
    bound: Bound = 2.0,
    conditional: Conditional = False,
    training: Training = Training(lr=1e-3, batch_size=64, steps=10_000, warmup=100, clip=1.0),
) -> Recipe:
    """A TarFlow.

    Args:
        spec: images whose sides are multiples of the patch's.
        layers: autoregressive layers, with a Transformer each; 8 in the paper.
        patch: side of a patch.
        width: of the Transformers.
        blocks: of each Transformer.
        heads: of their attention; twice as many divide the width.
    """
    check_elements(spec)
    if not spec.is_image or spec.shape[1] % patch or spec.shape[2] % patch:
        raise RecipeError(
            f"examples must be images that patches of {patch} by {patch} tile (got shape "
            f"{spec.shape}): bring them to another size with --resize, or set --patch."
        )
    if width % (2 * heads):
        raise RecipeError(
            f"--width must be a multiple of twice --heads (got {width} and {heads}): change one."
        )
    c, h, w = spec.shape
    length, size = (h // patch) * (w // patch), c * patch * patch
    each = [
        PatchAutoregressive(
            length, size, Affine(bound), width=width, blocks=blocks, heads=heads,
            backwards=i % 2 == 1, cond=spec.cond,
        )
        for i in range(layers)
    ]  # fmt: skip
    chain = Chain([Patches((c, h, w), patch), *each, Flatten((length, size))])
    model = flow(chain, spec)
    return trained(model, MaximumLikelihood(model), training)
