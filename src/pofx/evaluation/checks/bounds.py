r"""Bounds: do they lie below log p(x), and is the importance-weighted one the mean of weights?

A bound of k weights has the distribution of the logarithm of the mean of k single ones:

.. math:: \mathcal{L}_k = \log \frac1k \sum_{i=1}^k w_i, \qquad \log w_i \sim \mathcal{L}_1

References:
    Importance weighted autoencoders (Burda et al., 2016), eq. 8. https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pofx.capabilities import Density
from pofx.evaluation.checks.case import Case
from pofx.evaluation.checks.evidence import above

_DRAWS = 16
_MORE = 256
"""Fresh draws to convict by, where a few are suspicious: those of a bound may be far from
normal."""
_WEIGHTS = 8
_SLACK = 1e-3


def check_bound(case: Case) -> Iterator[str]:
    """The mean of elbo is at most log_prob."""
    gap = _above_log_prob(case, case.model.elbo)
    if gap:
        yield (
            f"elbo should be at most log_prob on average, but is {gap:.4g} nats above it; one of "
            "them is wrong."
        )


def check_importance(case: Case) -> Iterator[str]:
    """The importance bound of several weights is the logarithm of their mean, and below log p."""
    gap = _above_single_weights(case)
    if gap:
        yield (
            f"importance_bound of {_WEIGHTS} samples should be the logarithm of the mean of as "
            f"many weights, but is {gap:.3g} nats above it (log {_WEIGHTS} is "
            f"{math.log(_WEIGHTS):.3g}); subtract log(samples)."
        )
    if isinstance(case.model, Density):

        def bound(x: Tensor, cond: Tensor | None = None) -> Tensor:
            return case.model.importance_bound(x, cond, samples=_WEIGHTS)

        gap = _above_log_prob(case, bound)
        if gap:
            yield (
                f"importance_bound should be at most log_prob on average, but is {gap:.4g} nats "
                "above it; one of them is wrong."
            )


def _above_log_prob(case: Case, bound: Callable[..., Tensor]) -> float:
    """How far a bound is above log_prob; 0 where luck may be the reason."""
    known = case.ask(case.model.log_prob).double()
    for first, draws in ((0, _DRAWS), (_DRAWS, _MORE)):
        each = [case.ask(bound, draw=first + i).double() for i in range(draws)]
        # the mean over draws of one example, and over examples, errs by the draws' noise alone
        gaps = (torch.stack(each) - known).mean(1)
        gap = above(gaps, _SLACK + 1e-5 * float(known.abs().mean()))
        if not gap:
            return 0.0
    return gap


def _above_single_weights(case: Case, examples: int = 16, groups: int = 4) -> float:
    """How far a bound of several weights is above the mean of single ones, if by half of what a
    forgotten division would do.
    """
    x = case.x[:examples]
    several = x.repeat(groups, *(1,) * (x.ndim - 1))
    single = several.repeat(_WEIGHTS, *(1,) * (x.ndim - 1))
    bound = case.model.importance_bound
    given = case.ask(bound, several, draw=1, samples=_WEIGHTS).double()
    log_w = case.ask(bound, single, draw=2, samples=1).double().reshape(_WEIGHTS, -1)
    gap = given - (log_w.logsumexp(0) - math.log(_WEIGHTS))
    return above(gap.nan_to_num(0.0), 0.5 * math.log(_WEIGHTS))
