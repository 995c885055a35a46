r"""Autoregressive: an exact density by the chain rule.

.. math:: \log p(x) = \sum_i \log p(x_i | x_{<i})

Any distribution factorises so, in any order of its elements; a leaf says what makes an element's
distribution of those before it. Where it heeds the class and none is given, all classes are equally
likely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from pofx.functional.labels import any_class, marginal
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class Autoregressive(nn.Module, ABC):
    """Capabilities Samples and Density.

    Args:
        spec: of the data.
        conditional: whether `cond` is used.
    """

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__()
        self.spec, self.conditional = spec, conditional

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        if self.conditional and cond is None:
            return marginal(self.chain, x, self.spec.classes)
        return self.chain(x, cond)

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None) -> Data:
        if self.conditional and cond is None:
            cond = any_class(n, self.spec.classes, next(self.parameters()).device)
        return self.ancestral(n, cond)

    @abstractmethod
    def chain(self, x: Data, cond: Cond | None) -> PerExample:
        """The sum of `log p(x_i | x_<i, cond)`, nats; a conditional leaf is always told a class."""

    @abstractmethod
    def ancestral(self, n: int, cond: Cond | None) -> Data:
        """Draws `n` examples, element after element."""
