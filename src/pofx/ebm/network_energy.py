r"""network_energy: any network as an energy, by tilting a normal distribution,

.. math:: p(y) \propto e^{-f(y)}\, q(y), \quad q = N(y; 0, \sigma_0^2 I), \qquad
    E(y) = f(y) + \frac{|y|^2}{2 \sigma_0^2}

The normal distribution is where chains start, and keeps log Z finite whatever the network does, as
long as it falls no faster than a line. Examples are relaxed to real numbers
(`pofx.functional.dequantize`), where Langevin dynamics can move them. Values of an interval stay in
it: q ends there, and so does p, and chains bounce off the ends (`pofx.ebm.reference`).

References:
    Implicit generation and modeling with energy-based models (Du and Mordatch, 2019), eq. 1 and 2.
    https://arxiv.org/abs/1903.08689
    A theory of generative ConvNet (Xie et al., 2016), eq. 2: the reference distribution.
    https://arxiv.org/abs/1602.03264
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pofx.ebm.reference import Reference
from pofx.functional.dequantize import harden, relax, relaxed_shape
from pofx.functional.gradients import score_of
from pofx.functional.precision import unrounded
from pofx.mcmc.chains import Chains, take
from pofx.mcmc.langevin import langevin
from pofx.nn.defaults import Encoder
from pofx.parameters import Count, NonNegative, Positive
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


def energy_network(
    spec: DataSpec, hidden: tuple[int, ...], channels: int, *, spectral: bool, constant: bool
) -> nn.Module:
    """A network from a relaxed example to one number.

    Args:
        hidden: widths of the hidden layers.
        channels: as for `Encoder`.
        spectral: whether every layer's norm is at most 1.
        constant: whether the energy's constant is learned; a loss that does not depend on it would
            let it wander.
    """
    network = Encoder(relaxed_shape(spec), 1, hidden=hidden, channels=channels)
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers[-1].bias.requires_grad_(constant)  # type: ignore[union-attr]
    for layer in layers if spectral else ():
        spectral_norm(layer)
    return network


class NetworkEnergy(nn.Module):
    """A network as an energy: capabilities Samples, Walks, Energy and Score.

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
        self.network, self.spec, self.reference = network, spec, Reference(spec, base)
        self.step, self.temperature, self.sampling_steps = step, temperature, sampling_steps

    def potential(self, y: Tensor, tilt: float = 1.0) -> PerExample:
        """The energy of relaxed examples, in full precision: Metropolis' test takes differences.

        Args:
            y: `(n, *relaxed)`, wherever a chain is.
            tilt: share of f; at 0 it is the energy of the reference distribution.
        """
        y = self.reference.home(y)
        with unrounded(y):
            return tilt * self.network(y)[:, 0] + self.reference.energy(y)

    def base_energy(self, y: Tensor) -> PerExample:
        """That of the reference distribution."""
        return self.reference.energy(self.reference.home(y))

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.potential(relax(x, self.spec))

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """Of the relaxed data, whatever the time: the model knows of no noise."""
        return score_of(self.potential)(x_t)

    def start(self, n: int) -> Tensor:
        """Draws of the reference distribution, relaxed."""
        return self.reference.draw(next(self.parameters()).new_empty(n, *self.reference.shape))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        steps: Count | None = None,
        step: Positive | None = None,
        temperature: NonNegative | None = None,
    ) -> Data:
        """Draws `n` examples by Langevin dynamics from the reference distribution.

        Args:
            n: how many.
            cond: not used.
            steps: of Langevin dynamics.
            step: its epsilon.
            temperature: of its noise; below 1 samples are more alike and more likely.
        """
        chains = self._langevin(
            n,
            self.step if step is None else step,
            self.temperature if temperature is None else temperature,
        )
        y = take(chains, self.sampling_steps if steps is None else steps)
        return harden(self.reference.home(y), self.spec)

    def walk(self, n: int) -> Iterator[Chains]:
        """The chains of `sample`, step after step, relaxed."""
        chains = self._langevin(n, self.step, self.temperature)
        for state in islice(chains, self.sampling_steps):
            yield Chains(self.reference.home(state.x))

    def _langevin(self, n: int, step: float, temperature: float) -> Iterator[Chains]:
        return langevin(score_of(self.potential), self.start(n), step, temperature=temperature)
