r"""ais: annealed importance sampling, an estimate of log Z with its standard error.

Between a distribution whose constant is known and one whose constant is not lies a path of
unnormalised densities `f_\beta`. A sample is carried along the path by Markov transitions and
collects the weight

.. math:: w = \prod_{k=1}^{K} \frac{f_{\beta_k}(x_k)}{f_{\beta_{k-1}}(x_k)},
    \qquad \mathbb{E}\, w = Z_1 / Z_0

so that `log Z_0 + log mean w` is, in expectation, a lower bound of log Z. The same path walked
backwards from an exact sample of the far end gives an upper bound: a sandwich.

References:
    Annealed importance sampling (Neal, 2001), eq. 11. https://arxiv.org/abs/physics/9803008
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), algorithm
    1.
    Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015),
    section 3.
    https://arxiv.org/abs/1511.02543
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.typing import PerExample

State = TypeVar("State")
"""Where the chains are: usually a tensor of n rows, or whatever a model wants to carry along with
it.
"""


class AISEstimate(NamedTuple):
    """An estimate of log Z.

    Args:
        log_z: the estimate, in nats.
        stderr: its standard error by the jackknife over chains, in nats; infinite for a single
            chain.
        log_weights: one for each chain, float64.
        ess: effective number of chains, from 1 (one weight carries all) to their number (equal
            weights).
    """

    log_z: float
    stderr: float
    log_weights: Tensor
    ess: float


class Sandwich(NamedTuple):
    """Log Z from both sides.

    Args:
        forward: in expectation from below.
        backward: in expectation from above, as far as the samples that it began with are exact.
    """

    forward: AISEstimate
    backward: AISEstimate

    @property
    def gap(self) -> float:
        """How far the two are apart, in nats: about 0 where both are right."""
        return self.backward.log_z - self.forward.log_z


class Path(Protocol[State]):
    """A path of unnormalised densities, from one that is known (beta = 0) to another (beta = 1)."""

    def log_z(self) -> float:
        """Log Z at beta = 0."""
        ...

    def start(self, n: int) -> State:
        """Exact samples at beta = 0."""
        ...

    def log_f(self, s: State, beta: float) -> PerExample:
        """Log of the unnormalised density, nats."""
        ...

    def transition(self, s: State, beta: float) -> State:
        """Moves every chain once, reversibly, and leaves the density at `beta` as it is."""
        ...


def ais(path: Path[State], betas: Sequence[float], chains: int) -> AISEstimate:
    """Log Z at beta = 1, in expectation from below; `betas` rise from 0 to 1.

    Raises:
        UserError: they do not, or there are no chains.
    """
    check_betas(betas, first=0.0)
    if chains < 1:
        raise UserError(
            f"annealed importance sampling takes a chain or more, and {chains} came; 100 are usual."
        )
    start = path.start(chains)
    return annealed_importance_sampling(path.log_f, path.transition, path.log_z(), start, betas)


def reverse_ais(path: Path[State], betas: Sequence[float], end: State) -> AISEstimate:
    """Log Z at beta = 1, in expectation from above, given exact samples of that density."""
    check_betas(betas, first=0.0)
    return reverse_annealed_importance_sampling(
        path.log_f, path.transition, path.log_z(), end, betas
    )


def annealed_importance_sampling(
    log_f: Callable[[State, float], PerExample],
    transition: Callable[[State, float], State],
    init_log_z: float,
    samples: State,
    betas: Sequence[float],
) -> AISEstimate:
    """Estimates log Z of the path's last density; in expectation from below.

    Args:
        log_f: log of the unnormalised density at `beta`, `(n,)`.
        transition: moves every chain once, leaving the normalised density at `beta` invariant.
        init_log_z: log Z of the density at `betas[0]`, exact.
        samples: exact samples of the density at `betas[0]`, one for each chain.
        betas: the path, such as rising from 0 to 1; what they mean is up to `log_f` and
            `transition`.

    A standard normal grows into one of three times the width, whose log Z is log 3 larger:

    >>> _ = torch.manual_seed(0)
    >>> def log_f(x, width): return -0.5 * (x / width) ** 2
    >>> def transition(x, width): return width * torch.randn_like(x)
    >>> widths = torch.linspace(1, 3, 50).tolist()
    >>> e = annealed_importance_sampling(log_f, transition, 0.0, torch.randn(500), widths)
    >>> abs(e.log_z - math.log(3)) < 4 * e.stderr < 0.1
    True
    """
    return _estimate(init_log_z, _log_weights(log_f, transition, samples, betas))


def reverse_annealed_importance_sampling(
    log_f: Callable[[State, float], PerExample],
    transition: Callable[[State, float], State],
    init_log_z: float,
    samples: State,
    betas: Sequence[float],
) -> AISEstimate:
    """Estimates log Z of the path's last density; in expectation from above.

    Arguments are those of the forward estimate, but for `samples`: exact samples of the density at
    `betas[-1]`, from which the path is walked backwards. `transition` must be reversible for the
    bound to hold with that of the forward direction; block Gibbs that starts and ends on the same
    side is.
    """
    backwards = _estimate(-init_log_z, _log_weights(log_f, transition, samples, betas[::-1]))
    return backwards._replace(log_z=-backwards.log_z, log_weights=-backwards.log_weights)


def temperatures(n: int) -> list[float]:
    """`n` rising inverse temperatures from 0 to 1, at least two, most of them close to 1.

    Salakhutdinov and Murray's spacing, scaled: of 14,500, 500 up to 0.5, 4,000 up to 0.9 and 10,000
    up to 1.

    >>> betas = temperatures(1000)
    >>> len(betas), betas[0], betas[-1]
    (1000, 0.0, 1.0)
    """
    if n < 2:
        raise UserError(f"a path of temperatures has at least its two ends, and {n} came.")
    k = torch.linspace(0, 14_500, n, dtype=torch.float64)
    low = (k / 1000).clamp(max=0.5)
    middle = ((k - 500) / 10_000).clamp(0, 0.4)
    high = ((k - 4500) / 100_000).clamp(0, 0.1)
    return [*(low + middle + high).tolist()[:-1], 1.0]


def check_betas(betas: Sequence[float], first: float | None = None) -> None:
    """Refuses inverse temperatures that do not rise to 1, from `first` or any that is not negative.

    >>> check_betas([0.2, 0.5, 1.0])
    """
    rising = len(betas) > 1 and all(a <= b for a, b in pairwise(betas))
    if not rising or betas[-1] != 1 or betas[0] < 0 or first not in (None, betas[0]):
        came = ", ".join([f"{b:.3g}" for b in betas[:4]] + ["..."] * (len(betas) > 4))
        raise UserError(
            f"inverse temperatures rise {'' if first is None else f'from {first:g} '}to 1, and "
            f"[{came}] came; take those of temperatures(1000)."
        )


@torch.no_grad()
def _log_weights(
    log_f: Callable[[State, float], PerExample],
    transition: Callable[[State, float], State],
    state: State,
    betas: Sequence[float],
) -> Tensor:
    total = torch.zeros_like(log_f(state, betas[0]), dtype=torch.float64)
    for k, (before, beta) in enumerate(pairwise(betas)):
        state = transition(state, before) if k else state
        step = (log_f(state, beta) - log_f(state, before)).double()
        total = torch.where(total == -math.inf, total, total + step)  # where none is left, none is
    if lost := int((total.isnan() | (total == math.inf)).sum()):
        raise UserError(
            f"the weight of a chain is a finite number, and {lost} of {len(total)} are not; see "
            "that no energy is NaN or minus infinity where chains go."
        )
    if bool((total == -math.inf).all()):
        raise UserError(
            f"of {len(total)} chains of annealed importance sampling none found an example that is "
            "possible; take more of them, or a base that is closer to the energy."
        )
    return total


def _estimate(init_log_z: float, log_weights: Tensor) -> AISEstimate:
    n = log_weights.shape[0]
    share = log_weights.softmax(0)
    mean = float(log_weights.logsumexp(0)) - math.log(n)
    without = torch.log1p(-share.clamp(max=1 - 1e-15))
    stderr = math.sqrt((n - 1) * float(without.var(correction=0))) if n > 1 else math.inf
    return AISEstimate(init_log_z + mean, stderr, log_weights, 1 / float(share.square().sum()))
