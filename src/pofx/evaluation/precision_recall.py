r"""Precision, recall, density and coverage, from balls around k-th nearest neighbours.

With :math:`B_k(y)` the ball around y that reaches its k-th neighbour within y's own set:

.. math::
   \text{precision} &= \text{share of fakes in some } B_k(\text{real}) \\
   \text{recall} &= \text{share of reals in some } B_k(\text{fake}) \\
   \text{density} &= \tfrac{1}{k} \text{ mean count of } B_k(\text{real}) \text{ that a fake lies
   in} \\ \text{coverage} &= \text{share of } B_k(\text{real}) \text{ that hold some fake}

Collapse onto one real example so gives high precision and low recall. All four come from one pass
over the distances, in blocks of rows.

References:
    Improved precision and recall metric for assessing generative models (Kynkaanniemi et al.,
    2019), eq. 1-2.
    https://arxiv.org/abs/1904.06991
    Reliable fidelity and diversity metrics for generative models (Naeem et al., 2020), eq. 3-4 and
    7.
    https://arxiv.org/abs/2002.09797
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.evaluation.arguments import check_tables, check_whole
from pofx.evaluation.blocks import Stop, blocks
from pofx.functional.products import linear


class PrecisionRecall(NamedTuple):
    """Fidelity (`precision`, `density`) and diversity (`recall`, `coverage`) of fakes."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    real: Tensor, fake: Tensor, *, k: int = 5, block: int = 512, stop: Stop | None = None
) -> PrecisionRecall:
    """Precision, recall, density and coverage of fake features `(m, d)` against real ones `(n, d)`.

    For two samples of one distribution precision and recall are below 1, the more so the higher the
    dimension, so read them beside the same figures for real against real.

    Args:
        real: features of real examples.
        fake: features of samples.
        k: which neighbour a ball reaches to; 3 in Kynkaanniemi et al., 5 in Naeem et al.
        block: rows whose distances are held at a time.
        stop: polled between blocks.

    Raises:
        UserError: the sets have different widths or fewer than k + 1 rows.
    """
    check_tables(("real", "fake"), real, fake)
    check_whole("k", k, least=1)
    check_whole("block", block, least=1)
    if real.shape[1:] != fake.shape[1:] or real.ndim != 2 or min(len(real), len(fake)) <= k:
        raise UserError(
            f"Precision and recall with k={k} need two sets of more than {k} rows and of equal "
            f"width, but "
            f"got {tuple(real.shape)} and {tuple(fake.shape)}; evaluate more examples or lower k."
        )
    centre = real.mean(0)
    real, fake = real - centre, fake - centre
    real_radius, fake_radius = (neighbour_distance(t, k, block, stop) for t in (real, fake))
    counts = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros_like(covered)
    for rows, distance in _distances(fake, real, block, stop):
        inside = distance <= real_radius
        counts[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= (distance <= fake_radius[rows, None]).any(0)
    return PrecisionRecall(
        precision=float((counts > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(counts.double().mean() / k),
        coverage=float(covered.double().mean()),
    )


def neighbour_distance(x: Tensor, k: int, block: int = 512, stop: Stop | None = None) -> Tensor:
    """The squared distance of each row to its k-th nearest other row."""
    radius = x.new_empty(len(x), dtype=torch.float64)
    for rows, distance in _distances(x, x, block, stop):
        distance[:, rows].fill_diagonal_(float("inf"))
        radius[rows] = distance.topk(k, 1, largest=False, sorted=False).values.amax(1)
    return radius


def expected_coverage(reals: int, fakes: int, k: int) -> float:
    """The coverage of two samples of one distribution (Naeem et al., eq. 9)."""
    return 1 - prod((reals - i) / (fakes + reals - i) for i in range(1, k + 1))


def _distances(a: Tensor, b: Tensor, block: int, stop: Stop | None):  # noqa: ANN202
    """Squared distances of blocks of `a` to all of `b`, in one buffer that is overwritten."""
    if a.shape[1] <= 16:  # where rows lie dense, float32 products would blur their distances
        a, b, block = a.double(), b.double(), max(block // 2, 1)
    norms = torch.linalg.vector_norm(b, dim=1).square_()
    buffer = a.new_empty(min(block, len(a)), len(b))
    for rows in blocks(len(a), block, stop):
        out = buffer[: rows.stop - rows.start]
        torch.add(norms, linear(a[rows], b), alpha=-2, out=out)
        yield rows, out.add_(a[rows].square().sum(1, keepdim=True)).clamp_(min=0)
