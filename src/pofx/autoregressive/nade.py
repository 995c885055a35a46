r"""nade: The neural autoregressive distribution estimator (Larochelle and Murray, 2011).

Good for: short vectors of bits or categories, with exact likelihoods.

One hidden layer for each factor of the chain rule, and all of them share their weights:

.. math:: \log p(x) = \sum_d \log p(x_d | x_{<d}), \qquad
    h_d = \sigma\Big(c + \sum_{j < d} W_j x_j\Big), \qquad \mathrm{parameters}_d = b_d + V_d h_d

so that what goes into one hidden layer is what went into the last, and one column more. A pass in
training sums over all elements at once, in blocks; a sample takes as many steps as there are
elements, of one column each.

References:
    The neural autoregressive distribution estimator (Larochelle and Murray, 2011), eq. 10-12 and
    algorithm 1.
    https://proceedings.mlr.press/v15/larochelle11a.html
    Neural autoregressive distribution estimation (Uria et al., 2016), section 4.1: of categories.
    https://arxiv.org/abs/1605.02226

Note:
    Bits are seen as -1 and 1. A class, where there is one, is an element before the first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.orders import FEW, NATURAL, orders_of
from pofx.autoregressive.sequence import Sequence
from pofx.distributions.heads import head
from pofx.nn.condition import condition
from pofx.nn.defaults import adam_decay, few
from pofx.nn.log_odds import LogOdds
from pofx.parameters import Conditional, Count, Marginals, Order, Training, follows
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import Binary, Categorical, DataSpec
from pofx.typing import Cond

_BLOCK = 64
"""Elements at a time; more would not stay in a processor's cache."""


class NADE(Sequence):
    """Shared weights over the elements, all of one kind.

    Args:
        spec: of the data; an image is taken as a vector.
        order: `(elements,)`, in which they are drawn.
        hidden: units.
        marginals: whether outputs are added to each element's own log-odds.

    >>> model = NADE(DataSpec((3,), Binary()), torch.arange(3), 8)
    >>> strings = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> round(model.log_prob(strings).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self,
        spec: DataSpec,
        order: Tensor,
        hidden: int = 500,
        *,
        marginals: bool = False,
    ) -> None:
        element = head(DataSpec((1,), spec.columns[0]))
        outputs = element.channels
        alone = LogOdds(spec, [outputs] * spec.size) if marginals else None
        super().__init__(spec, element, order=order, marginals=alone)
        self.c = nn.Parameter(torch.zeros(hidden))
        self.W = nn.Parameter(torch.randn(spec.size, self.inputs, hidden) / math.sqrt(spec.size))
        self.b = nn.Parameter(torch.zeros(spec.size, outputs))
        self.V = nn.Parameter(torch.randn(spec.size, outputs, hidden) / math.sqrt(hidden))
        self.label = condition(spec.cond, hidden, always=True)

    def parameters_of(self, seen: Tensor, cond: Cond | None) -> Tensor:
        a, parts = self.first(len(seen), cond), []
        for start in range(0, seen.shape[1], _BLOCK):
            block = slice(start, start + _BLOCK)
            columns = torch.einsum("ndi,dih->ndh", seen[:, block], self.W[block])
            after = a[:, None] + columns.cumsum(1)
            before = torch.cat([a[:, None], after[:, :-1]], 1)
            parts.append(torch.einsum("ndh,doh->ndo", before.sigmoid(), self.V[block]))
            a = after[:, -1]
        return torch.cat(parts, 1) + self.own()

    def unfolding(self, n: int, cond: Cond | None) -> _Unfolding:
        return _Unfolding(self, self.first(n, cond))

    def own(self) -> Tensor:
        """What each element's parameters are without the others, in order: `(d, parameters)`."""
        if self.marginals is None:
            return self.b
        return self.b + self.marginals().view(self.b.shape)[self.orders[0]]

    def first(self, n: int, cond: Cond | None) -> Tensor:
        """What goes into the hidden layer of the first element: `(n, hidden)`."""
        return self.c.expand(n, -1) if self.label is None else self.c + self.label(cond)


class _Unfolding:
    """What goes into the next element's hidden layer, `(n, hidden)`."""

    def __init__(self, model: NADE, a: Tensor) -> None:
        self.model, self.a, self.place, self.b = model, a, 0, model.own()

    def outputs(self) -> Tensor:
        b, V = self.b[self.place], self.model.V[self.place]
        return torch.addmm(b, self.a.sigmoid(), V.t())

    def reveal(self, seen: Tensor) -> None:
        self.a = torch.addmm(self.a, seen, self.model.W[self.place])
        self.place += 1


def recipe(
    spec: DataSpec,
    *,
    hidden: Count = follows(
        "500, or 50 below 1,000 examples", lambda spec: 50 if few(spec.count) else 500
    ),
    order: Order = NATURAL,
    conditional: Conditional = False,
    marginals: Marginals = FEW,
    training: Training = Training(
        lr=5e-3,
        batch_size=100,
        steps=10_000,
        weight_decay=follows(
            "0.1, or 4,000 over the number of fewer than 1,000 examples",
            lambda spec, lr: adam_decay(0.1, 4000, spec.count, lr),
        ),
    ),
) -> Recipe:
    """A NADE of bits or categories.

    Args:
        hidden: units of the hidden layer that all elements share.
    """
    if not isinstance(spec.support, Binary | Categorical):
        raise RecipeError(
            "elements must be bits, or categories of one kind (got "
            f"{type(spec.support).__name__}): binarize images, or use made."
        )
    model = NADE(spec, orders_of(spec, order)[0], hidden, marginals=marginals)
    return trained(model, MaximumLikelihood(model), training)
