r"""Energy: does it rise where examples are less likely?

Noise makes a distribution wider. With y a sample x and symmetric noise on it, and E the energy,

.. math:: \mathbb{E}[E(y)] - \mathbb{E}[E(x)]
    = \mathrm{KL}(p_y \| p_x) + H(p_y) - H(p_x) \ge 0

References:
    Elements of information theory (Cover and Thomas, 2006), theorems 2.6.3 and 8.6.4, and for
    doubly stochastic steps section 4.4: noise does not lower an entropy.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.capabilities import Energy
from pofx.evaluation.calls import call
from pofx.evaluation.checks.case import Case, random_examples
from pofx.evaluation.checks.density import MOVED, count, draws, rows
from pofx.evaluation.checks.evidence import above
from pofx.evaluation.checks.steps import LADDER, step
from pofx.functional.reductions import sum_event
from pofx.typing import Data

_SIZES = (LADDER - 4, LADDER - 3, LADDER - 2)
"""Noise that is smaller than the samples' spread, about as large, and larger."""
_MOSTLY = 0.6


def has_energies_of_samples(case: Case) -> bool:
    """Whether samples should lie where the energy is low; ends of chains may not be there yet."""
    return isinstance(case.model, Energy) and draws(case.model)


def check_rises(case: Case) -> Iterator[str]:
    """Noise on samples raises the energy. Many a sampler of an energy is not exact, so only noise
    that lowers the energy of most samples, whatever its size, is a fault.
    """
    x, g = rows(case.of_one_class(min(count(case), MOVED), 2)), case.generator(3)
    spread = x.std(0).clamp(min=1e-6)
    here = _energy(case, x)
    fallen, shares = [], []
    for size in _SIZES:
        y = step(case.spec, x, spread, size, g)
        fall = (here - _energy(case, y)).nan_to_num(0.0)
        if not above(fall):
            return
        fallen.append(float(fall.mean()))
        shares.append(float((fall > 0).double().mean()))
    if sum(shares) < _MOSTLY * len(shares):
        return
    yield (
        "energy is -log p(x) up to a constant and should rise when noise is added to samples, but "
        f"falls by {max(fallen):.3g} nats on average; look for a wrong sign."
    )


def _energy(case: Case, x: Tensor) -> Tensor:
    label = 0 if case.told else None
    return case.ask(case.model.energy, case.like(x), label=label).double().cpu()


def check_constant(case: Case) -> Iterator[str]:
    """The energy and log_prob differ by one constant, at examples and at what is none."""
    other = random_examples(case.spec, len(case.x), case.seed).to(case.x)
    x = torch.cat([case.x, other])
    energy, log_p = (case.ask(m, x).double() for m in (case.model.energy, case.model.log_prob))
    kept = energy.isfinite() & log_p.isfinite()
    energy, log_p = energy[kept], log_p[kept]
    total = energy + log_p
    scale = float(torch.maximum(energy.abs(), log_p.abs()).max()) if len(total) else 0.0
    moves = float(total.max() - total.min()) if len(total) else 0.0
    if moves > 1e-2 + 1e-4 * scale:
        yield (
            "energy + log_prob should be the same for every example, but moves by "
            f"{moves:.3g} nats; look for a wrong sign or scale in either."
        )


def check_score(case: Case) -> Iterator[str]:
    """The score of clean data is the gradient of log p."""
    known = getattr(case.model, "log_prob", None)
    sign = -1.0 if known is None else 1.0
    known = case.model.energy if known is None else known
    x = case.x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(case.ask(known, x).sum(), x)
    expected = sign * slope
    t = torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def score(x: Data, cond: Tensor | None = None) -> Tensor:
        return call(case.model.score, x, t, cond=cond)

    given = case.ask(score)
    if given.shape != expected.shape:
        yield (
            f"score should have x's shape {tuple(x.shape)}, but has {tuple(given.shape)}; return a "
            "gradient."
        )
        return
    error = sum_event((given - expected) ** 2).sum().sqrt() / expected.norm().clamp(min=1e-6)
    if error > 0.05:
        yield (
            "score at t = 0 should be the gradient of log p, but is off by "
            f"{float(error):.3g} of its length; look for a wrong sign or scale."
        )
