r"""harmonium: visible and binary hidden units, joined to each other but not among themselves.

.. math:: -E(v, h) = \log b_\theta(v) + c^T h + h^T C v, \qquad
    F(v) = -\log \sum_h e^{-E(v, h)} = -\log b_\theta(v) - \sum_j \log(1 + e^{c_j + C_j v})

What the visible units are (bits, categories, real numbers) says :math:`b_\theta`, their own part.

References:
    Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986).
    Exponential family harmoniums with an application to information retrieval (Welling et al.,
    2004), eq. 7.
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), section
    4.1: log Z by AIS. https://www.cs.toronto.edu/~amnih/papers/dbn_ais.pdf
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.ebm.energy import enumerate_log_partition, log_sum_over
from pofx.ebm.units import Countable, Visible
from pofx.errors import UserError
from pofx.functional.bernoulli import log_prob
from pofx.functional.precision import at_least_float32
from pofx.functional.products import linear
from pofx.mcmc.ais import AISEstimate, ais, reverse_ais, temperatures
from pofx.mcmc.chains import Chains
from pofx.mcmc.gibbs import bernoulli, block_gibbs
from pofx.mcmc.tempering import parallel_tempering
from pofx.nn.defaults import sgd_decay
from pofx.parameters import Count, at_least, follows
from pofx.typing import Cond, Data, PerExample

EXACT_UNITS = 16
"""With at most so many bits on one side, log Z is a sum of at most 65,536 terms."""


class Harmonium(nn.Module):
    """A harmonium: capabilities Samples, Walks, Completes, Energy, Latent, and Normalizer.

    Args:
        visible: the visible units.
        hidden: number of hidden units.
        sweeps: Gibbs sweeps to a sample, from independent units with the data's moments.
        temperatures: of annealed importance sampling.
        chains: of annealed importance sampling.
    """

    def __init__(
        self,
        visible: Visible,
        hidden: int,
        *,
        sweeps: int = 500,
        temperatures: int = 10_000,
        chains: int = 100,
    ) -> None:
        super().__init__()
        self.visible = visible
        self.moments_shape: tuple[int, ...] = tuple(visible.moments.shape)
        self.hidden_shape: tuple[int, ...] = (hidden,)
        self.sweeps, self.temperatures, self.chains = sweeps, temperatures, chains
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible.width))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    @property
    def coupling(self) -> Tensor:
        """C, `(hidden, width)`."""
        return self.visible.coupling(self.weight)

    def free_energy(self, x: Data) -> tuple[PerExample, Tensor]:
        """F(x), and the logits of p(h | x)."""
        v = self.visible.read(x)
        logits = at_least_float32(linear(v, self.coupling, self.hidden_bias))
        base = self.visible.log_base(v, self.visible.natural())
        return log_prob(logits) - base, logits

    def hidden_free_energy(self, h: Tensor) -> PerExample:
        """-log of the sum, or integral, over v of `exp(-E(v, h))`."""
        theta = self.visible.natural()
        return -(h @ self.hidden_bias) - self.visible.log_sum(self._eta(h, theta), theta)

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.free_energy(x)[0]

    def encode(self, x: Data, cond: Cond | None = None) -> Data:
        """p(h = 1 | x)."""
        return self.hidden_parameters(x).sigmoid()

    def decode(self, z: Data, cond: Cond | None = None) -> Data:
        """The mean of x given h = z: of bits their probabilities, of categories the likeliest."""
        theta = self.visible.natural()
        return self.visible.write(self.visible.mean(self._eta(z, theta), theta))

    def hidden_parameters(self, x: Data) -> Tensor:
        """The logits of p(h | x)."""
        return linear(self.visible.read(x), self.coupling, self.hidden_bias)

    def draw_hidden(self, parameters: Tensor) -> Tensor:
        return bernoulli(parameters)

    def draw_visible(self, h: Tensor) -> Data:
        theta = self.visible.natural()
        return self.visible.write(self.visible.draw(self._eta(h, theta), theta))

    def log_visible(self, x: Data, h: Tensor) -> PerExample:
        """Log p(x | h), nats."""
        v, theta = self.visible.read(x), self.visible.natural()
        field = h @ self.coupling
        log_sum = self.visible.log_sum(theta[0] + field, theta)
        return self.visible.log_base(v, theta) + (field * v).sum(1) - log_sum

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        sweeps: Count | None = None,
        tempering: Annotated[int, at_least(2)] | None = None,
    ) -> Data:
        """Draws `n` examples, each the end of a chain.

        Args:
            n: how many.
            cond: not used.
            sweeps: of Gibbs sampling.
            tempering: temperatures of parallel tempering, for modes so far apart that a chain does
                not go between them; the cost grows with their number.
        """
        steps = self.sweeps if sweeps is None else sweeps
        if tempering is not None:
            return self._tempered(n, steps, tempering)
        x = self.visible.write(self._independent(n))
        return block_gibbs(x, self._draw_hidden_of, self.draw_visible, steps)

    def _draw_hidden_of(self, x: Data) -> Tensor:
        return self.draw_hidden(self.hidden_parameters(x))

    def _tempered(self, n: int, sweeps: int, count: int) -> Data:
        if count < 2 or sweeps < 1:
            raise UserError(
                "parallel tempering takes at least 2 temperatures and 1 sweep, and "
                f"{count} and {sweeps} came; leave tempering out for chains of one temperature."
            )
        path = AnnealedPath(self)
        betas = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
        chains = parallel_tempering(path, [path.start(n) for _ in betas], betas)
        *_, replicas = islice(chains, sweeps)
        return self.visible.write(replicas.x[-1].v)

    @torch.no_grad()
    def walk(self, n: int) -> Iterator[Chains]:
        """The chains of `sample`, sweep after sweep."""
        x = self.visible.write(self._independent(n))
        for _ in range(self.sweeps):
            x = block_gibbs(x, self._draw_hidden_of, self.draw_visible, 1)
            yield Chains(x)

    @torch.no_grad()
    def complete(self, x: Data, known: Tensor, cond: Cond | None = None) -> Data:
        """Chains of `sweeps` sweeps whose visible side keeps what is known."""
        start = self.visible.write(self._independent(len(x)))

        def draw_rest(h: Tensor) -> Data:
            return torch.where(known, x, self.draw_visible(h))

        begun = torch.where(known, x, start)
        return block_gibbs(begun, self._draw_hidden_of, draw_rest, self.sweeps)

    def powers(self, x: Data) -> Tensor:
        return self.visible.powers(self.visible.read(x))

    def observe(self, total: Tensor, examples: Tensor) -> None:
        self.visible.observe(total, examples)

    def log_partition(self) -> tuple[float, float]:
        """Log Z by annealed importance sampling, and its standard error, in nats."""
        estimate = self.ais(temperatures(self.temperatures), self.chains)
        return estimate.log_z, estimate.stderr

    @torch.no_grad()
    def log_partition_above(self) -> tuple[float, float]:
        """The same backwards, from samples; from above as far as they follow the model."""
        path = AnnealedPath(self)
        end = path.state(self.visible.read(self.sample(self.chains)))
        estimate = reverse_ais(path, temperatures(self.temperatures), end)
        return estimate.log_z, estimate.stderr

    @torch.no_grad()
    def ais(self, betas: list[float], chains: int, base: Tensor | None = None) -> AISEstimate:
        """Annealed importance sampling from independent visible units to the model.

        Args:
            betas: rising from 0 to 1.
            chains: how many.
            base: natural parameters of the visible units at the start, those of the data's moments
                by default.
        """
        return ais(AnnealedPath(self, base), betas, chains)

    def _independent(self, n: int) -> Tensor:
        base = self.visible.base()
        return self.visible.draw(base[0].expand(n, -1), base)

    def _eta(self, h: Tensor, theta: Tensor) -> Tensor:
        return linear(h, self.coupling.t(), theta[0])


class SmallHarmonium(Harmonium):
    """One with so few states on one side that log Z is a sum: capability Density besides."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return -self.energy(x) - self.exact_log_partition()

    def exact_log_partition(self) -> Tensor:
        """Log Z by summing over every state of the smaller side, a scalar in nats."""
        (hidden,), visible = self.hidden_shape, self.visible
        if isinstance(visible, Countable) and visible.states < 2**hidden:
            return log_sum_over(self._visible_free_energy, visible.state, visible.states)
        return enumerate_log_partition(self.hidden_free_energy, hidden, self.weight)

    def _visible_free_energy(self, v: Tensor) -> PerExample:
        return self.energy(self.visible.write(v))


