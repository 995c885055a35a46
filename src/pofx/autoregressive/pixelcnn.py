r"""pixelcnn: Conditional image generation with PixelCNN decoders (van den Oord et al., 2016).

Good for: exact likelihoods of small images, and their completion from the top.

The gated PixelCNN. Images are drawn pixel after pixel,

.. math:: \log p(x | c) = \sum_i \log p(x_i | x_{<i}, c)

and one pass of a convolutional network whose filters reach only upward and to the left gives every
factor. A vertical stack sees all rows above, a horizontal one the pixels to the left, and a class
moves every gate:

.. math:: y = \tanh(W_f * x + V_f^\top c) \odot \sigma(W_g * x + V_g^\top c)

Samples cost about one pass as well: the network keeps what it has made of the pixels so far, and
computes one column of each layer for a new one.

References:
    Conditional image generation with PixelCNN decoders (van den Oord et al., 2016), eq. 1, 2 and 4
    and figure 2.
    https://arxiv.org/abs/1606.05328
    Fast generation for convolutional autoregressive models (Ramachandran et al., 2017), of samples.
    https://arxiv.org/abs/1704.06001

Note:
    The paper takes 5 x 5 filters where this takes 3 x 3 after the first, and does not tell a pixel
    where it is. Bytes may have a mixture of logistics instead of the softmax.
"""

from __future__ import annotations

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.conditionals import element_head
from pofx.autoregressive.pixels import Pixels, check_images, inputs_of
from pofx.nn.masked_conv import GatedStacks
from pofx.parameters import ByteLikelihood, Conditional, Count, Logistics, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    channels: Count = 32,
    layers: Count = 6,
    reach: Count = 1,
    first: Count = 3,
    place: bool = True,
    likelihood: ByteLikelihood = "softmax",
    components: Logistics = 10,
    conditional: Conditional = False,
    training: Training = Training(lr=5e-3, batch_size=32, steps=20_000, clip=1.0),
) -> Recipe:
    """A gated PixelCNN with the likelihood that the pixels call for.

    >>> import torch
    >>> from pofx.spec import Binary
    >>> model = recipe(DataSpec((1, 2, 2), Binary()), channels=4).model
    >>> images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).view(-1, 1, 2, 2)
    >>> round(model.log_prob(images).exp().sum().item(), 5)
    1.0

    Args:
        channels: features of each of the two stacks.
        layers: gated layers of each stack.
        reach: pixels that a layer sees to either side; 1 is a 3 x 3 filter.
        first: pixels that the first layer sees to either side; 3 is a 7 x 7 filter.
        place: let the row and the column of a pixel move the first gates.
    """
    check_images(spec)
    element = element_head(spec, likelihood, components)
    net = GatedStacks(
        inputs_of(spec), element.channels, spec.shape[0],
        channels=channels, layers=layers, reach=reach, first=first,
        cond=spec.cond, size=spec.shape[1:] if place else None,  # type: ignore[arg-type]
    )  # fmt: skip
    model = Pixels(spec, net, element)
    return trained(model, MaximumLikelihood(model), training)
