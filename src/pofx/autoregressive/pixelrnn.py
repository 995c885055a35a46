r"""pixelrnn: Pixel recurrent neural networks (van den Oord et al., 2016).

Good for: exact likelihoods of small images, when a PixelCNN sees too little.

Images are drawn pixel after pixel, and an LSTM carries what it has seen of them from row to row
(the Row LSTM) or from diagonal to diagonal in both directions (the Diagonal BiLSTM):

.. math:: \log p(x) = \sum_i \log p(x_i | x_{<i})

so that a pixel of the latter sees what came before it, however far. A step waits for the one
before it, which makes a pass in training slower than a PixelCNN's; a sample costs about one pass.

References:
    Pixel recurrent neural networks (van den Oord et al., 2016), eq. 1-3, sections 3.1-3.3 and
    table 1.
    https://arxiv.org/abs/1601.06759

Note:
    A class, where there is one, moves the first layer.
"""

from __future__ import annotations

from typing import Literal

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.conditionals import element_head
from pofx.autoregressive.pixels import Pixels, check_images, inputs_of
from pofx.nn.pixel_lstm import DiagonalBiLSTM, PixelLSTM, RowLSTM
from pofx.parameters import ByteLikelihood, Conditional, Count, Logistics, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    lstm: Literal["row", "diagonal"] = "diagonal",
    channels: Count = 16,
    layers: Count = 2,
    likelihood: ByteLikelihood = "softmax",
    components: Logistics = 10,
    conditional: Conditional = False,
    training: Training = Training(lr=2e-3, batch_size=32, steps=10_000, clip=1.0),
) -> Recipe:
    """A PixelRNN with the likelihood that the pixels call for.

    Args:
        lstm: from row to row, or from diagonal to diagonal in both directions.
        channels: of a state; twice as many between layers.
        layers: recurrent layers.
    """
    check_images(spec)
    element = element_head(spec, likelihood, components)
    net = PixelLSTM(
        inputs_of(spec), element.channels, spec.shape[0],
        RowLSTM if lstm == "row" else DiagonalBiLSTM,
        channels=channels, layers=layers, cond=spec.cond,
    )  # fmt: skip
    model = Pixels(spec, net, element)
    return trained(model, MaximumLikelihood(model), training)