DECAY = follows(
    "0, or 4,000 over the squared number of fewer than 1,000 examples",
    lambda spec, lr: sgd_decay(4_000, spec.count, lr),
)


def harmonium(
    visible: Visible, hidden: int, *, sweeps: int, temperatures: int, chains: int
) -> Harmonium:
    """A harmonium whose likelihood is exact where that is a small sum."""
    few = isinstance(visible, Countable) and visible.states <= 2**EXACT_UNITS
    kind = SmallHarmonium if few or hidden <= EXACT_UNITS else Harmonium
    return kind(visible, hidden, sweeps=sweeps, temperatures=temperatures, chains=chains)


class Annealed(NamedTuple):
    """A chain of annealed importance sampling with what its weights need."""

    v: Tensor
    base: PerExample
    own: PerExample
    hidden: Tensor


class AnnealedPath:
    r"""From independent visible units with parameters `base` (beta = 0) to the model (beta = 1).

    .. math:: f_\beta(v) = b_{(1 - \beta) \theta_0 + \beta \theta}(v)
        \prod_j (1 + e^{\beta (c_j + C_j v)})

    References:
        Salakhutdinov and Murray (2008), eq. 15 to 18.
    """

    def __init__(self, model: Harmonium, base: Tensor | None = None) -> None:
        self.visible, self.bias, self.coupling = model.visible, model.hidden_bias, model.coupling
        self.base = self.visible.base() if base is None else base
        self.own = self.visible.natural()

    def log_z(self) -> float:
        """Log Z at beta = 0."""
        base = self.base.double()
        return float(self.visible.log_sum(base[:1], base)) + len(self.bias) * math.log(2)

    def start(self, n: int) -> Annealed:
        """Exact draws at beta = 0."""
        return self.state(self.visible.draw(self.base[0].expand(n, -1), self.base))

    def state(self, v: Tensor) -> Annealed:
        """Chains at the visible units `v`, `(n, width)`."""
        base, own = (self.visible.log_base(v, theta) for theta in (self.base, self.own))
        return Annealed(v, base, own, linear(v, self.coupling, self.bias))

    def log_f(self, s: Annealed, beta: float) -> PerExample:
        return (1 - beta) * s.base + beta * s.own + F.softplus(beta * s.hidden).sum(1)

    def transition(self, s: Annealed, beta: float) -> Annealed:
        h = bernoulli(beta * s.hidden)
        theta = (1 - beta) * self.base + beta * self.own
        return self.state(
            self.visible.draw(torch.addmm(theta[0], h, self.coupling, alpha=beta), theta)
        )
