"""chains: what every sampler of continuous chains yields, and what they share.

A sampler is a generator: the caller's `for` loop sees every step, keeps what it wants and leaves
when it likes; going on with the same generator is a persistent chain. Chains are the leading axis,
and every one of them moves by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.reductions import expand_like
from pofx.typing import Data, PerExample

T = TypeVar("T")


class Chains(NamedTuple):
    """Where the chains are after a step.

    Args:
        x: `(n, *event)`; the next step may overwrite it, so keep a clone.
        acceptance: the probability with which each chain's last proposal was accepted, `(n,)`; None
            where every one is.
    """

    x: Data
    acceptance: PerExample | None = None


def take(chains: Iterator[Chains], steps: int) -> Data:
    """Where the chains are after `steps` more steps, at least one.

    Raises:
        UserError: fewer than one, or more than the chains have.

    >>> take(iter([Chains(torch.zeros(1)), Chains(torch.ones(1))]), 2)
    tensor([1.])
    """
    if steps < 1 or not float(steps).is_integer():
        raise UserError(f"chains move a whole number of steps, 1 or more, and {steps} came.")
    for taken, state in enumerate(chains, 1):
        if taken == steps:
            return state.x
    raise UserError(
        f"chains came to their end before step {steps}; take fewer steps, or begin new chains."
    )


def metropolis(log_ratio: PerExample) -> tuple[Tensor, PerExample]:
    """Which proposals are accepted, bool `(n,)`, and the probability of it.

    A ratio that is not a number, as where an energy overflows, is a refusal.

    References:
        Equation of state calculations by fast computing machines (Metropolis et al., 1953).
        Monte Carlo sampling methods using Markov chains and their applications (Hastings, 1970),
        eq. 6.
    """
    probability = log_ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf).clamp(max=0).exp()
    return torch.rand_like(probability) < probability, probability


def select(accepted: Tensor, proposal: Iterable[Tensor], current: Iterable[Tensor]) -> list[Tensor]:
    """Each chain's proposal where it is accepted, else what it had."""
    return [
        torch.where(expand_like(accepted, new), new, old)
        for new, old in zip(proposal, current, strict=True)
    ]


def check_step(step: float) -> None:
    """Refuses a step that is not a positive number."""
    if not 0 < step < math.inf:
        raise UserError(f"a chain's step is a positive number, and {step} came; 0.01 is small.")
