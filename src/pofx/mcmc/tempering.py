r"""tempering: parallel tempering, chains at many temperatures that trade places.

Along a path of densities from an easy one (beta = 0) to the one that is wanted (beta = 1) runs one
chain at each beta. After every move neighbours may swap their states, with the probability

.. math:: \min\Big(1, \frac{f_{\beta}(x')\, f_{\beta'}(x)}{f_{\beta}(x)\, f_{\beta'}(x')}\Big),

which leaves the product of all densities invariant; where :math:`f_\beta = e^{-\beta E}` the log of
the ratio is :math:`(\beta - \beta')(E(x) - E(x'))`. What is found between far modes where that is
easy comes down to where it is not.

References:
    Replica Monte Carlo simulation of spin-glasses (Swendsen and Wang, 1986).
    Exchange Monte Carlo method and application to spin glass simulations (Hukushima and Nemoto,
    1996), eq. 5. https://arxiv.org/abs/cond-mat/9512035
    Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines (Desjardins et
    al., 2010), section 3. https://proceedings.mlr.press/v9/desjardins10a.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.reductions import expand_like
from pofx.mcmc.ais import Path, State, check_betas
from pofx.mcmc.chains import metropolis
from pofx.typing import PerExample


class Replicas(NamedTuple):
    """Where the chains of parallel tempering are after a step.

    Args:
        x: the states at each beta, in the order of the betas; the last are those that are wanted.
        swaps: the probability with which each chain swapped with its neighbour above, `(pairs, n)`;
            every other pair is tried in a step, and the others have NaN.
    """

    x: tuple[Any, ...]
    swaps: Tensor


@torch.no_grad()
def parallel_tempering(
    path: Path[State], states: Sequence[State], betas: Sequence[float]
) -> Iterator[Replicas]:
    """Moves chains without end: each by the path's own transition, then swaps of neighbours.

    Args:
        path: from an easy density to the one that is wanted, as for annealed importance sampling.
        states: where the chains are, n of them at each beta, such as `path.start(n)` everywhere.
        betas: rising to 1.

    Raises:
        UserError: as many of both did not come, or as many chains at each, or betas do not rise to
            1.

    >>> from pofx.mcmc.geometric_path import GeometricPath
    >>> from pofx.mcmc.gibbs import sites
    >>> _ = torch.manual_seed(0)
    >>> even = torch.distributions.Independent(torch.distributions.Bernoulli(torch.ones(3) / 2), 1)
    >>> apart = lambda x: 9.0 * torch.minimum(x.sum(1), 3 - x.sum(1))  # all off, or all on
    >>> path = GeometricPath(even, apart, sites([torch.arange(2.0)] * 3))
    >>> chains = parallel_tempering(path, [torch.zeros(1000, 3)] * 5, [0, 0.25, 0.5, 0.75, 1])
    >>> for _ in range(100):
    ...     replicas = next(chains)
    >>> abs(float(replicas.x[-1].mean()) - 0.5) < 0.05
    True
    """
    if len(states) != len(betas) or len(betas) < 2:
        raise UserError(
            f"parallel tempering has chains at each of two temperatures or more, and {len(states)} "
            f"states came for {len(betas)} of them; give as many of both."
        )
    check_betas(betas)
    counts = [_count(s) for s in states]
    if not min(counts) == max(counts) > 0:
        raise UserError(
            "parallel tempering takes as many chains at each temperature, one at least, and "
            f"{counts} came; start with as many as draws are wanted."
        )
    now = list(states)
    first = 0
    while True:
        now = [path.transition(s, beta) for s, beta in zip(now, betas, strict=True)]
        swaps = torch.full((len(betas) - 1, _count(now[0])), torch.nan)
        for i in range(first, len(betas) - 1, 2):
            log_ratio = swap_log_ratio(path, now[i], now[i + 1], betas[i], betas[i + 1])
            swapped, probability = metropolis(log_ratio)
            now[i], now[i + 1] = _swap(now[i], now[i + 1], swapped)
            swaps[i] = probability
        first = 1 - first
        yield Replicas(tuple(now), swaps)


def swap_log_ratio(
    path: Path[State], low: State, high: State, beta_low: float, beta_high: float
) -> PerExample:
    """Log of the ratio by which a swap is accepted, `(n,)`; of two states that are impossible
    there as they are here, 0.
    """
    swapped = path.log_f(high, beta_low) + path.log_f(low, beta_high)
    now = path.log_f(low, beta_low) + path.log_f(high, beta_high)
    return torch.where((swapped == now) & swapped.isinf(), 0.0, swapped - now)


def _count(state: Any) -> int:
    return len(state) if isinstance(state, Tensor) else len(state[0])


def _swap(low: Any, high: Any, swapped: Tensor) -> tuple[Any, Any]:
    """Both, each chain's swapped where it says so; a state may be a named tuple of tensors."""
    if isinstance(low, Tensor):
        where = expand_like(swapped, low)
        return torch.where(where, high, low), torch.where(where, low, high)
    pairs = [_swap(a, b, swapped) for a, b in zip(low, high, strict=True)]
    return type(low)(*(a for a, _ in pairs)), type(low)(*(b for _, b in pairs))
