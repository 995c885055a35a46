r"""annealed: Langevin dynamics through falling levels of noise.

Of data blurred by much noise the score is known everywhere and valleys are joined, so chains find
every mode and its weight; the blur is then withdrawn level by level. At the level
:math:`\sigma_i` the step is in proportion to the variance of the noise, so that steps at every
level have the same ratio of signal to noise:

.. math:: \epsilon_i = \epsilon\, \sigma_i^2 / \sigma_L^2, \qquad
    x \leftarrow x + \tfrac{\epsilon_i}{2} s(x, \sigma_i) + \sqrt{\epsilon_i}\, z

References:
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    algorithm 1. https://arxiv.org/abs/1907.05600
    Improved techniques for training score-based generative models (Song and Ermon, 2020), section 2
    for the levels, appendix C for the last step. https://arxiv.org/abs/2006.09011
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise

from pofx.errors import UserError
from pofx.mcmc.chains import Chains, check_step
from pofx.mcmc.langevin import langevin
from pofx.typing import Data

LeveledScore = Callable[[Data, float], Data]
"""The score of the data with normal noise of a standard deviation: `(x, sigma) -> score`."""


def annealed_langevin(
    score: LeveledScore, x: Data, sigmas: Sequence[float], step: float, each: int
) -> Iterator[Chains]:
    """Moves chains `each` steps at every level, from the first to the last.

    Args:
        score: at a level of noise.
        x: where the chains start, such as at noise of the first level.
        sigmas: standard deviations, falling.
        step: epsilon, the step of the last level, in proportion to whose variance the others are.
        each: steps at a level.
    """
    falling = all(math.inf > a >= b > 0 for a, b in pairwise([*sigmas[:1], *sigmas]))
    if not len(sigmas) or not falling or each < 1:
        raise UserError(
            "annealed Langevin dynamics takes positive levels of noise that fall, and a step or "
            f"more at each, and {len(sigmas)} levels that begin with {[*sigmas[:3]]} came with "
            f"{each} steps at each; geometric_levels gives such levels."
        )
    check_step(step)
    for sigma in sigmas:
        size = step * (sigma / sigmas[-1]) ** 2
        for state in islice(langevin(partial(_at, score, sigma), x, size), each):
            yield state
            x = state.x


def geometric_levels(first: float, last: float, n: int) -> list[float]:
    """`n` standard deviations that fall from `first` to `last` by the same ratio.

    >>> [round(s, 6) for s in geometric_levels(8.0, 1.0, 4)]
    [8.0, 4.0, 2.0, 1.0]
    """
    if not math.inf > first >= last > 0 or n < 1:
        raise UserError(
            f"levels of noise fall from one to a smaller positive one, and {n} from {first} to "
            f"{last} came; give the larger first."
        )
    fall = math.log(last / first) / max(n - 1, 1)
    return [first * math.exp(i * fall) for i in range(n)]


def denoised(score: LeveledScore, x: Data, sigma: float) -> Data:
    """The mean of the data of which `x` is a noisy version: Tweedie's formula, a last step without
    noise.
    """
    return x + sigma**2 * score(x, sigma)


def _at(score: LeveledScore, sigma: float, x: Data) -> Data:
    return score(x, sigma)
