r"""score_matching: how far a score is from that of the data, without the data's density.

The first is what is wanted, Fisher's divergence; the others are the same up to a constant, and need
no more than examples (their expectations, that is):

.. math::
    \text{explicit} &= \tfrac12 |s(x) - \nabla \log p(x)|^2 \\
    \text{implicit} &= \tfrac12 |s(x)|^2 + \mathrm{tr}\, \nabla s(x) \\
    \text{sliced} &= \tfrac12 (v \cdot s(x))^2 + v^T \nabla s(x)\, v \\
    \text{denoising} &= \tfrac12 |s(x + \sigma \epsilon) + \epsilon / \sigma|^2

The last one is about the score of the data with noise on it. Each is one number per example,
differentiable in whatever the score was made of; `pofx.functional.gradients.score_of` makes a score
of an energy.

References:
    Estimation of non-normalized statistical models by score matching (Hyvarinen, 2005), theorem 1.
    https://jmlr.org/papers/v6/hyvarinen05a.html
    Sliced score matching (Song et al., 2019), eq. 7 and 8. https://arxiv.org/abs/1905.07088
    A connection between score matching and denoising autoencoders (Vincent, 2011), eq. 11.
    https://www.iro.umontreal.ca/~vincentp/Publications/smdae_techreport.pdf
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    eq. 6: many levels of noise. https://arxiv.org/abs/1907.05600
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.gradients import ScoreFunction
from pofx.functional.reductions import expand_like, sum_event
from pofx.typing import Data, PerExample


def explicit(score: ScoreFunction, truth: Data, x: Data) -> PerExample:
    """Half the squared distance from the true score, where that is known.

    >>> explicit(lambda x: -x, torch.ones(1, 2), torch.zeros(1, 2))
    tensor([1.])
    """
    return sum_event((score(x) - truth).square()) / 2


@torch.enable_grad()
def implicit(score: ScoreFunction, x: Data) -> PerExample:
    """Hyvarinen's, with the exact trace: as many backward passes as an example has elements.

    Of the score of N(0, 1) at 0 it is the trace alone:

    >>> implicit(lambda x: -x, torch.zeros(1, 2)).tolist()
    [-2.0]
    """
    x = x.detach().requires_grad_()
    s = score(x)
    rows = s.flatten(1).unbind(1)
    trace = [_slope(row.sum(), x).flatten(1)[:, i] for i, row in enumerate(rows)]
    return sum_event(s.square()) / 2 + torch.stack(trace).sum(0)


@torch.enable_grad()
def sliced(score: ScoreFunction, x: Data, v: Tensor) -> PerExample:
    """One backward pass: the score and its slope along random directions.

    Args:
        score: any.
        x: `(n, *event)`.
        v: directions, of the shape of `x`, whose elements have mean 0 and variance 1 and are
            uncorrelated: normal, or 1 and -1.
    """
    x = x.detach().requires_grad_()
    along = sum_event(score(x) * v)
    return along.square() / 2 + sum_event(_slope(along.sum(), x) * v)


@torch.enable_grad()
def sliced_reduced(score: ScoreFunction, x: Data, v: Tensor) -> PerExample:
    """As `sliced` with less variance: the score's own square needs no directions."""
    x = x.detach().requires_grad_()
    s = score(x)
    return sum_event(s.square()) / 2 + sum_event(_slope(sum_event(s * v).sum(), x) * v)


@torch.enable_grad()
def denoising(score: ScoreFunction, x: Data, sigma: float | PerExample, eps: Tensor) -> PerExample:
    """No backward pass through the score: it is told by the noise in which direction data lies.

    Args:
        score: of the data with noise; where levels differ from example to example, at each one's.
        x: `(n, *event)`.
        sigma: the noise's standard deviation: one, or one for each example. Over many levels, a
            weight of `sigma ** 2` makes all of them count alike.
        eps: standard normal, of the shape of `x`.

    Raises:
        UserError: a number that came for it is not positive.
    """
    if not isinstance(sigma, Tensor) and not sigma > 0:
        raise UserError(
            f"denoising learns from noise of a positive level, and {sigma} came; 0.1 is usual."
        )
    scale = expand_like(sigma, x) if isinstance(sigma, Tensor) and sigma.ndim else sigma
    y = (x + scale * eps).detach().requires_grad_()
    return sum_event((score(y) + eps / scale).square()) / 2


def _slope(total: Tensor, x: Data) -> Tensor:
    if not total.requires_grad:
        raise UserError(
            "the slope of a score is taken by its graph, and this one has none; compute it with "
            "torch where gradients are on, or by score_of(energy, differentiable=True)."
        )
    (slope,) = torch.autograd.grad(total, x, create_graph=True, materialize_grads=True)
    return slope
