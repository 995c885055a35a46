r"""Modes of a known mixture: how many a sampler finds, how evenly, and what falls between.

A sample is of high quality if it lies within three standard deviations of the nearest mode, a mode
is covered if it has such a sample, and with h the histogram of the high-quality samples over K
modes the reverse divergence is

.. math:: \mathrm{KL}(h \,\|\, \text{uniform}) = \log K + \sum_k h_k \log h_k

References:
    PacGAN: the power of two samples in generative adversarial networks (Lin et al., 2018), section
        4.1 and its published code, for a histogram of high-quality samples only.
        https://arxiv.org/abs/1712.04086
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.evaluation.arguments import check_positive, check_tables


class ModeCoverage(NamedTuple):
    """Modes found, share of samples of high quality, and reverse KL to an even spread, nats."""

    modes: int
    high_quality: float
    reverse_kl: float


def mode_coverage(
    samples: Tensor, means: Tensor, std: float, *, radius: float = 3.0
) -> ModeCoverage:
    """Holds samples `(n, d)` against a mixture of isotropic normals with `means`, `(K, d)`.

    An ideal sampler of a two-dimensional mixture has a high-quality share of `1 - exp(-radius^2 /
    2)`, .989 at 3. With no sample of high quality the divergence is that of a point mass, `log K`.

    >>> means = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    >>> mode_coverage(torch.tensor([[0.1, 0.0], [0.0, 0.1], [2.0, 0.0]]), means, 0.5).modes
    1
    """
    check_tables(("samples", "means"), samples, means)
    check_positive("std", std)
    check_positive("radius", radius)
    distance, nearest = torch.cdist(samples, means).min(1)
    good = distance < radius * std
    histogram = torch.bincount(nearest[good], minlength=len(means)).double()
    if not good.any():
        return ModeCoverage(0, 0.0, math.log(len(means)))
    h = histogram / histogram.sum()
    return ModeCoverage(
        modes=int((histogram > 0).sum()),
        high_quality=float(good.double().mean()),
        reverse_kl=max(0.0, math.log(len(means)) + float(torch.special.xlogy(h, h).sum())),
    )
