r"""rbm: Training products of experts by minimizing contrastive divergence (Hinton, 2002).

Binary visible units v and hidden units h, joined by weights but not among themselves:

.. math:: E(v, h) = -b^T v - c^T h - h^T W v, \qquad
    F(v) = -\log \sum_h e^{-E(v, h)} = -b^T v - \sum_j \log(1 + e^{c_j + W_j v})

References:
    Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986).
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 5: CD-k,
    `--no-persistent`. https://www.cs.toronto.edu/~hinton/absps/nccd.pdf
    Training restricted Boltzmann machines using approximations to the likelihood gradient
    (Tieleman, 2008), section 3: persistent CD. https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), section
    4.1: log Z by AIS. https://www.cs.toronto.edu/~amnih/papers/dbn_ais.pdf
    A practical guide to training restricted Boltzmann machines (Hinton, 2012), section 8: how
    weights and biases start.

Note:
    Visible and hidden units are bits, which eight bits hold exactly: `--precision bfloat16` rounds
    weights alone, takes 0.7 of the time where the processor has it, and on MNIST reaches the same
    likelihood (`benchmarks/mnist.py rbm --precision bfloat16`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.ebm.contrastive_divergence import ContrastiveDivergence, PersistentContrastiveDivergence
from pofx.ebm.energy import enumerate_log_partition
from pofx.functional.precision import at_least_float32
from pofx.mcmc.ais import AISEstimate, annealed_importance_sampling, temperatures
from pofx.mcmc.gibbs import bernoulli, block_gibbs
from pofx.recipe import SGD, Recipe, RecipeError, check_at_least
from pofx.spec import Binary, DataSpec
from pofx.typing import Cond, Data, PerExample

_EXACT_UNITS = 16
"""With at most so many units on one side, log Z is a sum of at most 65,536 terms."""


class RBM(nn.Module):
    """A restricted Boltzmann machine: capabilities Samples, Energy, Latent, and Normalizer by AIS.

    Args:
        shape: of an example, whose elements are the visible units.
        hidden: number of hidden units.
        sweeps: Gibbs sweeps to a sample, from independent units at the data's mean.
        temperatures: of annealed importance sampling.
        chains: of annealed importance sampling.
    """

    base_rate: Tensor
    seen: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden: int,
        *,
        sweeps: int = 500,
        temperatures: int = 10_000,
        chains: int = 100,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.hidden_shape: tuple[int, ...] = (hidden,)
        self.sweeps, self.temperatures, self.chains = sweeps, temperatures, chains
        visible = math.prod(shape)
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("base_rate", torch.full((visible,), 0.5))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def free_energy(self, x: Data) -> tuple[PerExample, Tensor]:
        """F(x), and the logits of p(h | x)."""
        logits = at_least_float32(self.hidden_parameters(x))
        bias = (x.flatten(1) * self.visible_bias).sum(1)
        return -bias - F.softplus(logits).sum(1), logits

    def hidden_free_energy(self, h: Tensor) -> PerExample:
        """-log of the sum over v of `exp(-E(v, h))`."""
        return -(h @ self.hidden_bias) - F.softplus(self._visible_logits(h)).sum(1)

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.free_energy(x)[0]

    def encode(self, x: Data, cond: Cond | None = None) -> Data:
        """p(h = 1 | x)."""
        return self.hidden_parameters(x).sigmoid()

    def decode(self, z: Data, cond: Cond | None = None) -> Data:
        """p(x = 1 | h = z): probabilities."""
        return self._visible_logits(z).sigmoid().unflatten(1, self.shape)

    def draw_hidden(self, parameters: Tensor) -> Tensor:
        return bernoulli(parameters)

    def draw_visible(self, h: Tensor) -> Data:
        return bernoulli(self._visible_logits(h)).unflatten(1, self.shape)

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None, *, sweeps: int | None = None) -> Data:
        """Draws `n` examples, each the end of a chain of `sweeps` sweeps."""
        x = bernoulli(self.base_logits().expand(n, -1)).unflatten(1, self.shape)
        steps = self.sweeps if sweeps is None else sweeps

        def draw_hidden(x: Data) -> Tensor:
            return self.draw_hidden(self.hidden_parameters(x))

        return block_gibbs(x, draw_hidden, self.draw_visible, steps)

    @torch.no_grad()
    def observe(self, total: Data, examples: Tensor) -> None:
        """Keeps the mean of the data; visible biases start at that of the first step (Hinton)."""
        if not self.seen:
            self.visible_bias.copy_(((total.flatten() + 0.5) / (examples + 1)).logit())
        self.seen += examples
        self.base_rate.lerp_(total.flatten() / examples, examples / self.seen)

    def base_logits(self) -> Tensor:
        """Logits of the data's mean, kept away from 0 and 1: the start of every chain."""
        return (0.99 * self.base_rate + 0.005).logit()

    def log_partition(self) -> tuple[float, float]:
        """Log Z by annealed importance sampling, and its standard error, in nats."""
        estimate = self.ais(temperatures(self.temperatures), self.chains)
        return estimate.log_z, estimate.stderr

    @torch.no_grad()
    def ais(self, betas: list[float], chains: int, base: Tensor | None = None) -> AISEstimate:
        """Annealed importance sampling from independent visible units to the model.

        Args:
            betas: rising from 0 to 1.
            chains: how many.
            base: logits of the visible units at the start; those of the data's mean by default.
        """
        path = AnnealedPath(self, self.base_logits() if base is None else base)
        return annealed_importance_sampling(
            path.log_f, path.transition, path.init_log_z(), path.start(chains), betas
        )

    def hidden_parameters(self, x: Data) -> Tensor:
        """The logits of p(h | x)."""
        return F.linear(x.flatten(1), self.weight, self.hidden_bias)

    def _visible_logits(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.t(), self.visible_bias)


