r"""Integral: does exp(log_prob) of one or two numbers integrate to 1?

By importance sampling from a mixture about where the density lies: where samples are, or, for a
model that draws none, where ascents from the examples end.

.. math:: \int p(x) \, dx = \mathbb{E}_{x \sim q} \frac{p(x)}{q(x)}

A density may have modes that no ascent came upon. So an integral below 1 is a fault only where
every mode that was found was found again, by which few can be missing (Good, 1953).

References:
    The population frequencies of species and the estimation of population parameters (Good, 1953).
    https://doi.org/10.1093/biomet/40.3-4.237
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.capabilities import Samples
from pofx.evaluation.checks.case import Case
from pofx.evaluation.checks.density import rows
from pofx.evaluation.checks.proposals import Either, Mixture, Proposal, about
from pofx.spec import Interval

_SAMPLES = 400
_DRAWS = 8192
_TOLERANCE = 2e-2
_ERRORS = 6.0
_CLIMBS = 90
_DOUBLINGS = 80


def check_integral(case: Case) -> Iterator[str]:
    """The density integrates to 1, as far as it can be told."""
    starts = case.of_one_class(_SAMPLES, 3) if isinstance(case.model, Samples) else case.x
    q, complete = _cover(case, rows(starts))
    draws = _DRAWS // 2 if isinstance(case.model, Samples) else _DRAWS
    total, error = _estimate(case, q, draws, 4)
    gap = total - 1
    if abs(gap) <= _TOLERANCE + _ERRORS * error or (gap < 0 and not complete):
        return
    yield (
        f"exp(log_prob) should integrate to 1, but gives {total:.4g} (+- {error:.1g}); check the "
        "normalizer and the Jacobian, or call it energy or elbo."
    )


def _cover(case: Case, x: Tensor) -> tuple[Proposal, bool]:
    """A proposal with heavy tails about where the density lies, and whether that is all of it."""
    if isinstance(case.model, Samples):
        return Either(about(x), about(x, cauchy=True), 0.3), True
    peaks, reach = _peaks(case, x)
    q: Proposal = Mixture(peaks, reach, cauchy=True)
    y = q.draw(_DRAWS, case.generator(5))
    log_w = _log_density(case, y) - q.log_prob(y)
    if not log_w.isfinite().any():
        return q, False
    weights = (log_w - log_w.max()).exp().nan_to_num(0.0)
    chosen = torch.multinomial(weights, _SAMPLES, replacement=True, generator=case.generator(6))
    if len(chosen.unique()) < _SAMPLES // 10:  # nearly all weight is on a few: nothing to refine by
        return q, _found_again(peaks, reach)
    return Either(q, about(y[chosen.unique()]), 0.7), _found_again(peaks, reach)


def _estimate(case: Case, q: Proposal, n: int, use: int) -> tuple[float, float]:
    """The integral and its standard error; infinite where a few draws decide it."""
    y = q.draw(n, case.generator(use))
    weight = (_log_density(case, y) - q.log_prob(y)).exp()
    total, square = float(weight.sum()), float(weight.square().sum())
    few = total <= 0 or total**2 / square < n / 50
    error = float("inf") if few else float(weight.std()) / n**0.5
    return total / n, error


def _log_density(case: Case, y: Tensor) -> Tensor:
    bounded = torch.tensor([isinstance(c, Interval) for c in case.spec.columns])
    outside = ((y.abs() > 1) & bounded).any(1) | (y.abs() > 1e30).any(1)
    inside = torch.where(outside[:, None], torch.zeros_like(y), y)
    return case.log_prob(case.like(inside)).nan_to_num(-torch.inf).masked_fill(outside, -torch.inf)


def _peaks(case: Case, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where ascents end from rows `x`, and from all about those ends, and how wide it is there."""
    first, reach = _ascend(case, x)
    wide = 3 * first.std(0, correction=0) + 3 * reach.amax(0)
    scale = torch.where(torch.arange(len(x))[:, None] % 2 == 0, wide, 10 * wide)
    g = case.generator(7)
    starts = first.mean(0) + scale * torch.randn(x.shape, generator=g, dtype=x.dtype)
    second, other = _ascend(case, starts)
    return torch.cat([first, second]), torch.cat([reach, other])


def _ascend(case: Case, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where ascents from rows `x` end, and how far it is from there to half a nat less along each
    axis; pattern search, whose steps double when they succeed and halve when they fail.
    """
    n, d = x.shape
    moves = torch.cat([torch.eye(d), -torch.eye(d)]).double()
    here, step = _log_density(case, x), torch.ones(n, 1, dtype=torch.float64)
    for _ in range(_CLIMBS):
        tried = (x[:, None] + step[:, None] * moves).reshape(-1, d)
        best, which = _log_density(case, tried).reshape(n, -1).max(1)
        better = best > here
        x = torch.where(better[:, None], x + step * moves[which], x)
        here = torch.where(better, best, here)
        step = torch.where(better[:, None], 2 * step, step / 2).clamp(min=1e-7)
    return x, _reach(case, x, here)


def _reach(case: Case, x: Tensor, here: Tensor) -> Tensor:
    reach = torch.ones_like(x)
    for j, axis in enumerate(torch.eye(x.shape[1]).double()):
        h = torch.full((len(x), 1), 1e-6, dtype=torch.float64)
        for _ in range(_DOUBLINGS):
            falls = [here - _log_density(case, x + s * h * axis) for s in (1, -1)]
            near = torch.maximum(*falls) < 0.5
            h = torch.where(near[:, None] & (h < 1e9), 1.5 * h, h)
        reach[:, j] = h[:, 0]
    return reach


def _found_again(peaks: Tensor, reach: Tensor) -> bool:
    """Whether each peak was come upon at least twice."""
    apart = ((peaks[:, None] - peaks).abs() / torch.maximum(reach[:, None], reach)).amax(2)
    return bool(((apart < 1).sum(1) >= 2).all())
