r"""pixelcnn-pp: PixelCNN++: improving the PixelCNN (Salimans et al., 2017).

Good for: the best likelihoods of small images; slow to sample.

A pixel is drawn whole, from a mixture over its colours that knows bytes are ordered:

.. math:: P(x_i | x_{<i}) = \sum_k \pi_k \prod_j
    \mathrm{DL}\Big(x_{ij}; \mu_{kj} + \sum_{l < j} c_{kjl} x_{il}, s_{kj}\Big)

whose parameters come from residual blocks of shifted convolutions on several scales, with skips
between those of one size.

References:
    PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and other
    modifications (Salimans et al., 2017), eq. 1-3 and section 2.
    https://arxiv.org/abs/1701.05517

Note:
    Sized for small images: the paper has 160 channels, five blocks on each of three scales, dropout
    of one half, and averages its weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.autoregressive.autoregressive import Autoregressive, Given, MaximumLikelihood
from pofx.autoregressive.pixels import check_images
from pofx.distributions.logistic_mixture import LogisticMixtureHead
from pofx.functional.precision import at_least_float32
from pofx.nn.shifted_conv import ShiftedUNet
from pofx.parameters import Conditional, Count, Logistics, Probability, Training
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import Bytes, DataSpec
from pofx.typing import Cond, Data, PerExample


class PixelCNNPP(Autoregressive):
    """A PixelCNN++.

    Args:
        spec: of the data, an image of bytes.
        net: `net(x, cond)` are the parameters of each pixel's mixture.
        head: the mixture.

    >>> spec = DataSpec((1, 2, 2), Bytes(3))
    >>> model = recipe(spec, channels=4, blocks=1).model
    >>> images = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4).view(-1, 1, 2, 2)
    >>> round(model.log_prob(images).exp().sum().item(), 5)
    1.0
    """

    def __init__(self, spec: DataSpec, net: ShiftedUNet, head: LogisticMixtureHead) -> None:
        super().__init__(spec)
        self.net, self.head = net, head

    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        parameters = at_least_float32(self.net(x, cond))
        return self.head.each(parameters, x, known).flatten(1).sum(1)

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        colours, height, width = self.spec.shape
        x = next(self.parameters()).new_zeros(n, colours, height, width)
        nothing = torch.zeros(self.spec.shape, dtype=torch.bool)
        begun, known = (x.clone(), nothing) if given is None else given
        steps = self.net.unrolled(n, height, width, cond)
        for row in range(height):
            steps.start(row)
            for column in range(width):
                pixel, own = begun[:, :, row, column], known[:, row, column].to(x.device)
                drawn = self.head.complete(steps.outputs(column), pixel, own)
                x[:, :, row, column] = drawn
                steps.reveal(column, drawn)
        return x


def recipe(
    spec: DataSpec,
    *,
    channels: Count = 32,
    blocks: Count = 2,
    levels: Count = 2,
    components: Logistics = 10,
    dropout: Probability = 0.0,
    conditional: Conditional = False,
    training: Training = Training(lr=1e-3, batch_size=32, steps=20_000, clip=1.0),
) -> Recipe:
    """A PixelCNN++ of grey or colour bytes.

    Args:
        channels: features of each of the two streams.
        blocks: residual blocks on each scale.
        levels: scales, each half as large as the last.
        dropout: share of hidden features that are dropped in training; 0.5 in the paper.
    """
    check_images(spec)
    if not isinstance(spec.support, Bytes):
        raise RecipeError(f"pixels must be bytes (got {spec.support}): use pixelcnn.")
    head = LogisticMixtureHead(spec.shape, spec.support.levels, components)
    net = ShiftedUNet(
        spec.shape[0], head.channels, channels=channels, blocks=blocks, levels=levels,
        cond=spec.cond, dropout=dropout,
    )  # fmt: skip
    model = PixelCNNPP(spec, net, head)
    return trained(model, MaximumLikelihood(model), training)
