"""Latent: the codes of examples, and the examples of codes, of any model that has both."""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.capabilities import Latent
from pofx.errors import UserError
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.functional.dequantize import relax
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.spec import DataSpec
from pofx.typing import Cond, Data

_BATCH = 256


def encode(
    model: object, x: Data, cond: Cond | None = None, *, seed: int = 0, stop: Stop | None = None
) -> Tensor:
    """The code of each example, on the CPU: `(n, *event) -> (n, *latent)`.

    Raises:
        UserError: the model has no codes.
    """
    return _mapped(model, "encode", x, cond, seed, stop)


def decode(
    model: object, z: Tensor, cond: Cond | None = None, *, seed: int = 0, stop: Stop | None = None
) -> Data:
    """The example of each code, on the CPU: `(n, *latent) -> (n, *event)`.

    Raises:
        UserError: the model has no codes.
    """
    return _mapped(model, "decode", z, cond, seed, stop)


def reconstruction_error(
    model: object,
    x: Data,
    cond: Cond | None,
    spec: DataSpec,
    *,
    seed: int = 0,
    stop: Stop | None = None,
) -> float | None:
    """The root mean square difference of an element and its reconstruction, both relaxed; None for
    a model without codes.
    """
    if not isinstance(model, Latent):
        return None
    z = encode(model, x, cond, seed=seed, stop=stop)
    back = decode(model, z, cond, seed=seed, stop=stop)
    return float((relax(back, spec) - relax(x, spec)).square().mean().sqrt())


@torch.no_grad()
def _mapped(
    model: object, method: str, x: Tensor, cond: Cond | None, seed: int, stop: Stop | None
) -> Tensor:
    if not isinstance(model, Latent):
        raise UserError(
            "this model has no codes; choose one that encodes, such as a VAE or a flow."
        )
    device, dtype = device_of(model), dtype_of(model)
    parts = []
    with evaluating(model):
        for rows in blocks(len(x), _BATCH, stop):
            part = x[rows].to(device, dtype)
            label = None if cond is None else cond[rows].to(device)
            with noise.of(part, seed, use=method):
                parts.append(call(getattr(model, method), part, cond=label).cpu())
    return torch.cat(parts)