class SmallRBM(RBM):
    """An RBM with so few units on one side that log Z is a sum: capability Density besides."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return -self.energy(x) - self.exact_log_partition()

    def exact_log_partition(self) -> Tensor:
        """Log Z by summing over every state of the smaller side, a scalar in nats."""
        hidden, visible = self.weight.shape
        if hidden <= visible:
            return enumerate_log_partition(self.hidden_free_energy, hidden, self.weight)
        return enumerate_log_partition(self.energy, visible, self.weight)


class Annealed(NamedTuple):
    """A chain of annealed importance sampling with what its weights need."""

    v: Tensor
    base: PerExample
    bias: PerExample
    hidden: Tensor


class AnnealedPath:
    r"""From independent visible units with logits `base` (beta = 0) to the model (beta = 1).

    .. math:: f_\beta(v) = e^{((1 - \beta) b_0 + \beta b)^T v} \prod_j (1 + e^{\beta (c_j + W_j v)})

    References:
        Salakhutdinov and Murray (2008), eq. 15 to 18.
    """

    def __init__(self, rbm: RBM, base: Tensor) -> None:
        self.rbm, self.base = rbm, base

    def init_log_z(self) -> float:
        """Log Z at beta = 0."""
        return float(F.softplus(self.base.double()).sum()) + self.rbm.hidden_shape[0] * math.log(2)

    def start(self, chains: int) -> Annealed:
        """Exact draws at beta = 0."""
        return self.state(bernoulli(self.base.expand(chains, -1)))

    def state(self, v: Tensor) -> Annealed:
        """A chain at the visible units `v`, `(n, visible)`."""
        rbm = self.rbm
        logits = F.linear(v, rbm.weight, rbm.hidden_bias)
        return Annealed(v, v @ self.base, v @ rbm.visible_bias, logits)

    def log_f(self, s: Annealed, beta: float) -> PerExample:
        return (1 - beta) * s.base + beta * s.bias + F.softplus(beta * s.hidden).sum(1)

    def transition(self, s: Annealed, beta: float) -> Annealed:
        h = bernoulli(beta * s.hidden)
        bias = (1 - beta) * self.base + beta * self.rbm.visible_bias
        logits = torch.addmm(bias, h, self.rbm.weight, alpha=beta)
        return self.state(bernoulli(logits))


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: int = 128,
    persistent: bool = True,
    k: int = 1,
    weight_decay: float = 0.0,
    sweeps: int = 500,
    temperatures: int = 10_000,
    chains: int = 100,
    lr: float = 0.05,
    batch_size: int = 100,
    steps: int = 10_000,
) -> Recipe:
    """An RBM over binary vectors and images, with exact log Z while one side is small.

    Args:
        hidden: number of hidden units; up to 16 of them the likelihood is exact.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases.
        sweeps: Gibbs sweeps to a sample.
        temperatures: of annealed importance sampling, which estimates log Z.
        chains: of annealed importance sampling.
        lr: learning rate of gradient descent, falling linearly to 0.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps.
    """
    if not isinstance(spec.support, Binary):
        raise RecipeError(
            "rbm: its visible units are 0 or 1, and this data is not; --binarize threshold makes "
            "bits of pixels, and realnvp, vae or gmm take anything."
        )
    check_at_least("rbm", 1, hidden=hidden, k=k, sweeps=sweeps, chains=chains)
    check_at_least("rbm", 2, temperatures=temperatures)
    kind = SmallRBM if min(hidden, spec.size) <= _EXACT_UNITS else RBM
    model = kind(spec.shape, hidden, sweeps=sweeps, temperatures=temperatures, chains=chains)
    return Recipe(
        model=model,
        objective=PersistentContrastiveDivergence(model, batch_size, k, weight_decay)
        if persistent
        else ContrastiveDivergence(model, k, weight_decay),
        optimizers={"model": SGD(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="linear",
    )
