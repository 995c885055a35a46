r"""gradients: the score of an energy that has none written by hand,

.. math:: s(x) = \nabla \log p(x) = -\nabla E(x),

by automatic differentiation: the one place where an energy becomes a score.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.typing import Data, PerExample

P = ParamSpec("P")
T = TypeVar("T")

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


def out_of_inference(function: Callable[P, T]) -> Callable[P, T]:
    """Lets a function make graphs even where its caller is in inference mode.

    >>> with torch.inference_mode():
    ...     score_of(lambda x: x.square().sum(1))(torch.ones(1, 2))
    tensor([[-2., -2.]])
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False):
            return function(*args, **kwargs)

    return called


def recordable(x: Tensor) -> Tensor:
    """The same numbers, of which a graph may be made even if they come from inference mode."""
    return x.clone() if x.is_inference() else x


def check_energy(energy: PerExample, x: Data) -> PerExample:
    """Refuses an energy, or a log-density, that is not one number for each example."""
    if energy.shape != x.shape[:1]:
        raise UserError(
            f"an energy or a log-density gives one number for each example, ({len(x)},), and "
            f"{tuple(energy.shape)} came; sum over each example's own elements and no further."
        )
    return energy


def check_score(score: Data, x: Data) -> Data:
    """Refuses a score of another shape than the examples'."""
    if score.shape != x.shape:
        raise UserError(
            f"a score has the shape of the examples, {tuple(x.shape)}, and {tuple(score.shape)} "
            "came; give the gradient of log p at each element."
        )
    return score


def score_of(energy: EnergyFunction, *, differentiable: bool = False) -> ScoreFunction:
    """The score of an energy.

    Args:
        energy: any; the score is computed even where gradients are off.
        differentiable: whether the score has a graph, as score matching needs; without one it is
            cheaper.

    >>> score_of(lambda x: x.square().sum(1))(torch.ones(1, 2))
    tensor([[-2., -2.]])
    """

    @out_of_inference
    def score(x: Data) -> Data:
        with torch.enable_grad():
            if not (differentiable and x.requires_grad):
                x = recordable(x).detach().requires_grad_()
            return _negative_gradient(energy(x), x, differentiable)

    return score


def slope_of(energy: EnergyFunction, score: ScoreFunction | None = None) -> SlopeFunction:
    """Energy and score at once; one pass through the energy gives both where there is no `score`.

    >>> slope_of(lambda x: x.square().sum(1))(torch.ones(1, 2))
    Slope(energy=tensor([2.]), score=tensor([[-2., -2.]]))
    """

    def by_hand(x: Data) -> Slope:
        assert score is not None
        return Slope(check_energy(energy(x), x), check_score(score(x), x))

    @out_of_inference
    def by_autograd(x: Data) -> Slope:
        with torch.enable_grad():
            x = recordable(x).detach().requires_grad_()
            e = energy(x)
            return Slope(e.detach(), _negative_gradient(e, x))

    return by_autograd if score is None else by_hand


def _negative_gradient(energy: PerExample, x: Data, differentiable: bool = False) -> Tensor:
    if not check_energy(energy, x).requires_grad:
        raise UserError(
            "a score is the slope of an energy, and this one has no graph; compute it with torch "
            "where gradients are on, or give the score itself."
        )
    (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=differentiable)
    return -gradient
