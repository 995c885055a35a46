r"""made: MADE: masked autoencoder for distribution estimation (Germain et al., 2015).

Good for: tables and vectors of bits or categories, with exact likelihoods.

An autoencoder whose weights are masked gives every factor of the chain rule in one pass:

.. math:: \log p(x) = \sum_d \log p(x_d | x_{<d}), \qquad
    h = \mathrm{relu}(b + (W \odot M) x), \quad
    \mathrm{parameters} = c + (V \odot M') h + (A \odot M'') x,

because the masks leave no path from an element to its own parameters, or to those of one before it.
Another order of the elements is another mask over the same weights; several orders make an equal
mixture, which is as exact as each of them.

References:
    MADE: masked autoencoder for distribution estimation (Germain et al., 2015), eq. 4, 8 and 9;
    sections on order-agnostic training and, for A, on direct connections.
    https://arxiv.org/abs/1502.03509

Note:
    Elements need not be binary (`pofx.autoregressive.conditionals`). Degrees of hidden units are
    fixed (`pofx.nn.masked`); the paper may also draw them anew.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.autoregressive.autoregressive import Given
from pofx.autoregressive.conditionals import Conditionals
from pofx.autoregressive.orders import FEW, NATURAL, InOrders, OrderAfterOrder, orders_of
from pofx.nn.condition import inputs as condition_inputs
from pofx.nn.defaults import adam_decay
from pofx.nn.log_odds import LogOdds
from pofx.nn.masked import MaskedMLP, Unrolled
from pofx.parameters import (
    Conditional,
    Count,
    Hidden,
    Logistics,
    Marginals,
    Order,
    Training,
    follows,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class MADE(InOrders):
    """A masked autoencoder: the equal mixture of its orders.

    Args:
        conditionals: p(x_d | parameters).
        orders: `(orders, elements)`, the elements in each order.
        hidden: widths of the hidden layers.
        direct: whether parameters also see elements without a layer between.
        marginals: whether outputs are added to each element's own log-odds.

    >>> from pofx.spec import Binary
    >>> conditionals = Conditionals(DataSpec((3,), Binary()))
    >>> model = MADE(conditionals, torch.tensor([[0, 1, 2], [2, 0, 1]]), (8,))
    >>> strings = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> round(model.log_prob(strings).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self,
        conditionals: Conditionals,
        orders: Tensor,
        hidden: tuple[int, ...] = (500,),
        *,
        direct: bool = True,
        marginals: bool = False,
    ) -> None:
        alone = LogOdds(conditionals.spec, conditionals.outputs) if marginals else None
        super().__init__(conditionals.spec, orders=orders, marginals=alone)
        self.conditionals = conditionals
        inputs, outputs = conditionals.inputs, conditionals.outputs
        self.told = None if self.spec.cond is None else condition_inputs(self.spec.cond)
        if self.told is not None:
            inputs, outputs = [self.told.width, *inputs], [0, *outputs]
        self.net = MaskedMLP(inputs, outputs, hidden, direct=direct)

    def in_order(
        self, order: Tensor, x: Data, cond: Cond | None, known: Tensor | None = None
    ) -> PerExample:
        seen = self.conditionals.seen(x)
        if self.conditional:
            seen = torch.cat([self._told(cond), seen], 1)
            order = F.pad(order + 1, (1, 0))
        parameters = self.net(seen, order)
        if self.marginals is not None:
            parameters = parameters + self.marginals()
        return self.conditionals.log_prob(parameters, x, known)

    def drawn_in(self, order: Tensor, n: int, cond: Cond | None, given: Given | None) -> Data:
        steps = Unrolled(self.net, n)
        if self.conditional:
            steps.reveal(0, self._told(cond))
        x = self.net.last.weight.new_empty(n, self.spec.size)
        alone = None if self.marginals is None else self.marginals()
        for element in order.tolist():
            number = element + self.conditional
            parameters = steps.outputs(number)
            if alone is not None:
                parameters = parameters + alone[self.net.rows[number]]
            drawn = self.conditionals.sample(element, parameters)
            if given is not None:
                drawn = given.settle(element, drawn)
            x[:, element : element + 1] = drawn
            steps.reveal(number, self.conditionals.seen_alone(element, drawn))
        return x.unflatten(1, self.spec.shape)

    def _told(self, cond: Cond | None) -> Tensor:
        assert cond is not None
        assert self.told is not None
        return self.told(cond).to(self.net.last.weight.dtype)


def _weight_decay(spec: DataSpec, lr: float) -> float:
    usual = 1.0 if spec.support.discrete and not spec.is_image else 0.1
    return adam_decay(usual, 12_000 * usual, spec.count, lr)


def recipe(
    spec: DataSpec,
    *,
    hidden: Hidden = (500,),
    direct: bool = True,
    order: Order = NATURAL,
    orders: Count = 1,
    components: Logistics = 10,
    conditional: Conditional = False,
    marginals: Marginals = FEW,
    training: Training = Training(
        lr=1e-3,
        batch_size=100,
        steps=10_000,
        weight_decay=follows(
            "1 for vectors of bits or categories, else 0.1; below 1,000 examples 12,000 times that "
            "over their number",
            _weight_decay,
        ),
    ),
) -> Recipe:
    """A MADE with the likelihood that each element calls for.

    Args:
        direct: let an element's parameters also see those before it without a layer between; as
            many weights as the square of the number of elements.
        orders: how many orders to average; those after the first are random, and sampling and
            likelihoods cost as many times more.
    """
    model = MADE(
        Conditionals(spec, components), orders_of(spec, order, orders), hidden,
        direct=direct, marginals=marginals,
    )  # fmt: skip
    return trained(model, OrderAfterOrder(model), training)
