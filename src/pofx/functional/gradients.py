r"""gradients: the score of an energy that has none written by hand,

.. math:: s(x) = \nabla \log p(x) = -\nabla E(x),

by automatic differentiation: the one place where an energy becomes a score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.typing import Data, PerExample

EnergyFunction = Callable[[Data], PerExample]
"""`-log p(x)` up to a constant: `(n, *event) -> (n,)`; no example's energy depends on another."""

ScoreFunction = Callable[[Data], Data]
"""The gradient of log p at each example: `(n, *event) -> (n, *event)`."""


class Slope(NamedTuple):
    """What a chain needs to know of where it is.

    Args:
        energy: of each example, `(n,)`.
        score: minus its gradient, `(n, *event)`.
    """

    energy: PerExample
    score: Data


SlopeFunction = Callable[[Data], Slope]


def score_of(energy: EnergyFunction, *, differentiable: bool = False) -> ScoreFunction:
    """The score of an energy.

    Args:
        energy: any; the score is computed even where gradients are off.
        differentiable: whether the score has a graph, as score matching needs; without one it is
            cheaper.

    >>> score_of(lambda x: x.square().sum(1))(torch.ones(1, 2))
    tensor([[-2., -2.]])
    """

    def score(x: Data) -> Data:
        with torch.enable_grad():
            x = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            return _negative_gradient(energy(x), x, differentiable)

    return score


def slope_of(energy: EnergyFunction, score: ScoreFunction | None = None) -> SlopeFunction:
    """Energy and score at once; one pass through the energy gives both where there is no `score`.

    >>> slope_of(lambda x: x.square().sum(1))(torch.ones(1, 2))
    Slope(energy=tensor([2.]), score=tensor([[-2., -2.]]))
    """

    def by_hand(x: Data) -> Slope:
        assert score is not None
        return Slope(energy(x), score(x))

    def by_autograd(x: Data) -> Slope:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            e = energy(x)
            return Slope(e.detach(), _negative_gradient(e, x))

    return by_autograd if score is None else by_hand


def _negative_gradient(energy: PerExample, x: Data, differentiable: bool = False) -> Tensor:
    (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=differentiable)
    return -gradient
