r"""leave_one_out: the width of a blur under which each example is likeliest given all the others.

.. math:: h^* = \arg\max_h \sum_i \log \frac{1}{|O_i|} \sum_{k \in O_i}
    \prod_j \mathcal{N}(x_{ij}; x_{kj}, h^2 s_j^2), \qquad k \in O_i: x_k \ne x_i

References:
    On the choice of smoothing parameters for Parzen estimators of probability density functions
    (Duin, 1976), for the likelihood of what is left out. https://doi.org/10.1109/TC.1976.1674577

Note:
    h is at least 1e-3. An example is left out with those that repeat its continuous columns, or
    tables with repeated rows would call for no width at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pofx.distributions.mixture import log_normals, precisions

_LEAST, _MOST = 1e-3, 4.0
_PAIRS = 1 << 21


class Examples(NamedTuple):
    """Examples to blur, some of which are asked about given all the others.

    Args:
        y: where they lie, `(n, d)`, in random order.
        noise: the variance of that, `(n, d)`; 0 in a column that is continuous.
        variance: of each column, `(d,)`.
        label: the class of each; the others are those of the same class that are no copies.
    """

    y: Tensor
    noise: Tensor
    variance: Tensor
    label: Tensor

    def widths(self, h: float) -> Tensor:
        """Standard deviations of the kernels, `(n, d)`."""
        return (h**2 * self.variance + self.noise).sqrt()

    def likeliest(self, otherwise: float) -> float:
        """The h under which they are likeliest, or `otherwise` where there is nothing to choose by.

        As many are asked about, from the first, as is quick.
        """
        asked = asked_of(*self.y.shape)
        others = self._others(asked)
        some = others.any(1)
        if not some.any():
            return otherwise
        y, noise = self.y[:asked][some], self.noise[:asked][some]
        hidden = y.new_zeros(len(y), len(self.y)).masked_fill(~others[some], -math.inf)

        def log_prob(log_h: float) -> float:
            widths = self.widths(math.exp(log_h))
            cost = 0.5 * noise @ precisions(widths).T
            return float((hidden + log_normals(y, self.y, widths) - cost).logsumexp(1).mean())

        return math.exp(highest(log_prob, math.log(_LEAST), math.log(_MOST)))

    def _others(self, asked: int) -> Tensor:
        """Whom of all each of the first examples is asked about given: `(asked, n)`."""
        continuous = self.noise.amax(0) == 0
        alike = self.y[:, continuous]
        if not continuous.any():
            alike = torch.arange(len(self.y)).to(self.y)[:, None]
        copies = torch.cdist(alike[:asked], alike, p=math.inf) == 0
        return (self.label[:asked, None] == self.label) & ~copies


def asked_of(n: int, d: int) -> int:
    """Of how many of `n` examples of `d` numbers the likelihood given the others is quick."""
    return min(n, max(1, _PAIRS // n), max(100, 16 * _PAIRS // (n * d)))


def highest(f: Callable[[float], float], low: float, high: float, points: int = 18) -> float:
    """Where f is highest between two numbers: the best point of a grid, then golden section."""
    step = (high - low) / (points - 1)
    best = low + step * max(range(points), key=lambda i: f(low + step * i))
    low, high = max(low, best - step), min(high, best + step)
    shrink = (math.sqrt(5) - 1) / 2
    a, b = high - shrink * (high - low), low + shrink * (high - low)
    f_a, f_b = f(a), f(b)
    while high - low > 5e-3:
        if f_a < f_b:
            low, a, f_a = a, b, f_b
            b = low + shrink * (high - low)
            f_b = f(b)
        else:
            high, b, f_b = b, a, f_a
            a = high - shrink * (high - low)
            f_a = f(a)
    return (low + high) / 2
