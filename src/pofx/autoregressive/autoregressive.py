r"""Autoregressive: an exact density by the chain rule.

.. math:: \log p(x) = \sum_i \log p(x_i | x_{<i})

Any distribution factorises so, in any order of its elements; a leaf says what makes an element's
distribution of those before it. Where it heeds the class and none is given, all classes are equally
likely. An example whose first elements are known is completed by drawing the rest in turn, which is
a draw from :math:`p(x_{\ge k} | x_{<k})`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.errors import UserError
from pofx.functional.labels import any_class, check_given, marginal
from pofx.nn.log_odds import LogOdds
from pofx.objective import LossObjective, Metrics
from pofx.spec import Bytes, DataSpec
from pofx.typing import Cond, Data, PerExample


class Given(NamedTuple):
    """What is known of examples before they are drawn.

    Args:
        x: `(n, *event)`; in the support wherever it is not known, too.
        known: which elements are; of the event's shape, on the CPU.
    """

    x: Data
    known: Tensor

    def settle(self, element: int, drawn: Tensor) -> Tensor:
        """An element, `(n, 1)`: as it is given, or else as it is drawn."""
        given = bool(self.known.flatten()[element])
        return self.x.flatten(1)[:, element : element + 1] if given else drawn


class Autoregressive(nn.Module, ABC):
    """Capabilities Samples, Density and Completes.

    Args:
        spec: of the data.
        orders: `(orders, elements)`, the elements in each order that they are drawn in; as they
            stand, by default, and pixel after pixel in an image.
        marginals: what a network's outputs are added to, if anything.
    """

    orders: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        orders: Tensor | None = None,
        marginals: LogOdds | None = None,
    ) -> None:
        super().__init__()
        self.marginals = marginals
        self.spec = spec
        chosen = raster(spec.shape)[None] if orders is None else orders
        self.register_buffer("orders", chosen, persistent=orders is not None)

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.spec.cond is not None

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        check_given(cond, self.spec)
        if self.conditional and cond is None:
            return marginal(self.chain, x, self.spec.classes)
        return self.chain(x, cond)

    def see(self, x: Data) -> None:
        """Shows examples that are trained on to the marginals."""
        assert self.marginals is not None
        self.marginals.see(x)

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None) -> Data:
        check_given(cond, self.spec)
        if self.conditional and cond is None:
            cond = any_class(n, self.spec.classes, self.orders.device)
        return self.ancestral(n, cond)

    @torch.no_grad()
    def complete(self, x: Data, known: Tensor, cond: Cond | None = None) -> Data:
        """Draws the rest of each example from what is known of it.

        A class that is not given is drawn from its posterior, too.

        Args:
            x: `(n, *event)`; what is not known in it is ignored.
            known: which elements are known, of the event's shape: a prefix of the model's order.
            cond: a class for each example.

        Raises:
            UserError: `known` is no prefix of the order.
        """
        self._check(x, known)
        check_given(cond, self.spec)
        blank = -1.0 if isinstance(self.spec.support, Bytes) else 0.0
        x = torch.where(known.to(x.device), x, blank)
        if self.conditional and cond is None:
            classes = [torch.full((len(x),), y, device=x.device) for y in range(self.spec.classes)]
            logits = torch.stack([self.chain(x, y, known.to(x.device)) for y in classes], 1)
            cond = torch.multinomial(logits.softmax(1), 1)[:, 0]
        return self.ancestral(len(x), cond, Given(x, known.cpu()))

    def _check(self, x: Data, known: Tensor) -> None:
        """What may be completed: examples of the event's shape, whose known elements come first."""
        shape = self.spec.shape
        if tuple(known.shape) != shape or tuple(x.shape[1:]) != shape:
            raise UserError(
                f"complete takes examples (n, *{shape}) and a mask of shape {shape}, and "
                f"{tuple(x.shape)} with {tuple(known.shape)} came; say of each element whether it "
                "is known."
            )
        known = known.flatten().to(self.orders.device, torch.bool)
        count = int(known.sum())
        for order in self.orders:
            missing = order[:count][~known[order[:count]]].tolist()
            if missing:
                raise UserError(
                    f"complete goes on in the model's own order, and {count} known elements are "
                    f"not its first {count}: element {_at(missing[0], shape)} is not among them; "
                    f"{_remedy(self.orders, shape)}."
                )

    @abstractmethod
    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        """The sum of `log p(x_i | x_<i, cond)`, nats; a conditional leaf is always told a class.

        Over the elements that are `known`, a mask of the event's shape, or else over all.
        """

    @abstractmethod
    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        """Draws `n` examples, element after element, but for those that are given."""


class MaximumLikelihood(LossObjective):
    """Minimises the mean of `-log p(x)`."""

    def __init__(self, model: Autoregressive) -> None:
        super().__init__()
        self.model: Autoregressive = model

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        if self.training and self.model.marginals is not None:
            self.model.see(x)
        return -self.model.log_prob(x, cond).mean(), {}

    def after_step(self) -> None:
        if self.model.marginals is not None:
            self.model.marginals.settle()


def raster(shape: tuple[int, ...]) -> Tensor:
    """The elements as they stand; of an image, pixel after pixel with its colours together.

    >>> raster((3, 1, 2))
    tensor([0, 2, 4, 1, 3, 5])
    """
    elements = torch.arange(math.prod(shape))
    return elements.view(shape[0], -1).t().flatten() if len(shape) == 3 else elements


def _at(element: int, shape: tuple[int, ...]) -> str:
    """An element by its indices: `(1, 0, 2)`."""
    return str(tuple(int(i) for i in torch.unravel_index(torch.tensor(element), shape)))


def _remedy(orders: Tensor, shape: tuple[int, ...]) -> str:
    """What could be completed instead."""
    if len(orders) > 1:
        return (
            "what comes first in each of its orders would be, so train with `--order natural` and "
            "`--orders 1` to go on from the first"
        )
    if torch.equal(orders[0].cpu(), raster(shape)):
        rows = "the rows from the top would be, and the pixels to the left of one more"
        return rows if len(shape) == 3 else "the first ones would be"
    begins = ", ".join(_at(i, shape) for i in orders[0, :3].tolist())
    return (
        f"its order begins with {begins}, so train with `--order natural` to go on from the first"
    )
