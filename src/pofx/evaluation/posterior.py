r"""Posterior: what the codes of a model with a bound carry.

.. math::
    \mathrm{KL} = \mathbb{E}_x \mathrm{KL}(q(z|x) \| p(z)), \qquad
    \text{active units} = \#\{ j : \mathrm{Var}_x \, \mathbb{E}_q z_j > 0.01 \} \\
    I(x; z) = \mathbb{E}_x \mathbb{E}_{q(z|x)} \log \frac{q(z | x)}{q(z)}, \qquad
    q(z) \approx \frac1n \sum_i q(z | x_i)

A decoder that can do without its codes leaves q at the prior, and codes that say nothing:
*posterior collapse*. The mutual information is an estimate that cannot exceed log n.

References:
    Importance weighted autoencoders (Burda et al., 2016), section 5.2: active units.
    https://arxiv.org/abs/1509.00519
    Lagging inference networks and posterior collapse in variational autoencoders (He et al., 2019),
    section 2. https://arxiv.org/abs/1901.05534
    ELBO surgery (Hoffman and Johnson, 2016), eq. 4: the mutual information.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pofx.capabilities import Inference
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.typing import Cond, Data

_VARIANCE = 0.01
_MOST = 2000
_BATCH = 250


class Codes(NamedTuple):
    """What codes carry.

    Args:
        kl: nats of each part of the divergence, `(parts,)`.
        active: how many numbers of a code are in use.
        latent: of how many.
        information: mutual information of example and code, nats, or None where log q(z | x) of
            another example's code is not known.
    """

    kl: Tensor
    active: int
    latent: int
    information: float | None


@torch.no_grad()
def codes(
    model: object, x: Data, cond: Cond | None, *, seed: int = 0, stop: Stop | None = None
) -> Codes | None:
    """What the codes of the first 2,000 examples carry; None for a model that infers none."""
    if not isinstance(model, Inference):
        return None
    x, cond = x[:_MOST], None if cond is None else cond[:_MOST]
    device, dtype = device_of(model), dtype_of(model)
    divergence, means, posteriors = [], [], []
    with evaluating(model):
        for rows in blocks(len(x), _BATCH, stop):
            part = x[rows].to(device, dtype)
            label = None if cond is None else cond[rows].to(device)
            with noise.of(part, seed, use="posterior"):
                divergence.append(call(model.terms, part, cond=label)[1].cpu())  # type: ignore[arg-type]
            posterior: Any = call(model.posterior, part, cond=label)  # type: ignore[arg-type]
            posteriors.append(posterior)
            means.append(posterior.mean.cpu())
    spread = torch.cat(means).flatten(1).var(0)
    return Codes(
        kl=torch.cat(divergence).mean(0),
        active=int((spread > _VARIANCE).sum()),
        latent=spread.numel(),
        information=_information(posteriors, seed),
    )


def _information(posteriors: list[Any], seed: int) -> float | None:
    """By the mean of log q(z | x) - log q(z) over one draw of each example, for normal q."""
    if not all(hasattr(q, "mu") and hasattr(q, "log_var") for q in posteriors):
        return None
    mu, log_var = (
        torch.cat([getattr(q, a) for q in posteriors]).double() for a in ("mu", "log_var")
    )
    with noise.of(mu, seed, use="mutual information"):
        z = mu + (0.5 * log_var).exp() * torch.randn_like(mu)
    precision = (-log_var).exp()
    # log q(z_i | x_j) up to a constant, by matrix products: row i, column j
    square = z.square() @ precision.T - 2 * z @ (mu * precision).T
    log_q = -0.5 * (square + (mu.square() * precision + log_var).sum(1))
    gain = log_q.diagonal() - (log_q.logsumexp(1) - math.log(len(mu)))
    return float(gain.mean())


def warn_of_collapse(found: Codes) -> Iterator[str]:
    """Posterior collapse, with its cures."""
    nats = float(found.kl.sum())
    if found.active > 0.1 * found.latent and nats > 0.1:
        return
    yield (
        f"Posterior collapse: codes carry {nats:.3g} nats and {found.active} of {found.latent} "
        "numbers of a code are in use; let the weight of the divergence rise more slowly "
        "(--kl-warmup), give each dimension free nats (--free-bits), lower --beta, or make the "
        "decoder weaker."
    )
