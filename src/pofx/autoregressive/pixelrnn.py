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
from pofx.recipe import Adam, Recipe
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    lstm: Literal["row", "diagonal"] = "diagonal",
    channels: int = 16,
    layers: int = 2,
    likelihood: Literal["softmax", "logistic"] = "softmax",
    components: int = 10,
    conditional: bool = False,
    lr: float = 2e-3,
    batch_size: int = 32,
    steps: int = 10_000,
) -> Recipe:
    """A PixelRNN with the likelihood that the pixels call for.

    Args:
        spec: what the data is.
        lstm: from row to row, or from diagonal to diagonal in both directions.
        channels: of a state; twice as many between layers.
        layers: recurrent layers.
        likelihood: of bytes: a softmax over their levels, or a mixture of discretised logistics.
        components: of the mixture of logistics of bytes, real or bounded pixels.
        conditional: condition the first layer on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_images(
        "pixelrnn", spec, conditional=conditional,
        channels=channels, layers=layers, components=components,
    )  # fmt: skip
    element = element_head(spec, likelihood, components)
    net = PixelLSTM(
        inputs_of(spec), element.channels, spec.shape[0],
        RowLSTM if lstm == "row" else DiagonalBiLSTM,
        channels=channels, layers=layers, classes=spec.classes if conditional else 0,
    )  # fmt: skip
    model = Pixels(spec, net, element, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
        clip=1.0,
    )
