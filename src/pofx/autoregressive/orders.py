r"""orders: an equal mixture over several orders of the elements.

.. math:: p(x) = \frac{1}{K} \sum_k \prod_i p(x_{o_k(i)} | x_{o_k(1)}, \dots, x_{o_k(i - 1)})

which is as exact as each of them. A model that shares its weights among orders learns them in turn.

References:
    A deep and tractable density estimator (Uria et al., 2014), section 4: an ensemble of orders.
    https://arxiv.org/abs/1310.1757
    MADE: masked autoencoder for distribution estimation (Germain et al., 2015), section 4.1.
    https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from pofx.autoregressive.autoregressive import Autoregressive, Given, raster
from pofx.batch import Batch
from pofx.functional.labels import any_class
from pofx.nn.defaults import few
from pofx.objective import LossObjective, Metrics
from pofx.parameters import follows
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

Order = Literal["natural", "random"]


class InOrders(Autoregressive):
    """Equally likely to draw in each of its orders."""

    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        each = [self.in_order(order, x, cond, known) for order in self.orders]
        return torch.stack(each).logsumexp(0) - math.log(len(each))

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        # every order draws all rows, because an example's noise belongs to its row
        drawn = torch.stack([self.drawn_in(order, n, cond, given) for order in self.orders])
        if len(drawn) == 1:
            return drawn[0]
        return drawn[self._chosen(n, cond, given), torch.arange(n, device=drawn.device)]

    def _chosen(self, n: int, cond: Cond | None, given: Given | None) -> Tensor:
        """An order for each example: the likelier, the better it explains what is given."""
        if given is None:
            return any_class(n, len(self.orders), self.orders.device)
        known = given.known.to(self.orders.device)
        each = [self.in_order(order, given.x, cond, known) for order in self.orders]
        return torch.multinomial(torch.stack(each, 1).softmax(1), 1)[:, 0]

    @abstractmethod
    def in_order(
        self, order: Tensor, x: Data, cond: Cond | None, known: Tensor | None = None
    ) -> PerExample:
        """Log p of what is known of x, or of all of it, in one order; nats."""

    @abstractmethod
    def drawn_in(self, order: Tensor, n: int, cond: Cond | None, given: Given | None) -> Data:
        """Draws `n` examples in one order, but for what is given."""


class OrderAfterOrder(LossObjective):
    """Minimises the mean of `-log p(x)` of one order, the next one at each step.

    Its mean over orders is an upper bound of the mixture's, by Jensen's inequality.
    """

    turn: Tensor

    def __init__(self, model: InOrders) -> None:
        super().__init__()
        self.model: InOrders = model
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def after_step(self) -> None:
        self.turn += 1
        if self.model.marginals is not None:
            self.model.marginals.settle()

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        if self.training and self.model.marginals is not None:
            self.model.marginals.see(x)
        order = self.model.orders[self.turn % len(self.model.orders)]
        return -self.model.in_order(order, x, cond).mean(), {}


NATURAL: Order = follows(
    "natural for images, else random", lambda spec: "natural" if spec.is_image else "random"
)
FEW = follows("true below 1,000 examples", lambda spec: few(spec.count))


def orders_of(spec: DataSpec, first: Order, count: int = 1) -> Tensor:
    """So many orders, `(count, elements)`: one that is named, and then any.

    Args:
        spec: of the data.
        first: natural or random.
        count: how many.

    >>> orders_of(DataSpec((1, 2, 2)), "natural")
    tensor([[0, 1, 2, 3]])
    """
    begun = [raster(spec.shape)] if first == "natural" else []
    return torch.stack([*begun, *(torch.randperm(spec.size) for _ in range(count - len(begun)))])
