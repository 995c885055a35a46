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

from pofx.functional.products import linear


class MaskedMLP(nn.Module):
    """Linear layers under masks: `(n, sum(inputs)) -> (n, sum(outputs))`, for any order.

    Args:
        inputs: how many inputs each element has; they stand side by side.
        outputs: how many outputs each element has; they stand side by side.
        interleaved: whether they stand apart instead, the first outputs of all elements that have
            any before the second; such elements have equally many.
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
        interleaved: bool = False,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.columns = _side_by_side(inputs)
        self.rows = (_interleaved if interleaved else _side_by_side)(outputs)
        self.register_buffer("input_element", _owners(self.columns), persistent=False)
        self.register_buffer("output_element", _owners(self.rows), persistent=False)
        widths = [sum(inputs), *hidden]
        self.layers = nn.ModuleList(_Units(a, b, len(inputs)) for a, b in pairwise(widths))
        self.last = nn.Linear(widths[-1], sum(outputs))
        self.direct = nn.Linear(sum(inputs), sum(outputs), bias=False) if direct else None
        self.activation = activation()

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """What each element makes of those before it; `order[r]` is the element at place r."""
        *hidden, last, direct = self.masks(order)
        out = _masked(self.last, self._hidden(x, hidden), last)
        return out if self.direct is None else out + _masked(self.direct, x, direct)

    def transposed(self, x: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """The same where examples are columns, `(sum(inputs), n) -> (sum(outputs), n)`, and the
        masks of an order are at hand.
        """
        *hidden, last, direct = masks
        out = _columns(self.last, self._hidden(x.t(), hidden), last)
        return out if self.direct is None else out + _columns(self.direct, x.t(), direct)

    def masks(self, order: Tensor) -> list[Tensor]:
        """Of the hidden layers, of the last and of the direct connections."""
        place = order.argsort()
        first, last = place[self.input_element], place[self.output_element][:, None]
        degrees = [first, *(layer.degree for layer in self.units)]
        hidden = [m[:, None] >= below for below, m in pairwise(degrees)]
        return [*hidden, last > degrees[-1], last > first]

    def _hidden(self, h: Tensor, masks: Sequence[Tensor]) -> Tensor:
        for layer, mask in zip(self.units, masks, strict=True):
            h = self.activation(_masked(layer, h, mask))
        return h

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
    return linear(x, layer.weight * mask, layer.bias)


def _columns(layer: nn.Linear, x: Tensor, mask: Tensor) -> Tensor:
    """The same, transposed."""
    out = linear(layer.weight * mask, x)
    return out if layer.bias is None else out.add_(layer.bias[:, None])


def _side_by_side(widths: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(accumulate(widths, initial=0))]


def _interleaved(widths: Sequence[int]) -> list[slice]:
    """Every so-manieth number is an element's, of `sum(widths)`."""
    apart = sum(1 for w in widths if w)
    assert set(widths) <= {0, max(widths)}
    firsts = accumulate((int(w > 0) for w in widths), initial=0)
    stop = sum(widths)
    return [
        slice(first, stop, apart) if w else slice(0, 0)
        for first, w in zip(firsts, widths, strict=False)
    ]


def _owners(places: Sequence[slice]) -> Tensor:
    """The element of each number, of those that stand at these places."""
    numbers = range(max(s.stop for s in places))
    owned = {i: element for element, s in enumerate(places) for i in numbers[s]}
    return torch.tensor([owned[i] for i in numbers])
