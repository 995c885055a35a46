r"""sequence: elements of one kind, one after another.

.. math:: \log p(x) = \sum_i \log p(x_i | \mathrm{parameters}_i), \qquad
    \mathrm{parameters}_i = f_i(x_1, \dots, x_{i - 1})

A leaf says what f is: of all elements at once, and step by step at no more work in all.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from torch import Tensor

from pofx.autoregressive.autoregressive import Autoregressive, Given
from pofx.autoregressive.conditionals import MixtureHead
from pofx.distributions.heads import Head
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.functional.precision import at_least_float32
from pofx.nn.log_odds import LogOdds
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class Unfolding(Protocol):
    """Sequences that become known element by element."""

    def outputs(self) -> Tensor:
        """The parameters of the next element, `(n, parameters)`."""
        ...

    def reveal(self, seen: Tensor) -> None:
        """Makes the next element known, as a network sees it, `(n, inputs)`."""
        ...


class Sequence(Autoregressive):
    """Elements that have one likelihood, each with parameters of its own.

    Args:
        spec: of the data; an image is taken as a vector.
        element: the likelihood of one element, `(n, 1)`.
        order: `(elements,)`, in which they are drawn; as they stand, by default.
        marginals: what a network's outputs are added to, if anything.
    """

    def __init__(
        self,
        spec: DataSpec,
        element: Head | MixtureHead,
        *,
        order: Tensor | None = None,
        marginals: LogOdds | None = None,
    ) -> None:
        orders = None if order is None else order[None]
        super().__init__(spec, orders=orders, marginals=marginals)
        self.one, self.element = DataSpec((1,), spec.columns[0]), element

    @property
    def inputs(self) -> int:
        """How many numbers an element is seen as."""
        return relaxed_shape(self.one)[0]

    def seen(self, x: Tensor) -> Tensor:
        """What the network sees of each element: `(n, d) -> (n, d, inputs)`."""
        return relax(x.reshape(-1, 1), self.one).view(*x.shape, -1)

    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        ordered = x.flatten(1)[:, self.orders[0]]
        parameters = at_least_float32(self.parameters_of(self.seen(ordered), cond))
        each = self.element.log_prob(parameters.flatten(0, 1), ordered.reshape(-1, 1))
        each = each.view(len(x), -1)
        return (each if known is None else each * known.flatten()[self.orders[0]]).sum(1)

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        steps = self.unfolding(n, cond)
        x = next(self.parameters()).new_empty(n, self.spec.size)
        for element in self.orders[0].tolist():
            drawn = self.element.sample(steps.outputs())
            if given is not None:
                drawn = given.settle(element, drawn)
            x[:, element] = drawn[:, 0]
            steps.reveal(self.seen(drawn)[:, 0])
        return x.unflatten(1, self.spec.shape)

    @abstractmethod
    def parameters_of(self, seen: Tensor, cond: Cond | None) -> Tensor:
        """The parameters of all elements from those before each, in order: `(n, d, parameters)`."""

    @abstractmethod
    def unfolding(self, n: int, cond: Cond | None) -> Unfolding:
        """The same, element by element."""
