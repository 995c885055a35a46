"""Likelihood: the strongest statement about log p(x) that a model can make, and its kind.

The unit matters: a mass of discrete values, and a density in the user's own units, are not
comparable, nor is a bound with an exact value.

References:
    A note on the evaluation of generative models (Theis et al., 2016).
    https://arxiv.org/abs/1511.01844
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
    Spread,
)
from pofx.evaluation.arguments import (
    check_classes,
    check_examples,
    check_key,
    check_spec,
    check_whole,
)
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import call, device_of, dtype_of
from pofx.functional.draw import evaluating
from pofx.functional.random import noise, seeded, stream
from pofx.spec import DataSpec, Interval
from pofx.typing import Cond, Data, PerExample

_APART = 1.0
"""Nats between the two sides of log Z that need no word."""
_MOST_DRAWS = 16
_ELEMENTS = 1 << 17
"""Elements of all examples and draws together that a bound of one random draw is averaged over."""
_WORST = 100
"""One example in so many is among the worst."""
_DECIDE = 0.5
"""The share of what lies below the median above which the worst examples decide the mean."""


@dataclass(frozen=True)
class Statement:
    """What a model says of log p(x): how, of which kind, with what error common to all examples,
    how far the two sides of its constant are apart, and, once it was asked, of how many random
    draws each value is the mean.
    """

    log_prob: Callable[..., PerExample]
    kind: Kind
    detail: str = ""
    shared_stderr: float = 0.0
    gap: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: Callable[[], int] = lambda: 1


@dataclass(frozen=True)
class Scored:
    """A likelihood with what it is the mean of.

    Args:
        likelihood: the mean.
        values: log p(x) of each example in the model's own units, nats, float64 `(n,)`.
        given_class: whether it is log p(x | class).
        shared_stderr: the error common to all examples.
    """

    likelihood: Likelihood
    values: Tensor
    given_class: bool = False
    shared_stderr: float = 0.0


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
    belong to the examples, so the figure does not depend on `batch`. A bound of one random draw is
    averaged over up to 16, the more the fewer and smaller the examples are. The
    standard error is over examples, which carries the noise of their own draws with it, and over
    the constant where that is estimated.

    Args:
        model: anything with one of the capabilities.
        x: examples, `(n, *spec.shape)`.
        cond: their classes, passed to a model that takes them.
        spec: what the examples are; its `log_scale` turns a density into the user's own units.
        samples: importance samples for each example.
        batch: examples at a time.
        seed: of the random draws.
        stop: polled between batches.

    Raises:
        UserError: an argument is of the wrong type, shape or range.
    """
    found = scored(model, x, cond, spec, samples=samples, batch=batch, seed=seed, stop=stop)
    return None if found is None else found.likelihood


def scored(
    model: object,
    x: Data,
    cond: Cond | None,
    spec: DataSpec,
    *,
    samples: int = 500,
    batch: int = 100,
    seed: int = 0,
    stop: Stop | None = None,
) -> Scored | None:
    """What `likelihood` says, with the value of each example; arguments and errors as there."""
    check_spec(spec)
    check_examples(x, spec)
    check_classes(cond, x, spec)
    check_whole("samples", samples, least=1)
    check_whole("batch", batch, least=1)
    check_key(seed)
    statement = state(model, samples, seed)
    if statement is None:
        return None
    statement = _averaged(model, statement, len(x) * spec.size)
    values = per_example(model, statement, x, cond, (batch, seed, stop))
    if statement.draws() > 1:
        detail = f"{statement.detail}, {statement.draws()} draws of each".removeprefix(", ")
        statement = replace(statement, detail=detail)
    given = cond is not None and _depends_on_class(model, statement, x[:4], spec)
    if given:
        detail = f"{statement.detail}, given the class".removeprefix(", ")
        statement = replace(statement, detail=detail)
    unit = 0.0 if spec.support.discrete else spec.log_scale
    nats = float(values.mean()) - unit
    over_examples = float(values.var()) / len(values) if len(values) > 1 else math.inf
    stated = Likelihood(
        nats=nats,
        kind=statement.kind,
        stderr=math.sqrt(over_examples + statement.shared_stderr**2),
        unit="mass" if spec.support.discrete else "density",
        detail=statement.detail,
        gap=statement.gap,
        spread=_spread(values - unit),
    )
    return Scored(stated, values, given, statement.shared_stderr)


def _spread(values: Tensor) -> Spread | None:
    """How finite values, `(n,)`, are spread; None for fewer than two."""
    if len(values) < 2 or not values.isfinite().all():
        return None
    ordered, count = values.sort().values, math.ceil(len(values) / _WORST)
    median = float(values.quantile(0.5)) if len(values) < 1 << 20 else float(values.median())
    below = (median - ordered).clamp(min=0)
    total = float(below.sum())
    return Spread(
        median=median,
        worst=count,
        share=float(below[:count].sum()) / total if total > 0 else 0.0,
        pull=float(ordered.mean() - ordered[count:].mean()),
    )


def warn_of_worst(likelihood: Likelihood, n: int) -> Iterator[str]:
    """A sentence where a handful of the `n` examples decides the mean."""
    spread = likelihood.spread
    if spread is None or spread.share < _DECIDE or spread.pull > -_APART:
        return
    who = "example makes" if spread.worst == 1 else f"{spread.worst:,} examples make"
    yield (
        f"Few examples decide the mean log-likelihood: the worst {who} {spread.share:.0%} of all "
        f"that lies below the median of {spread.median:,.4g} nats, and without them the mean of "
        f"{n:,} is {likelihood.nats - spread.pull:,.4g} and not {likelihood.nats:,.4g}; compare "
        "medians, and look whether these examples are errors in the data."
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


def _averaged(model: object, statement: Statement, elements: int) -> Statement:
    """A bound of one random draw, as the mean of as many as are cheap; a random estimate solves an
    equation or walks chains for each.
    """
    draws = max(1, min(_MOST_DRAWS, _ELEMENTS // max(1, elements)))
    if draws == 1 or not isinstance(model, Bound) or statement.log_prob != model.elbo:
        return statement
    method, drawn = statement.log_prob, [1]

    def log_prob(x: Data, cond: Cond | None = None) -> PerExample:
        each = [call(method, x, cond=cond), call(method, x, cond=cond)]
        if torch.equal(*each):  # nothing is drawn
            return each[0]
        drawn[0] = draws
        each += [call(method, x, cond=cond) for _ in range(draws - 2)]
        return torch.stack(each).double().mean(0)

    return replace(statement, log_prob=log_prob, draws=lambda: drawn[0])


def comparable(
    model: object,
    x: Data,
    cond: Cond | None,
    spec: DataSpec,
    *,
    seed: int = 0,
    stop: Stop | None = None,
) -> PerExample | None:
    """What a model says of each example up to a constant, by one call: log p(x), a bound of it, or
    minus the energy, nats `(n,)`; None where it says nothing.
    """
    for capability, method, sign in (
        (Density, "log_prob", 1.0), (Bound, "elbo", 1.0), (Energy, "energy", -1.0)
    ):  # fmt: skip
        if isinstance(model, capability):
            found = per_example(
                model, Statement(getattr(model, method), "bound"), x, cond, (256, seed, stop)
            )
            return sign * found
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
    check_spec(spec)
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
