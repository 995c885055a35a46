r"""network_energy: any network as an energy, by tilting a normal distribution,

.. math:: p(y) \propto e^{-f(y)}\, N(y; 0, \sigma_0^2 I), \qquad
    E(y) = f(y) + \frac{|y|^2}{2 \sigma_0^2}

The normal distribution is where chains start, and keeps log Z finite whatever the network does, as
long as it falls no faster than a line. Examples are relaxed to real numbers
(`pofx.functional.dequantize`), where Langevin dynamics can move them.

References:
    Implicit generation and modeling with energy-based models (Du and Mordatch, 2019), eq. 1 and 2.
    https://arxiv.org/abs/1903.08689
    A theory of generative ConvNet (Xie et al., 2016), eq. 2: the reference distribution.
    https://arxiv.org/abs/1602.03264
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import harden, relax, relaxed_shape
from pofx.functional.gradients import EnergyFunction, score_of
from pofx.functional.reductions import sum_event
from pofx.mcmc.ais import AISEstimate, annealed_importance_sampling
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin
from pofx.mcmc.mala import mala
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_GRID = 1000
"""Points along each axis of the grid that adds up log Z on the line and on the plane."""
_REACH = 6.0
"""How many of its standard deviations of the normal distribution the grid covers."""


class NetworkEnergy(nn.Module):
    """A network as an energy: capabilities Samples, Energy and Score.

    Args:
        network: f, `(n, *relaxed) -> (n, 1)`.
        spec: of the data.
        base: sigma_0.
        step: epsilon of Langevin dynamics.
        temperature: of its noise.
        sampling_steps: from the normal distribution to a sample.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: DataSpec,
        *,
        base: float = 2.0,
        step: float = 0.01,
        temperature: float = 1.0,
        sampling_steps: int = 500,
    ) -> None:
        super().__init__()
        self.network, self.spec, self.base = network, spec, base
        self.step, self.temperature, self.sampling_steps = step, temperature, sampling_steps

    def potential(self, y: Tensor) -> PerExample:
        """The energy of relaxed examples, in full precision: Metropolis' test takes differences."""
        with torch.autocast(y.device.type, enabled=False):
            return self.network(y)[:, 0] + self.base_energy(y)

    def base_energy(self, y: Tensor) -> PerExample:
        """That of the normal distribution."""
        return sum_event(y.square()) / (2 * self.base**2)

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.potential(relax(x, self.spec))

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """Of the relaxed data, whatever the time: the model knows of no noise."""
        return score_of(self.potential)(x_t)

    def start(self, n: int) -> Tensor:
        """Draws of the normal distribution, relaxed."""
        like = next(self.parameters())
        shape = (n, *relaxed_shape(self.spec))
        return self.base * torch.randn(shape, dtype=like.dtype, device=like.device)

    def base_log_partition(self) -> float:
        """Log Z of the normal distribution."""
        size = math.prod(relaxed_shape(self.spec))
        return size / 2 * math.log(2 * math.pi * self.base**2)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        steps: int | None = None,
        step: float | None = None,
        temperature: float | None = None,
    ) -> Data:
        """Draws `n` examples by Langevin dynamics from the normal distribution.

        Args:
            n: how many.
            cond: not used.
            steps: of Langevin dynamics.
            step: its epsilon.
            temperature: of its noise; below 1 samples are more alike and more likely.
        """
        chains = langevin(
            score_of(self.potential),
            self.start(n),
            self.step if step is None else step,
            temperature=self.temperature if temperature is None else temperature,
        )
        return harden(take(chains, self.sampling_steps if steps is None else steps), self.spec)


class NormalizedEnergy(NetworkEnergy):
    """One whose constant is estimated: capability Normalizer besides, of continuous data.

    Args:
        network: as for `NetworkEnergy`, and so are the others.
        spec: of data that is continuous.
        temperatures: of annealed importance sampling.
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
        self.temperatures, self.chains = temperatures, chains

    def log_partition(self) -> tuple[float, float]:
        """Log Z and its error, in nats: on a grid up to the plane, else by annealed importance
        sampling.
        """
        if self.spec.size <= 2:
            return self.grid_log_partition()
        estimate = self.ais(self.temperatures, self.chains)
        return estimate.log_z, estimate.stderr

    @torch.no_grad()
    def grid_log_partition(self) -> tuple[float, float]:
        """Log Z by the trapezoid rule, and how far a grid half as fine is from it."""
        like, d = next(self.parameters()), self.spec.size
        reach = _REACH * self.base
        axis = torch.linspace(-reach, reach, _GRID + 1, dtype=like.dtype, device=like.device)
        y = torch.cartesian_prod(*[axis] * d).view(-1, *self.spec.shape)
        energy = torch.cat([self.potential(part) for part in y.split(1 << 15)])
        fine = -energy.double().view([_GRID + 1] * d)
        coarse = fine[(slice(None, None, 2),) * d]
        cells = [d * math.log(k * 2 * reach / _GRID) for k in (1, 2)]
        log_z, rough = (
            float(f.flatten().logsumexp(0)) + cell
            for f, cell in zip((fine, coarse), cells, strict=True)
        )
        return log_z, abs(log_z - rough)

    def ais(self, temperatures: int, chains: int, moves: int = 1) -> AISEstimate:
        """Annealed importance sampling from the normal distribution, which the network tilts ever
        more; MALA moves the chains.

        Args:
            temperatures: how many, evenly spaced.
            chains: how many.
            moves: of MALA at each temperature.
        """
        betas = torch.linspace(0, 1, temperatures, dtype=torch.float64).tolist()

        def at(beta: float) -> EnergyFunction:
            return lambda y: self.base_energy(y) + beta * self.network(y)[:, 0]

        def log_f(y: Tensor, beta: float) -> PerExample:
            return -at(beta)(y)

        def transition(y: Tensor, beta: float) -> Tensor:
            return take(islice(mala(at(beta), y, self.step), moves), moves)

        start = self.start(chains)
        return annealed_importance_sampling(
            log_f, transition, self.base_log_partition(), start, betas
        )
