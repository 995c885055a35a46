"""Chains: whether those that samples are the ends of had forgotten where they began.

The second half of some chains is judged, element by element, and the worst element is told of.
Where chains stay in the mode that they fell into, each mode's share of the samples is that of the
start and not the model's: samples may look right, one by one, and be wrong together.

References:
    Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of
    MCMC (Vehtari et al., 2021), sections 2 and 4. https://arxiv.org/abs/1903.08008
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from pofx.capabilities import Samples, Walks
from pofx.evaluation.blocks import Stop, poll
from pofx.evaluation.report import Measured
from pofx.functional.draw import evaluating
from pofx.functional.random import seeded, stream
from pofx.mcmc.chains import Chains
from pofx.mcmc.diagnostics import diagnose
from pofx.signatures import of_function

_CHAINS = 64
_ELEMENTS = 256
"""Elements that are judged, evenly spaced."""
_FEWEST = 8
"""Steps without which halves of the second half have no spread."""
_FORGOTTEN = 1.1
"""R-hat from which chains do not agree."""


def judge_chains(
    model: Walks, *, seed: int = 0, stop: Stop | None = None
) -> tuple[dict[str, Measured], list[str]]:
    """Split R-hat, the effective number of draws and, where proposals may be refused, how often
    they are accepted; and a sentence where chains had not forgotten their start.

    >>> class Independent:
    ...     def walk(self, n): return (Chains(torch.randn(n, 3)) for _ in range(500))
    >>> metrics, words = judge_chains(Independent())
    >>> round(metrics["r_hat"].value, 1), words
    (1.0, [])
    """
    with evaluating(model), torch.no_grad(), seeded(stream("chains", seed)):
        steps = list(_steps(model, stop))
    if len(steps) < _FEWEST:
        return {}, []
    found = diagnose(steps)
    moving = found.rhat.isfinite() | found.rhat.isinf()  # what never changes at all has none
    if not moving.any():
        return {}, []
    worst, ess = float(found.rhat[moving].max()), float(found.ess[moving].min())
    metrics = {"r_hat": Measured(worst), "effective_draws": Measured(ess)}
    if found.acceptance is not None:
        metrics["acceptance"] = Measured(found.acceptance)
    return metrics, list(_warn(worst, len(steps), _lengths(model)))


def _steps(model: Walks, stop: Stop | None) -> Iterator[Chains]:
    for x, acceptance in model.walk(_CHAINS):
        poll(stop)
        flat = x.flatten(1)
        yield Chains(flat[:, :: -(-flat.shape[1] // _ELEMENTS)].cpu().clone(), acceptance)


def _lengths(model: Walks) -> list[str]:
    """Options of sampling that are counts, such as of steps and of temperatures."""
    options = of_function(model.sample).values() if isinstance(model, Samples) else ()
    return [p.flag for p in options if p.type == "int"]


def _warn(rhat: float, steps: int, lengths: Sequence[str]) -> Iterator[str]:
    cure = f": sample with more {' or '.join(lengths)}" if lengths else ""
    if rhat > _FORGOTTEN:
        yield (
            f"Chains of {steps} steps had not forgotten their start (R-hat {rhat:.2f}, sound below "
            "1.01): how often each mode comes among samples is not the model's own; let chains go "
            f"further{cure}."
        )
