r"""Inception score: Improved techniques for training GANs (Salimans et al., 2016).

.. math:: \exp \mathbb{E}_x\, \mathrm{KL}(p(y | x) \,\|\, p(y))

Between 1, when a classifier says the same of every sample, and the number of classes, when it is
sure of each and they are evenly spread. It never looks at real data: read it beside that of the
real test set.

References:
    Improved techniques for training GANs (Salimans et al., 2016), section 4.
    https://arxiv.org/abs/1606.03498
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.evaluation.arguments import check_table, check_whole


class InceptionScore(NamedTuple):
    """The mean score over splits and its standard deviation over them."""

    value: float
    std: float


def inception_score(logits: Tensor, *, splits: int = 1) -> InceptionScore:
    """The score of samples from a classifier's logits, `(n, classes)`.

    A split of few rows scores low, so compare figures of equal counts and splits only.

    >>> round(inception_score(100 * torch.eye(10)).value, 6)
    10.0
    """
    check_table("logits", logits)
    check_whole("splits", splits, least=1)
    if splits > len(logits):
        raise UserError(
            f"splits must be at most the number of rows (got {splits} of {len(logits)} rows): ask "
            "for fewer."
        )
    scores = torch.stack([_score(part) for part in logits.double().chunk(splits)])
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)))


def _score(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(1)
    log_marginal = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_marginal)).sum(1).mean().exp()
