r"""belief_network: layers of hidden units over an RBM, with a bound of its likelihood.

.. math:: \log p(v) \ge \mathbb{E}_{q(h | v)} \Big[ \sum_l \log \frac{p(h_{l-1} | h_l)}
    {q(h_l | h_{l-1})} - F(h_{L-1}) \Big] - \log Z

with q the hidden units' conditionals, layer by layer, and F and Z of the RBM on top.

References:
    A fast learning algorithm for deep belief nets (Hinton et al., 2006), eq. 8.
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), section
    5. https://www.cs.toronto.edu/~amnih/papers/dbn_ais.pdf
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pofx.ebm.harmonium import Harmonium, SmallHarmonium
from pofx.ebm.units import Bits
from pofx.functional.precision import at_least_float32
from pofx.mcmc.chains import Chains
from pofx.mcmc.gibbs import bernoulli
from pofx.parameters import Count
from pofx.typing import Cond, Data, PerExample


class DBN(nn.Module):
    """A deep belief network: capabilities Samples, Walks, Latent, EnergyBound and Normalizer.

    Args:
        layers: each an RBM, whose visible units are the hidden ones of the one before.
        depth: how many of them there are so far; the model has no others until they are trained.
    """

    depth: Tensor

    def __init__(self, layers: list[Harmonium], depth: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("depth", torch.tensor(depth))

    @property
    def grown(self) -> list[Harmonium]:
        """The layers that there are."""
        return list(self.layers[: int(self.depth)])  # type: ignore[arg-type]

    @property
    def top(self) -> Harmonium:
        """The RBM that the others hang from."""
        return self.grown[-1]

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None, *, sweeps: Count | None = None) -> Data:
        """Draws `n` examples: each from the end of a chain of the top RBM down.

        Args:
            n: how many.
            cond: not used.
            sweeps: of Gibbs sampling of the top RBM.
        """
        x = self.top.sample(n, sweeps=sweeps)
        for layer in reversed(self.grown[:-1]):
            x = layer.draw_visible(x)
        return x

    def walk(self, n: int) -> Iterator[Chains]:
        """The chains of the top RBM, sweep after sweep."""
        return self.top.walk(n)

    def encode(self, x: Data, cond: Cond | None = None) -> Data:
        """Probabilities of the top's hidden units, from layer to layer by their means."""
        for layer in self.grown:
            x = layer.encode(x)
        return x

    def decode(self, z: Data, cond: Cond | None = None) -> Data:
        """The mean of x given the layers above, each at its mean."""
        for layer in reversed(self.grown):
            z = layer.decode(z)
        return z

    def energy_bound(self, x: Data, cond: Cond | None = None) -> PerExample:
        """Minus the bound, without log Z, at one draw of the hidden layers."""
        total = torch.zeros(len(x), dtype=self.top.weight.dtype, device=x.device)
        for layer in self.grown[:-1]:
            logits = at_least_float32(layer.hidden_parameters(x))
            h = bernoulli(logits)
            log_q = (h * logits - nn.functional.softplus(logits)).sum(1)
            total = total + log_q - layer.log_visible(x, h)
            x = h
        return total + self.top.energy(x)

    def log_partition(self) -> tuple[float, float]:
        """Log Z of the top RBM by annealed importance sampling, and its standard error, nats."""
        return self.top.log_partition()

    def log_partition_above(self) -> tuple[float, float]:
        """The same backwards, from samples of the top RBM."""
        return self.top.log_partition_above()


class SmallDBN(DBN):
    """A DBN of layers so small that the log Z of each is a sum: capability Bound."""

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        assert isinstance(self.top, SmallHarmonium)
        return -self.energy_bound(x) - self.top.exact_log_partition()


@torch.no_grad()
def tie(below: Harmonium, layer: Harmonium) -> None:
    """Gives a layer the weights of the one below, transposed, if it has units for all of them: then
    both have the same marginal of the units between them, but for units that are left over.
    """
    width = below.visible.width
    if not isinstance(below.visible, Bits) or layer.hidden_shape[0] < width:
        return
    assert isinstance(layer.visible, Bits)
    layer.weight[:width] = below.weight.t()
    layer.hidden_bias[:width] = below.visible.bias
    layer.visible.bias.copy_(below.hidden_bias)
    layer.visible.seen.fill_(1)  # the bias has begun, and not where the first step's data are
