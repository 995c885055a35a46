r"""masked: a fully connected network in which no element sees itself or what comes after it.

Elements come in an order, and r is the place of an element in it. Every hidden unit k has a degree
m, and sees what stands at places up to m; an element's outputs see the units, and by direct
connections the inputs, of the places before its own:

.. math:: M_{kj} = 1[m_k \ge m_j], \qquad V_{dk} = 1[r_d > m_k], \qquad A_{dj} = 1[r_d > r_j]

where the degree of an input is the place of its element. The masks multiply the weights, so that
another order of the elements is another mask and not another network.

References:
    MADE: masked autoencoder for distribution estimation (Germain et al., 2015), eq. 8, 9, 12 and
    13.
    https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedMLP(nn.Module):
    """Linear layers under masks: `(n, sum(inputs)) -> (n, sum(outputs))`, for any order.

    Args:
        inputs: how many inputs each element has; they stand side by side.
        outputs: how many outputs each element has; they stand side by side.
        hidden: widths of the hidden layers.
        direct: whether outputs also see inputs without a layer between.
        activation: between layers.

    >>> net = MaskedMLP([1, 1, 1], [2, 2, 2], (8,))
    >>> net(torch.zeros(5, 3), order=torch.tensor([2, 0, 1])).shape
    torch.Size([5, 6])
    """

    input_element: Tensor
    output_element: Tensor

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        hidden: Sequence[int] = (500,),
        *,
        direct: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.columns, self.rows = _side_by_side(inputs), _side_by_side(outputs)
        self.register_buffer("input_element", _owners(inputs), persistent=False)
        self.register_buffer("output_element", _owners(outputs), persistent=False)
        widths = [sum(inputs), *hidden]
        self.layers = nn.ModuleList(_Units(a, b, len(inputs)) for a, b in pairwise(widths))
        self.last = nn.Linear(widths[-1], sum(outputs))
        self.direct = nn.Linear(sum(inputs), sum(outputs), bias=False) if direct else None
        self.activation = activation()

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """What each element makes of those before it; `order[r]` is the element at place r."""
        place = order.argsort()
        first, last = place[self.input_element], place[self.output_element][:, None]
        h, degree = x, first
        for layer in self.units:
            h = self.activation(_masked(layer, h, layer.degree[:, None] >= degree))
            degree = layer.degree
        out = _masked(self.last, h, last > degree)
        return out if self.direct is None else out + _masked(self.direct, x, last > first)

    @property
    def units(self) -> list[_Units]:
        """The hidden layers."""
        return list(self.layers)  # type: ignore[arg-type]


class Unrolled:
    """A `MaskedMLP` whose inputs become known element by element, all of it for one pass's cost.

    A unit is computed once, as soon as all that it sees is known. What is not known yet is zero,
    which is what the mask would have made of it. Without gradients.

    Args:
        net: the network.
        n: how many examples.

    >>> net = MaskedMLP([1, 1], [1, 1], (8,))
    >>> x, steps = torch.randn(5, 2), Unrolled(net, 5)
    >>> steps.reveal(1, x[:, 1:])
    >>> torch.allclose(steps.outputs(0), net(x, torch.tensor([1, 0]))[:, :1], atol=1e-6)
    True
    """

    def __init__(self, net: MaskedMLP, n: int) -> None:
        weight = net.last.weight
        self.net, self.known = net, 0
        self.x = weight.new_zeros(n, net.columns[-1].stop)
        self.hidden = [weight.new_zeros(n, layer.out_features) for layer in net.units]

    @torch.no_grad()
    def outputs(self, element: int) -> Tensor:
        """The outputs of an element, given those that are known: `(n, its outputs)`."""
        net, rows = self.net, self.net.rows[element]
        h = [self.x, *self.hidden][-1]
        out = F.linear(h, net.last.weight[rows], net.last.bias[rows])
        return out if net.direct is None else out + F.linear(self.x, net.direct.weight[rows])

    @torch.no_grad()
    def reveal(self, element: int, inputs: Tensor) -> None:
        """Makes the element at the next place known, by its inputs, `(n, its inputs)`."""
        self.x[:, self.net.columns[element]] = inputs
        h = self.x
        for layer, out in zip(self.net.units, self.hidden, strict=True):
            units = layer.of_degree(self.known)
            out[:, units] = self.net.activation(F.linear(h, layer.weight[units], layer.bias[units]))
            h = out
        self.known += 1


class _Units(nn.Linear):
    """Hidden units, by rising degree.

    Degrees are spread evenly, where the paper draws them: none is left out by chance, and nothing
    random has to be kept.
    """

    degree: Tensor

    def __init__(self, inputs: int, width: int, elements: int) -> None:
        super().__init__(inputs, width)
        degrees = [k * (elements - 1) // width for k in range(width)]
        self.starts = [bisect_left(degrees, m) for m in range(elements + 1)]
        self.register_buffer("degree", torch.tensor(degrees), persistent=False)

    def of_degree(self, m: int) -> slice:
        """The units of degree m; none has the last one, which no output sees."""
        return slice(self.starts[m], self.starts[m + 1])


def _masked(layer: nn.Linear, x: Tensor, mask: Tensor) -> Tensor:
    return F.linear(x, layer.weight * mask, layer.bias)


def _side_by_side(widths: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(accumulate(widths, initial=0))]


def _owners(widths: Sequence[int]) -> Tensor:
    """The element of each of `sum(widths)` numbers."""
    return torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
