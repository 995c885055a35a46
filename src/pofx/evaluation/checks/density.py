r"""Density: is exp(log_prob) normalized, and do samples follow it?

With q a known distribution that lies where the samples lie, both are in one identity, the condition
of Bennett's acceptance ratio at a ratio of constants of 1:

.. math:: \mathbb{E}_{x \sim p} \frac{q(x)}{p(x) + q(x)}
    = \mathbb{E}_{x \sim q} \frac{p(x)}{p(x) + q(x)}

What is averaged lies between 0 and 1, so the test is sound however far q is from p; where they have
little in common it cannot tell, and passes. Whether samples follow the shape of p shows in
any dimension, as a step of Metropolis' algorithm is reversible: with a symmetric step from x to y,

.. math:: \mathbb{E}_{x \sim p} \big[ \min(1, r) \, \mathrm{sign}(\log r) \big] = 0,
    \qquad r = p(y) / p(x)

References:
    Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976), eq. 7.
    https://doi.org/10.1016/0021-9991(76)90078-4
    Equation of state calculations by fast computing machines (Metropolis et al., 1953).
    https://doi.org/10.1063/1.1699114
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.capabilities import Density, Samples, Walks
from pofx.evaluation.checks.case import Case, levels, per_example_methods
from pofx.evaluation.checks.evidence import apart, away
from pofx.evaluation.checks.proposals import fit
from pofx.evaluation.checks.steps import LADDER, step
from pofx.spec import Interval

_PILOT = 64
MOVED = 1024
"""Samples that are moved."""
_STEPS = 8
"""Steps that are tried from each sample."""
_FEW_STEPS = 4
"""The same of images and sequences, whose density takes longer."""


def has_samples_of_its_own(case: Case) -> bool:
    """Whether samples are draws of the density, and not ends of chains that tend to it."""
    return isinstance(case.model, Density) and draws(case.model)


def draws(model: object) -> bool:
    """Whether a model samples otherwise than by chains that tend to its distribution."""
    return isinstance(model, Samples) and not isinstance(model, Walks)


def check_per_example(case: Case) -> Iterator[str]:
    """A number for each example, whatever the batch."""
    for name, method in per_example_methods(case).items():
        value, n = case.ask(method), len(case.x)
        if tuple(value.shape) != (n,):
            yield (
                f"{name} of {n} examples should have shape ({n},), but has {tuple(value.shape)}; "
                "sum over each example's own axes and not over the batch."
            )
            return
        if value.isnan().any():
            yield (
                f"{name} should be a number for every example, but is NaN for "
                f"{int(value.isnan().sum())}; look for a logarithm of 0 or a difference of "
                "infinities."
            )
            return
        few = case.ask(method, case.x[:3])
        if not torch.allclose(value[:3], few, rtol=1e-3, atol=1e-3):
            yield (
                f"{name} of an example should not depend on its batch, but moves by up to "
                f"{float((value[:3] - few).abs().max()):.3g}; let no layer mix examples."
            )


def check_random(case: Case) -> Iterator[str]:
    """What is exact is the same for any noise, and what is not for any state of the global stream,
    which dropout draws from.
    """
    for name, method in per_example_methods(case).items():
        exact = name in ("log_prob", "energy")
        one = case.ask(method)
        other = case.ask(method, draw=1 if exact else 0, stream=1)
        if not torch.allclose(one, other, rtol=1e-5, atol=1e-5):
            what = "the same at every call" if exact else "the same for the same noise of its rows"
            moves = (one - other).abs().nan_to_num(float("inf")).max()
            yield (
                f"{name} should be {what}, but moves by up to {float(moves):.3g}; put dropout in "
                "evaluation mode, and draw by torch.randn and its kin or not at all."
            )


def space(case: Case) -> int:
    """How many examples a discrete space holds; 0 where it is not discrete, or large."""
    if not case.spec.support.discrete or case.spec.size > 12:
        return 0
    return int(torch.tensor([len(levels(s)) for s in case.spec.columns]).double().prod())


def check_sum(case: Case) -> Iterator[str]:
    """The mass of all examples is 1."""
    columns = [levels(s).tolist() for s in case.spec.columns]
    x = torch.tensor(list(itertools.product(*columns)), dtype=torch.float64)
    total = float(case.log_prob(case.like(x)).exp().sum())
    if abs(total - 1) > 1e-3:
        yield (
            f"exp(log_prob) should sum to 1 over all {len(x)} examples, but sums to {total:.4g}; "
            "normalize it, or call it energy or elbo."
        )


def count(case: Case) -> int:
    """How many samples to fit a proposal to, and as many to test with, by the size of an example;
    fewer where some models draw one element after the other, and fewer still of images.
    """
    if case.spec.is_image:
        most, elements = 192, 1 << 14
    elif case.spec.support.discrete:
        # where the sum over all examples is checked, only the samples are left to doubt
        most, elements = (1024 if 0 < space(case) <= 4096 else 4096), 1 << 16
    else:
        most, elements = 4096, 1 << 18
    return max(96, min(most, elements // case.spec.size))


def rows(x: Tensor) -> Tensor:
    """Examples as rows, float64 on the CPU."""
    return x.detach().double().cpu().flatten(1)


def check_shape(case: Case) -> Iterator[str]:
    """Steps of Metropolis' algorithm from samples go up as often as down."""
    pilot, x = (rows(case.of_one_class(count(case), use)) for use in (1, 2))
    x, g = x[:MOVED], case.generator(1)
    spread = pilot.std(0).clamp(min=1e-6)
    here = case.log_prob(case.like(x))
    size = _fitting_step(case, pilot[:_PILOT], spread, g)
    balance, tries = torch.zeros_like(here), _FEW_STEPS if _dear(case) else _STEPS
    for _ in range(tries):
        y = step(case.spec, x, spread, size, g)
        up = case.log_prob(case.like(y)) - here
        balance += up.clamp(max=0).exp() * up.sign() / tries
    gap = away(balance.nan_to_num(0.0))
    if gap:
        likelier = "less" if gap > 0 else "more"
        yield (
            "samples should follow exp(log_prob), and random steps from them should meet higher "
            f"and lower density in balance, but samples are {likelier} likely than what lies "
            f"about them (balance {gap:+.2g}, not 0); look for a wrong sign, scale or shift in "
            "log_prob or sample, and sum log_prob over elements."
        )


