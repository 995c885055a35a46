r"""Disentanglement: does each code carry one factor, and do codes carry anything in common?

.. math::
   \text{gap} &= \frac{1}{K} \sum_k \frac{I(z_{j_k}; v_k) - \max_{j \ne j_k} I(z_j; v_k)}{H(v_k)},
   \quad j_k = \arg\max_j I(z_j; v_k) \\
   \text{TC} &= \tfrac12 \Big(\sum_j \log S_{jj} - \log\det S\Big)

The gap is 1 when every factor is read from exactly one code and 0 when two codes tell as much of
it. The total correlation is that of a normal distribution with covariance S, 0 for independent
codes.

References:
    Isolating sources of disentanglement in variational autoencoders (Chen et al., 2018), eq. 6 for
    the gap and eq. 2 for the total correlation. https://arxiv.org/abs/1802.04942
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.evaluation.arguments import check_equal_counts, check_table, check_whole

_OFTEN = 10
"""Examples of each value of a code, on average, from which its values are kept apart."""


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int = 20) -> float:
    """The mean gap over factors of `codes`, `(n, d)`, and discrete `factors`, `(n, K)`, int64.

    A code that takes few values, or each of them often, keeps them apart; any other is cut into
    `bins` of equally many examples. A factor that is the same for all examples carries nothing to
    be read, and is left out.

    Raises:
        UserError: codes and factors are no tables of equally many rows, or every factor is
            constant.

    >>> factors = torch.tensor([[0], [1], [2], [3]])
    >>> round(mutual_information_gap(torch.tensor([[0.0], [1e-6], [1.0], [1e3]]), factors), 6)
    1.0
    """
    check_whole("bins", bins, least=2)
    check_table("codes", codes)
    check_table("factors", factors, whole=True)
    check_equal_counts("codes and factors", codes, factors)
    levels = [_cut(code, bins) for code in codes.double().unbind(1)]
    gaps = []
    for factor in factors.unbind(1):
        joints = [_joint(level, factor.unique(return_inverse=True)[1]) for level in levels]
        entropy = _entropy(joints[0].sum(0))
        if entropy > 0:
            information = torch.stack([_mutual_information(p) for p in joints])
            best = torch.cat([information, information.new_zeros(1)]).topk(2).values
            gaps.append((best[0] - best[1]) / entropy)
    if not gaps:
        raise UserError(
            "factors must vary (got none that takes two values): give examples that differ in "
            "what is to be read from codes."
        )
    return float(torch.stack(gaps).mean())


def total_correlation(covariance: Tensor) -> float:
    """Total correlation of a normal distribution with this covariance `(d, d)`, in nats.

    >>> round(total_correlation(torch.tensor([[1.0, 0.5], [0.5, 1.0]])), 6)
    0.143841
    """
    check_table("covariance", covariance)
    if covariance.shape[0] != covariance.shape[1]:
        raise UserError(
            f"covariance must be square (got shape {tuple(covariance.shape)}): give the matrix of "
            "all pairs of codes."
        )
    s = covariance.double()
    return float((s.diagonal().log().sum() - torch.linalg.slogdet(s).logabsdet) / 2)


def _cut(code: Tensor, bins: int) -> Tensor:
    """The bin of every value of a code, `(n,)`, from 0."""
    values, which = code.unique(return_inverse=True)
    if len(values) <= max(bins, len(code) // _OFTEN):
        return which
    # the middle between two values that are there, so that equal ones are never told apart
    places = torch.arange(1, bins) * len(code) // bins
    ordered = code.sort().values
    edges = (ordered[places - 1] + ordered[places]) / 2
    return torch.bucketize(code, edges)


def _joint(a: Tensor, b: Tensor) -> Tensor:
    """The joint distribution of two discrete variables."""
    width = int(b.max()) + 1
    counts = torch.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    return counts.double().reshape(-1, width) / len(a)


def _mutual_information(p: Tensor) -> Tensor:
    return _entropy(p.sum(0)) + _entropy(p.sum(1)) - _entropy(p)


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum()
