r"""diagnostics: have chains found where they go, and how much do their draws tell?

Draws are `(steps, chains, *event)`, and each element of an example is judged by itself.

*Split R-hat* compares chains, each cut in halves, with one another: the spread of all draws over
that within a chain, which is 1 once chains have forgotten their start. The *effective sample size*
is the number of independent draws that would estimate the mean as well,

.. math:: n_\text{eff} = \frac{N}{1 + 2 \sum_t \rho_t},

where autocorrelations are summed as long as pairs of them are positive and falling.

References:
    Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of
    MCMC (Vehtari et al., 2021), eq. 1 to 4 and 10 to 14. https://arxiv.org/abs/1903.08008
    Practical Markov chain Monte Carlo (Geyer, 1992), section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.mcmc.chains import Chains

_FEWEST = 4
"""Steps without which a half has no spread."""


class Diagnosis(NamedTuple):
    """Draws, and what they are worth.

    Args:
        draws: `(steps, chains, *event)`.
        acceptance: mean probability of accepting a proposal; None where all are.
        rhat: split R-hat of each element, `(*event)`; below 1.01 is sound.
        ess: effective sample size of each element, `(*event)`, of all chains together.
    """

    draws: Tensor
    acceptance: float | None
    rhat: Tensor
    ess: Tensor


def diagnose(chains: Iterable[Chains], *, warmup: float = 0.5) -> Diagnosis:
    """Judges chains that come to an end, by every step but a share `warmup` at the beginning.

    Raises:
        UserError: there are no chains, too few steps, or the share is not one.

    >>> _ = torch.manual_seed(0)
    >>> found = diagnose(Chains(torch.randn(4, 2)) for _ in range(2000))
    >>> len(found.draws), bool((found.rhat < 1.01).all())
    (1000, True)
    """
    if not 0 <= warmup < 1:
        raise UserError(
            f"the warm-up is a share of the steps, from 0 to below 1, and {warmup} came; 0.5 is "
            "usual."
        )
    steps = [(state.x.detach().clone(), state.acceptance) for state in chains]
    kept = steps[int(warmup * len(steps)) :]
    draws = torch.stack([x for x, _ in kept]) if kept else torch.empty(0, 0)
    accepted = [float(a.mean()) for _, a in kept if a is not None]
    return Diagnosis(
        draws,
        sum(accepted) / len(accepted) if accepted else None,
        split_rhat(draws),
        effective_sample_size(draws),
    )


def split_rhat(draws: Tensor) -> Tensor:
    """Split R-hat: `(steps, chains, *event) -> (*event)`.

    >>> _ = torch.manual_seed(0)
    >>> bool(split_rhat(torch.randn(1000, 4)) < 1.01)
    True
    """
    halves = _halves(draws)
    within, total = _variances(halves)
    return (total / within).sqrt()


def effective_sample_size(draws: Tensor) -> Tensor:
    """Effective sample size of the mean: `(steps, chains, *event) -> (*event)`.

    >>> _ = torch.manual_seed(0)
    >>> 3600 < float(effective_sample_size(torch.randn(1000, 4))) < 4400
    True
    """
    halves = _halves(draws)
    n, m = halves.shape[:2]
    within, total = _variances(halves)
    rho = 1 - (within - _autocovariance(halves).mean(1) * n / (n - 1)) / total
    rho[0] = 1.0
    pairs = rho[: n - n % 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cummin(0).values
    falling = pairs.cummin(0).values * positive
    # a sum below that of independent draws would be noise: no more than log10 of it is believed
    time = (2 * falling.sum(0) - 1).clamp(min=1 / max(1.0, torch.tensor(n * m).log10().item()))
    return n * m / time


def _halves(draws: Tensor) -> Tensor:
    """Every chain as two, float64: `(steps / 2, 2 chains, *event)`."""
    if draws.ndim < 2 or draws.shape[0] < _FEWEST or not draws.shape[1]:
        raise UserError(
            f"draws are (steps, chains, ...) of at least {_FEWEST} steps and a chain, and "
            f"{tuple(draws.shape)} came; run more chains, or run them longer."
        )
    n = draws.shape[0] // 2
    return torch.cat([draws[:n], draws[-n:]], 1).double()


def _variances(chains: Tensor) -> tuple[Tensor, Tensor]:
    """The mean variance within chains, and the estimate of the distribution's own."""
    n = chains.shape[0]
    within = chains.var(0).mean(0)
    between = chains.mean(0).var(0)
    return within, within * (n - 1) / n + between


def _autocovariance(chains: Tensor) -> Tensor:
    """At each lag from 0, of each chain, with the divisor n: the shape of `chains`."""
    n = chains.shape[0]
    power = torch.fft.rfft(chains - chains.mean(0), n=2 * n, dim=0).abs().square()
    return torch.fft.irfft(power, n=2 * n, dim=0)[:n] / n
