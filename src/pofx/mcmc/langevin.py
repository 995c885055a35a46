r"""langevin: unadjusted Langevin dynamics, which needs nothing but the score.

.. math:: x \leftarrow x + \tfrac{\epsilon}{2} s(x) + \sqrt{\epsilon T}\, z, \quad z \sim N(0, I)

No proposal is refused, so its stationary distribution is off by a term of the order of the step: on
a normal distribution of variance :math:`\sigma^2` it has the variance
:math:`\sigma^2 / (1 - \epsilon / 4 \sigma^2)`, and diverges from :math:`\epsilon = 4 \sigma^2` on.

References:
    Exponential convergence of Langevin distributions and their discrete approximations (Roberts and
    Tweedie, 1996), section 1.4.1. https://doi.org/10.2307/3318418
    Bayesian learning via stochastic gradient Langevin dynamics (Welling and Teh, 2011), eq. 2.
    https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from pofx.errors import UserError
from pofx.functional.gradients import ScoreFunction, check_score
from pofx.functional.white_noise import white_noise
from pofx.mcmc.chains import Chains, check_step
from pofx.typing import Data


def langevin(
    score: ScoreFunction, x: Data, step: float, *, temperature: float = 1.0
) -> Iterator[Chains]:
    """Moves chains without end, overwriting a copy of `x`.

    Args:
        score: the gradient of log p.
        x: where the chains start, `(n, *event)`.
        step: epsilon, the variance of a step's noise.
        temperature: T, the share of that variance that is drawn: of `p ** (1 / T)`; 0 climbs.

    >>> from pofx.mcmc.chains import take
    >>> _ = torch.manual_seed(0)
    >>> x = take(langevin(lambda x: -x, torch.zeros(50_000), 0.5), 50)
    >>> abs(float(x.var()) - 1 / (1 - 0.5 / 4)) < 0.02
    True
    """
    check_step(step)
    if not 0 <= temperature < math.inf:
        raise UserError(
            f"a temperature is a number of at least 0, and {temperature} came; 1 is p itself."
        )
    quiet, spread = torch.no_grad(), math.sqrt(step * temperature)
    x = x.detach().clone()
    noise = white_noise(x)
    while True:
        with quiet:  # in place: noise is most of the cost of a cheap score
            x.add_(check_score(score(x), x), alpha=step / 2)
            x.add_(next(noise), alpha=spread)
        yield Chains(x)