def _dear(case: Case) -> bool:
    return case.spec.is_image or case.spec.support.discrete


def _fitting_step(case: Case, x: Tensor, spread: Tensor, g: torch.Generator) -> int:
    """The size of step of which nearest to a half are accepted."""
    here = case.log_prob(case.like(x))
    proposed = [step(case.spec, x, spread, size, g) for size in range(LADDER)]
    there = case.log_prob(case.like(torch.cat(proposed))).reshape(LADDER, -1)
    accepted = (there - here).clamp(max=0).exp().nan_to_num(0.0).mean(1)
    return int((accepted - 0.5).abs().argmin())


def check_normalizer(case: Case) -> Iterator[str]:
    """Bennett's identity holds between the model and a distribution that lies where it does."""
    n = count(case)
    fitted, x = (rows(case.of_one_class(n, use)) for use in (1, 2))
    q = fit(case.spec, fitted[n // 4 :], fitted[: n // 4])
    y = q.draw(n, case.generator(2))
    at_x = q.log_prob(x) - case.log_prob(case.like(x))
    at_y = _log_prob_within(case, y) - q.log_prob(y)
    if not apart(at_x.sigmoid(), at_y.sigmoid()):
        return
    total = _integral(at_x, at_y)
    verb = "sum" if case.spec.support.discrete else "integrate"
    yield (
        f"exp(log_prob) should {verb} to 1, and samples follow it, but held against them it "
        f"{verb}s to about {total:.4g}; check the normalizer and the Jacobian, sum log_prob over "
        "elements, and draw samples from the same distribution."
    )


def _log_prob_within(case: Case, y: Tensor) -> Tensor:
    """Log p(y), minus infinity outside of the support."""
    bounded = torch.tensor([isinstance(c, Interval) for c in case.spec.columns])
    outside = ((y.abs() > 1) & bounded).any(1)
    log_p = case.log_prob(case.like(torch.where(bounded, y.clamp(-1, 1), y)))
    return log_p.nan_to_num(-torch.inf).masked_fill(outside, -torch.inf)


def _integral(at_x: Tensor, at_y: Tensor) -> float:
    """The constant at which Bennett's identity holds, by bisection of its logarithm."""
    low, high = -1e4, 1e4
    for _ in range(60):
        c = (low + high) / 2
        if float((at_x + c).sigmoid().mean() - (at_y - c).sigmoid().mean()) > 0:
            high = c
        else:
            low = c
    return float(torch.tensor((low + high) / 2).exp())
