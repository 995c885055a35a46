"""Inversion: how far an example comes back from its code, of a model whose codes are the examples.

A flow's samples have the density that it states only as far as its inverse is one: rounding errors
grow through steep layers, and `decode(encode(x))` shows by how much.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pofx.capabilities import Density, Estimate, Latent
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.functional.draw import evaluating
from pofx.typing import Cond, Data

LARGE = 1e-2


@torch.no_grad()
def inversion_error(
    model: object, x: Data, cond: Cond | None, *, stop: Stop | None = None, batch: int = 500
) -> float | None:
    """The largest difference of an element of x and of `decode(encode(x))`, in the model's own
    precision; infinite where one is not finite.

    None for a model that neither states nor estimates a density, has no codes, or has codes of
    another size, which no bijection has.
    """
    if not (isinstance(model, Density | Estimate) and isinstance(model, Latent)):
        return None
    device, dtype = device_of(model), dtype_of(model)
    worst = torch.zeros(())
    with evaluating(model):
        for rows in blocks(len(x), batch, stop):
            part = x[rows].to(device, dtype)
            label = None if cond is None else cond[rows].to(device)
            z = call(model.encode, part, cond=label)
            if z.numel() != part.numel():
                return None
            error = (call(model.decode, z, cond=label) - part).abs().nan_to_num(float("inf"))
            worst = torch.maximum(worst, error.max().float().cpu())
    return float(worst)


def warn_of_inversion(error: float) -> Iterator[str]:
    """An inverse that is none."""
    if error > LARGE:
        yield (
            f"Examples come back from their codes with an error of up to {error:.2g}, so samples "
            "do not have the density that is stated; lower the learning rate or the largest "
            "log-scale of a layer, or take more steps of a solver, which are --bound and "
            "--solver-steps of some recipes."
        )
