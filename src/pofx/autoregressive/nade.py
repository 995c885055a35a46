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
from typing import Literal

import torch
from torch import Tensor, nn

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.orders import orders_of
from pofx.autoregressive.sequence import Sequence
from pofx.distributions.heads import head
from pofx.nn.defaults import adam_decay, few
from pofx.nn.log_odds import LogOdds
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least, check_classes
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
        conditional: whether `cond` is used.
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
        conditional: bool = False,
        marginals: bool = False,
    ) -> None:
        element = head(DataSpec((1,), spec.columns[0]))
        outputs = element.channels
        alone = LogOdds(spec, [outputs] * spec.size) if marginals else None
        super().__init__(spec, element, conditional=conditional, order=order, marginals=alone)
        self.c = nn.Parameter(torch.zeros(hidden))
        self.W = nn.Parameter(torch.randn(spec.size, self.inputs, hidden) / math.sqrt(spec.size))
        self.b = nn.Parameter(torch.zeros(spec.size, outputs))
        self.V = nn.Parameter(torch.randn(spec.size, outputs, hidden) / math.sqrt(hidden))
        self.label = nn.Embedding(spec.classes, hidden) if conditional else None

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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: int | None = None,
    order: Literal["natural", "random"] | None = None,
    conditional: bool = False,
    marginals: bool | None = None,
    lr: float = 5e-3,
    weight_decay: float | None = None,
    batch_size: int = 100,
    steps: int = 10_000,
) -> Recipe:
    """A NADE of bits or categories.

    Args:
        spec: what the data is.
        hidden: units of the hidden layer that all elements share; by default 500, and 50 with
            fewer than 1,000 examples.
        order: the elements as they stand, an image's pixel by pixel, or at random; by default
            natural for images, random for vectors.
        conditional: condition every element on the class.
        marginals: add outputs to the log-odds that each bit or category has for itself, so that
            weight decay draws to independent elements; by default with fewer than 1,000 examples.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        weight_decay: of AdamW; by default 0.1, and with fewer than 1,000 examples 4,000 over
            their number.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if not isinstance(spec.support, Binary | Categorical):
        raise RecipeError(
            "nade: takes bits or categories, all of one kind, and these data are "
            f"{type(spec.support).__name__}; binarise images, or use made."
        )
    check_classes("nade", spec, conditional=conditional)
    check_at_least("nade", 1, hidden=hidden)
    check_at_least("nade", 0, weight_decay=weight_decay)
    small = few(spec.count)
    if hidden is None:
        hidden = 50 if small else 500
    if weight_decay is None:
        weight_decay = adam_decay(0.1, 4000, spec.count, lr)
    marginals = small if marginals is None else marginals
    model = NADE(
        spec, orders_of(spec, order)[0], hidden, conditional=conditional, marginals=marginals
    )
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, weight_decay=weight_decay)},
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
    )
