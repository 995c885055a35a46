"""Likelihood: the strongest statement about log p(x) that a model can make, and its kind.

A note on the evaluation of generative models (Theis et al., 2016) https://arxiv.org/abs/1511.01844
tells why the unit
matters: a mass of discrete values, and a density in the user's own units, are not comparable, nor
is a bound with an exact value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pofx.capabilities import (
    Bound,
    Density,
    Energy,
    EnergyBound,
    Estimate,
    ImportanceBound,
    Kind,
    Likelihood,
    Normalizer,
    NormalizerAbove,
)
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.functional.draw import evaluating
from pofx.functional.random import noise, seeded, stream
from pofx.spec import DataSpec, Interval
from pofx.typing import Cond, Data, PerExample

_APART = 1.0
"""Nats between the two sides of log Z that need no word."""


@dataclass(frozen=True)
class Statement:
    """What a model says of log p(x): how, of which kind, with what error common to all examples,
    and how far the two sides of its constant are apart.
    """

    log_prob: Callable[..., PerExample]
    kind: Kind
    detail: str = ""
    shared_stderr: float = 0.0
    gap: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)


def likelihood(
    model: object,
    x: Data,
    cond: Cond | None,
    spec: DataSpec,
    *,
    samples: int = 500,
    batch: int = 100,
    seed: int = 0,
    stop: Stop | None = None,
) -> Likelihood | None:
    """Mean log-likelihood, by the strongest capability that the model has; None without one.

    An exact density comes first, then an energy with an estimated constant, an importance-weighted
    bound, a one-draw bound, one with an estimated constant, and a random estimate. Random draws
    belong to the examples, so the figure does not depend on `batch`. The standard error is over
    examples, which carries the noise of their own draws with it, and over the constant where that
    is estimated.

    Args:
        model: anything with one of the capabilities.
        x: examples, `(n, *spec.shape)`.
        cond: their classes, passed to a model that takes them.
        spec: what the examples are; its `log_scale` turns a density into the user's own units.
        samples: importance samples for each example.
        batch: examples at a time.
        seed: of the random draws.
        stop: polled between batches.
    """
    statement = state(model, samples, seed)
    if statement is None:
        return None
    values = per_example(model, statement, x, cond, (batch, seed, stop))
    if cond is not None and _depends_on_class(model, statement, x[:4], spec):
        detail = f"{statement.detail}, given the class".removeprefix(", ")
        statement = replace(statement, detail=detail)
    nats = float(values.mean()) - (0.0 if spec.support.discrete else spec.log_scale)
    over_examples = float(values.var()) / len(values) if len(values) > 1 else math.inf
    return Likelihood(
        nats=nats,
        kind=statement.kind,
        stderr=math.sqrt(over_examples + statement.shared_stderr**2),
        unit="mass" if spec.support.discrete else "density",
        detail=statement.detail,
        gap=statement.gap,
    )


def state(model: object, samples: int, seed: int = 0) -> Statement | None:
    """The strongest statement that a model can make about log p(x).

    Args:
        model: anything.
        samples: importance samples for each example.
        seed: of the chains that estimate a constant, which belong to no example.
    """
    with evaluating(model), torch.no_grad(), seeded(stream("normalizer", seed)):
        return _strongest(model, samples)


def _strongest(model: object, samples: int) -> Statement | None:
    detail = str(getattr(model, "likelihood_detail", ""))
    if isinstance(model, Density):
        return Statement(model.log_prob, "exact", detail)
    if isinstance(model, Energy) and isinstance(model, Normalizer):
        return _normalized(model, model.energy, detail)
    if isinstance(model, ImportanceBound):
        detail = f"{samples} importance samples"
        return Statement(model.importance_bound, "bound", detail, options={"samples": samples})
    if isinstance(model, Bound):
        return Statement(model.elbo, "bound", detail)
    if isinstance(model, EnergyBound) and isinstance(model, Normalizer):
        return _normalized(model, model.energy_bound, detail, "of a bound, by ")
    if isinstance(model, Estimate):
        return Statement(model.log_prob_estimate, "estimate", detail)
    return None


def bits_per_dim(likelihood: Likelihood, spec: DataSpec) -> float | None:
    """The likelihood in bits for each element, where that has a meaning.

    A mass is in bits as it stands. A density of images in [-1, 1] is taken as that of dequantised
    values, whose unit is the width of a cell, `2 / levels`: with 256 levels that is 7 bits more for
    each element. Other densities have no bits; then None.

    >>> uniform = Likelihood(-2 * math.log(256), "exact", 0.0, "mass")
    >>> round(bits_per_dim(uniform, DataSpec((2,), Interval())), 6)
    8.0
    """
    bits = -likelihood.nats / (spec.size * math.log(2))
    if likelihood.unit == "mass":
        return bits
    if not (isinstance(spec.support, Interval) and spec.is_image):
        return None
    return bits + math.log2(spec.support.levels / 2)


def _normalized(
    model: Normalizer, energy: Callable[..., PerExample], detail: str, what: str = ""
) -> Statement:
    log_z, stderr = model.log_partition()
    gap = 0.0
    constant = f"{what}log Z = {log_z:.3f} +- {stderr:.3f}"
    if isinstance(model, NormalizerAbove) and not detail:
        above, error = model.log_partition_above()
        gap = above - log_z
        constant += f", from above {above:.3f} +- {error:.3f}"

    def log_prob(x: Data, cond: Cond | None = None) -> PerExample:
        return -call(energy, x, cond=cond) - log_z

    return Statement(log_prob, "estimate", detail or constant, stderr, gap)


def warn_of_constant(likelihood: Likelihood) -> Iterator[str]:
    """A sentence where the two sides of log Z are further apart than both errors explain."""
    if abs(likelihood.gap) > max(_APART, 4 * likelihood.stderr):
        yield (
            f"Log Z from below and from above are {abs(likelihood.gap):,.1f} nats apart, and so "
            "may be this likelihood from the true one: chains have not followed the model from one "
            "end to the other; train longer, or with more --temperatures and --chains."
        )


def _depends_on_class(model: object, statement: Statement, x: Data, spec: DataSpec) -> bool:
    if spec.classes < 2:
        return False
    classes = (torch.full((len(x),), k) for k in (0, 1))
    return not torch.equal(
        *(per_example(model, statement, x, c, (len(x), 0, None)) for c in classes)
    )


def per_example(
    model: object,
    statement: Statement,
    x: Data,
    cond: Cond | None,
    how: tuple[int, int, Stop | None],
) -> Tensor:
    """What a statement says of each example, float64 `(n,)`.

    Args:
        model: whose statement it is.
        statement: what to ask.
        x: examples, `(n, *event)`.
        cond: their classes, or None.
        how: examples at a time, the seed of random draws, and what is polled between batches.
    """
    batch, seed, stop = how
    device, dtype = device_of(model), dtype_of(model)
    parts = []
    with evaluating(model), torch.no_grad():
        for rows in blocks(len(x), batch, stop):
            part = x[rows].to(device, dtype)
            label = None if cond is None else cond[rows].to(device)
            with noise.of(part, seed):
                value = call(statement.log_prob, part, cond=label, **statement.options)
            parts.append(value.double().cpu())
    return torch.cat(parts)
