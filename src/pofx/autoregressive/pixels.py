r"""pixels: images, pixel after pixel from the top left, and the colours of a pixel in turn.

.. math:: \log p(x) = \sum_i \log p(x_i | \mathrm{net}(x)_i)

where a network's parameters of an element have seen those before it and no other. One head serves
all elements: bits get a Bernoulli, categories a softmax, bytes a softmax or a mixture of
discretised logistics, real and bounded numbers a mixture of logistics.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from pofx.autoregressive.autoregressive import Autoregressive, Given
from pofx.autoregressive.conditionals import MixtureHead
from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.functional.precision import at_least_float32
from pofx.nn.masked_conv import GatedStacks
from pofx.nn.pixel_lstm import PixelLSTM
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample


class Pixels(Autoregressive):
    """An image model whose elements are distributed each by its own parameters.

    Args:
        spec: of the data, `(colours, height, width)`.
        net: `net(seen, cond)` is `(n, colours * element.channels, height, width)`, and
            `net.unrolled(n, height, width, cond)` are its steps.
        element: the likelihood of one element, `(n, 1)`.
    """

    net: GatedStacks | PixelLSTM

    def __init__(
        self,
        spec: DataSpec,
        net: GatedStacks | PixelLSTM,
        element: Head | MixtureHead,
    ) -> None:
        super().__init__(spec)
        self.net, self.element = net, element

    def seen(self, x: Data) -> Tensor:
        """Images as numbers that a network sees, those of a colour side by side."""
        inputs = relax(x.reshape(-1, 1), DataSpec((1,), self.spec.columns[0]))
        return inputs.view(*x.shape, -1).movedim(-1, 2).flatten(1, 2)

    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        out = at_least_float32(self.net(self.seen(x), cond)).unflatten(1, (x.shape[1], -1))
        each = self.element.log_prob(out.movedim(2, -1).flatten(0, -2), x.reshape(-1, 1))
        each = each.view(x.shape)
        return (each if known is None else each * known).flatten(1).sum(1)

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        colours, height, width = self.spec.shape
        x = next(self.parameters()).new_zeros(n, colours, height, width)
        steps = self.net.unrolled(n, height, width, cond)
        for row in range(height):
            steps.start(row)
            for column, colour in product(range(width), range(colours)):
                element = (colour * height + row) * width + column
                drawn = self._drawn(element, steps.outputs(column, colour), given)
                x[:, colour, row, column] = drawn[:, 0]
                steps.reveal(column, colour, self.seen(drawn[:, :, None, None])[:, :, 0, 0])
        return x

    @torch.no_grad()
    def naive(self, n: int, cond: Cond | None = None) -> Data:
        """What `sample` draws, by a pass for every element over the rows down to its own."""
        x = next(self.parameters()).new_zeros(n, *self.spec.shape)
        for element in self.orders[0].tolist():
            colour, row, column = _place(element, self.spec.shape)
            out = self.net(self.seen(x[:, :, : row + 1]), cond)[:, :, row, column]
            own = out.unflatten(1, (x.shape[1], -1))[:, colour]
            x[:, colour, row, column] = self._drawn(element, own, None)[:, 0]
        return x

    def _drawn(self, element: int, parameters: Tensor, given: Given | None) -> Tensor:
        """One element, `(n, 1)`: drawn, unless it is given."""
        x = self.element.sample(parameters)
        return x if given is None else given.settle(element, x)


def _place(element: int, shape: tuple[int, ...]) -> tuple[int, int, int]:
    _, height, width = shape
    return element // (height * width), element // width % height, element % width


def inputs_of(spec: DataSpec) -> int:
    """How many numbers an element is seen as."""
    return relaxed_shape(DataSpec((1,), spec.columns[0]))[0]


def check_images(spec: DataSpec) -> None:
    """Refuses what is no image of one kind of pixel."""
    if not spec.is_image or isinstance(spec.support, Mixed):
        raise RecipeError(
            f"examples must be images (channels, height, width) (got shape {spec.shape}): use gpt "
            "for text, made for tables."
        )
