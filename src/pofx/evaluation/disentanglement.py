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


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int = 20) -> float:
    """The mean gap over factors of `codes`, `(n, d)`, and discrete `factors`, `(n, K)`, int64.

    Codes are cut into `bins` of equal width between their extremes; one that takes few values keeps
    them apart.
    """
    levels = _cut(codes.double(), bins)
    gaps = []
    for factor in factors.unbind(1):
        joints = [_joint(level, factor) for level in levels.unbind(1)]
        information = torch.stack([_mutual_information(p) for p in joints])
        best = torch.cat([information, information.new_zeros(1)]).topk(2).values
        gaps.append((best[0] - best[1]) / _entropy(joints[0].sum(0)))
    return float(torch.stack(gaps).mean())


def total_correlation(covariance: Tensor) -> float:
    """Total correlation of a normal distribution with this covariance `(d, d)`, in nats.

    >>> round(total_correlation(torch.tensor([[1.0, 0.5], [0.5, 1.0]])), 6)
    0.143841
    """
    s = covariance.double()
    return float((s.diagonal().log().sum() - torch.linalg.slogdet(s).logabsdet) / 2)


def _cut(codes: Tensor, bins: int) -> Tensor:
    low, high = codes.amin(0), codes.amax(0)
    unit = (codes - low) / (high - low).clamp(min=1e-12)
    return (unit * bins).long().clamp(max=bins - 1)


def _joint(a: Tensor, b: Tensor) -> Tensor:
    """The joint distribution of two discrete variables."""
    width = int(b.max()) + 1
    counts = torch.bincount(a * width + b, minlength=(int(a.max()) + 1) * width)
    return counts.double().reshape(-1, width) / len(a)


def _mutual_information(p: Tensor) -> Tensor:
    return _entropy(p.sum(0)) + _entropy(p.sum(1)) - _entropy(p)


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum()
