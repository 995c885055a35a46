"""Memorisation: are samples nearer to training examples than new real examples are?

For every sample the distance to its nearest training example, held against the same distance for
real examples that the model never saw. A model that generalises has a ratio near 1 and about 5% of
its samples below the 5% quantile of the real distances; one that copies has a ratio near 0.

References:
    A non-parametric test to detect data-copying in generative models (Meehan et al., 2020), section
    3.
    https://arxiv.org/abs/2004.05675
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.evaluation.arguments import check_tables
from pofx.evaluation.blocks import Stop, blocks


@dataclass(frozen=True)
class Memorization:
    """How samples lie to their nearest training examples.

    Args:
        ratio: median distance of samples over median distance of held-out real examples.
        close: share of samples nearer than the 5% quantile of held-out examples; about .05 is as
            expected.
        copies: samples that equal a training example.
        real_copies: held-out examples that equal a training example.
        neighbours: index of each sample's nearest training example, `(n,)`.
        distances: each sample's distance to it, `(n,)`.
        counts: how many samples, held-out and training examples were compared.
    """

    ratio: float
    close: float
    copies: int
    real_copies: int
    neighbours: Tensor = field(repr=False)
    distances: Tensor = field(repr=False)
    counts: tuple[int, int, int]


def memorization(
    samples: Tensor,
    held_out: Tensor,
    train: Tensor | Iterable[Tensor],
    *,
    quantile: float = 0.05,
    stop: Stop | None = None,
) -> Memorization:
    """Holds samples `(n, d)` and held-out examples `(m, d)` against training examples.

    Training examples may come as chunks of rows `(any, d)`, which are read once and not kept.
    """
    check_tables(("samples", "held-out examples"), samples, held_out)
    if isinstance(train, Tensor):
        check_tables(("samples", "training examples"), samples, train)
    chunks = train.split(4096) if isinstance(train, Tensor) else train
    distances, neighbours, copied, count = nearest(torch.cat([samples, held_out]), chunks, stop)
    fake, real = distances.split([len(samples), len(held_out)])
    typical = real.median()
    return Memorization(
        ratio=float(fake.median() / typical) if typical > 0 else 1.0,
        close=float((fake < real.quantile(quantile)).double().mean()),
        copies=int(copied[: len(samples)].sum()),
        real_copies=int(copied[len(samples) :].sum()),
        neighbours=neighbours[: len(samples)],
        distances=fake,
        counts=(len(samples), len(held_out), count),
    )


class Nearest(NamedTuple):
    """Each row's distance to its nearest neighbour, its index, equality; how many there were."""

    distance: Tensor
    index_of: Tensor
    equal: Tensor
    searched: int


def nearest(x: Tensor, chunks: Iterable[Tensor], stop: Stop | None = None) -> Nearest:
    """The row of all `chunks` together that is nearest to each row of `x`, `(n, d)`."""
    # Distances by a matrix product choose the neighbour; its exact distance is then taken by
    # difference.
    centre = x.mean(0)
    centred = _precise(x - centre)
    best = torch.full((len(x),), float("inf"), dtype=centred.dtype, device=x.device)
    index = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    neighbour = torch.empty_like(x)
    first = 0
    for chunk in chunks:
        part = _precise(chunk - centre)
        norms = part.square().sum(1)
        for rows in blocks(len(x), 1024, stop):
            value, at = torch.addmm(norms, centred[rows], part.T, alpha=-2).min(1)
            better = (value < best[rows]).nonzero()[:, 0]
            where = better + rows.start
            best[where], index[where] = value[better], at[better] + first
            neighbour[where] = chunk[at[better]]
        first += len(chunk)
    return Nearest((x - neighbour).norm(dim=1), index, (x == neighbour).all(1), first)


def _precise(x: Tensor) -> Tensor:
    """Narrow rows in float64: they lie dense, and a matrix product's rounding would mix them up."""
    return x.double() if x.shape[1] <= 64 else x
