r"""interpolated_path: from one harmonium to another of the same units, by interpolated parameters.

.. math:: f_\beta(v) = e^{-F_\beta(v)}, \qquad
    (\theta, C, c)_\beta = (1 - \beta) (\theta, C, c)_0 + \beta (\theta, C, c)_1

Where the second was trained from the first, as a layer of a deep belief network is from the one
below, the two are close: the difference of their log Z comes out far more exactly than either.

References:
    Annealed importance sampling (Neal, 2001), section 2. https://arxiv.org/abs/physics/9803008
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), section
    3: ratios of two constants.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.ebm.harmonium import Harmonium
from pofx.mcmc.gibbs import bernoulli
from pofx.typing import PerExample


class InterpolatedPath:
    """A path for `ais` and `reverse_ais`, whose chains are visible units.

    Args:
        known: where it starts (beta = 0).
        wanted: where it ends (beta = 1).
        log_z: of the one that is known; 0 to estimate the difference.
        sweeps: of Gibbs sampling to what it starts with.
    """

    def __init__(
        self, known: Harmonium, wanted: Harmonium, *, log_z: float = 0.0, sweeps: int = 1000
    ) -> None:
        self.known, self.visible, self.sweeps = known, wanted.visible, sweeps
        self._log_z = log_z
        self._ends = [(m.visible.natural(), m.coupling, m.hidden_bias) for m in (known, wanted)]
        self._at: tuple[float, list[Tensor]] = (-1.0, [])

    def log_z(self) -> float:
        return self._log_z

    def start(self, n: int) -> Tensor:
        return self.state(self.known.sample(n, sweeps=self.sweeps))

    def state(self, x: Tensor) -> Tensor:
        """Chains at examples."""
        return self.visible.read(x)

    def log_f(self, s: Tensor, beta: float) -> PerExample:
        theta, coupling, bias = self._parameters(beta)
        own = self.visible.log_base(s, theta)
        return own + F.softplus(F.linear(s, coupling, bias)).sum(1)

    def transition(self, s: Tensor, beta: float) -> Tensor:
        theta, coupling, bias = self._parameters(beta)
        h = bernoulli(F.linear(s, coupling, bias))
        return self.visible.draw(torch.addmm(theta[0], h, coupling), theta)

    def _parameters(self, beta: float) -> list[Tensor]:
        if self._at[0] != beta:
            pairs = zip(*self._ends, strict=True)
            self._at = (beta, [torch.lerp(a, b, beta) for a, b in pairs])
        return self._at[1]
