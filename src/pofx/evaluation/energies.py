"""Energies: whether what a model draws is as likely, by its own energy, as the data.

A model that was trained with short chains may have valleys of the energy where there are no data,
which longer chains find: its samples then have far lower energies than the data.

References:
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), section 5.
    Training restricted Boltzmann machines using approximations to the likelihood gradient
    (Tieleman, 2008), section 5. https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.capabilities import Energy
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.evaluation.report import Measured
from pofx.functional.draw import evaluating
from pofx.typing import Data

_FAR = 3.0
"""Standard deviations of the data's own energies."""


def energy_gap(
    model: Energy, real: Data, fake: Data, reference: Data, *, stop: Stop | None = None
) -> tuple[Measured, list[str]]:
    """The mean energy of real examples less that of samples, beside what other real examples have
    instead of samples; and a sentence where samples lie in valleys that hold no data. Nats.

    >>> class Square:
    ...     def energy(self, x): return (x**2).sum(1)
    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> energy_gap(Square(), x, 0 * x, x)[0].value
    4.666666507720947
    """
    ours, drawn, others = (_energies(model, x, stop) for x in (real, fake, reference))
    gap, floor = (float(ours.mean() - e.mean()) for e in (drawn, others))
    return Measured(gap, floor=floor), list(_warn(gap, float(ours.std())))


def _warn(gap: float, spread: float) -> Iterator[str]:
    if gap > _FAR * spread:
        yield (
            f"Spurious valleys: by the model's own energy its samples are {gap:,.1f} nats likelier "
            f"than the data, whose energies differ by {spread:,.1f} among themselves; train with "
            f"chains that go on from step to step, or go further in each (--k), so that they fill "
            f"such valleys."
        )


def _energies(model: Energy, x: Data, stop: Stop | None) -> Tensor:
    device, dtype = device_of(model), dtype_of(model)
    with evaluating(model), torch.no_grad():
        parts = [
            call(model.energy, x[rows].to(device, dtype), cond=None)
            for rows in blocks(len(x), 1000, stop)
        ]
    return torch.cat(parts).cpu()
