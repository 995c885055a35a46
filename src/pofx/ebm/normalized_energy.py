r"""normalized_energy: a network as an energy whose log Z is known, or estimated.

On the line and on the plane it is added up,

.. math:: \log Z = \log \int e^{-E(y)} dy

over the interval that the data has, or six standard deviations of the reference distribution.
Elsewhere annealed importance sampling goes from that distribution to the model,

.. math:: E_\beta(y) = \beta f(y) + \frac{|y|^2}{2 \sigma_0^2}

and back again from what long chains find, which gives log Z from both sides.

References:
    Annealed importance sampling (Neal, 2001). https://arxiv.org/abs/physics/9803008
    Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015),
    section 3. https://arxiv.org/abs/1511.02543
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pofx.ebm.network_energy import NetworkEnergy
from pofx.errors import UserError
from pofx.mcmc.ais import ais, reverse_ais
from pofx.mcmc.chains import take
from pofx.mcmc.mala import mala
from pofx.spec import DataSpec
from pofx.typing import PerExample

_GRID = 1000
"""Cells along each axis of the grid."""
_REACH = 6.0
"""Standard deviations of the reference distribution that it covers where the data has no bound."""
_PLANE = 2
"""Elements up to which log Z is added up on a grid."""


class GridEnergy(NetworkEnergy):
    """One of one or two continuous elements: capability Normalizer besides."""

    @torch.no_grad()
    def log_partition(self) -> tuple[float, float]:
        """Log Z by the trapezoid rule, and how far a grid half as fine is from it; nats."""
        like, reference, d = next(self.parameters()), self.reference, self.spec.size
        reaches = torch.where(reference.bounded, 1.0, _REACH * reference.sd).flatten().tolist()
        axis = torch.linspace(-1, 1, _GRID + 1, dtype=like.dtype, device=like.device)
        y = torch.cartesian_prod(*(r * axis for r in reaches)).view(-1, *self.spec.shape)
        energy = torch.cat([self.potential(part) for part in y.split(1 << 15)])
        log_f = -energy.double().view([_GRID + 1] * d)
        for side in range(d):  # half a cell at either end
            for end in (0, -1):
                log_f.select(side, end).sub_(math.log(2))
        coarse = log_f[(slice(None, None, 2),) * d]
        log_z, rough = (
            float(f.flatten().logsumexp(0)) + sum(math.log(2 * r * k / _GRID) for r in reaches)
            for f, k in ((log_f, 1), (coarse, 2))
        )
        return log_z, abs(log_z - rough)


class AnnealedEnergy(NetworkEnergy):
    """One of continuous data: capabilities Normalizer and NormalizerAbove besides.

    Args:
        network: as for `NetworkEnergy`, and so are the others.
        spec: of data that is continuous.
        temperatures: of annealed importance sampling, evenly spaced.
        chains: of annealed importance sampling.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: DataSpec,
        *,
        temperatures: int = 1000,
        chains: int = 100,
        **options: Any,
    ) -> None:
        super().__init__(network, spec, **options)
        if min(temperatures, chains) < 2:
            raise UserError(
                "annealed importance sampling takes at least 2 temperatures, and 2 chains to tell "
                f"its error, and {temperatures} and {chains} came."
            )
        self.temperatures, self.chains = temperatures, chains

    def log_partition(self) -> tuple[float, float]:
        """Log Z by annealed importance sampling, and its standard error, in nats."""
        found = ais(TiltedPath(self), self._betas(), self.chains)
        return found.log_z, found.stderr

    def log_partition_above(self) -> tuple[float, float]:
        """The same backwards, from chains; from above as far as they follow the model."""
        chains = mala(self.potential, self.start(self.chains), self.step)
        found = reverse_ais(TiltedPath(self), self._betas(), take(chains, self.sampling_steps))
        return found.log_z, found.stderr

    def _betas(self) -> list[float]:
        return torch.linspace(0, 1, self.temperatures, dtype=torch.float64).tolist()


class TiltedPath:
    """From the reference distribution (beta = 0) to the model (beta = 1); MALA moves chains."""

    def __init__(self, model: NetworkEnergy) -> None:
        self.model = model

    def log_z(self) -> float:
        return self.model.reference.log_partition()

    def start(self, n: int) -> Tensor:
        return self.model.start(n)

    def log_f(self, s: Tensor, beta: float) -> PerExample:
        return -self.model.potential(s, beta)

    def transition(self, s: Tensor, beta: float) -> Tensor:
        return take(mala(partial(self.model.potential, tilt=beta), s, self.model.step), 1)


def network_energy(
    network: nn.Module, spec: DataSpec, *, temperatures: int, chains: int, **options: Any
) -> NetworkEnergy:
    """An energy that says as much of its likelihood as the data allows.

    Args:
        network: f.
        spec: of the data; where a value is discrete, what is relaxed has no likelihood.
        temperatures: of annealed importance sampling, where there are more than two elements.
        chains: of annealed importance sampling.
        options: as for `NetworkEnergy`.
    """
    if any(c.discrete for c in spec.columns):
        return NetworkEnergy(network, spec, **options)
    if spec.size <= _PLANE:
        return GridEnergy(network, spec, **options)
    return AnnealedEnergy(network, spec, temperatures=temperatures, chains=chains, **options)
