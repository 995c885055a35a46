r"""units: the visible side of a harmonium, by what an element may be.

The units v of an example are independent given the hidden side, each of an exponential family whose
first natural parameter the hidden units move:

.. math:: p(v | h) \propto e^{\eta^T v + \theta_2^T v^2}, \qquad \eta = \theta_1 + h^T C

with :math:`\theta = (\theta_1, \theta_2)` the natural parameters of the visible units alone, where
the square is needed, and :math:`C` the coupling, made of the weights.

References:
    Exponential family harmoniums with an application to information retrieval (Welling et al.,
    2004), section 2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.mcmc.gibbs import bernoulli
from pofx.recipe import RecipeError
from pofx.spec import Binary, Categorical, DataSpec, Mixed
from pofx.typing import Data, PerExample


class Visible(nn.Module, ABC):
    """Visible units, and the moments of the data as they were seen.

    Args:
        shape: of an example.
        width: how many units an example has.
        orders: moments that the family needs: 1, or 2 where the square counts.
    """

    moments: Tensor
    seen: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, orders: int = 1) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.register_buffer("moments", torch.zeros(orders, width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def read(self, x: Data) -> Tensor:
        """The units of examples, `(n, width)`."""
        return x.flatten(1)

    def write(self, v: Tensor) -> Data:
        """The examples of units."""
        return v.unflatten(1, self.shape)

    def powers(self, v: Tensor) -> Tensor:
        """What moments are the means of, `(n, orders, width)`."""
        return v[:, None]

    def coupling(self, weight: Tensor) -> Tensor:
        """C, `(hidden, width)`."""
        return weight

    @abstractmethod
    def natural(self) -> Tensor:
        """Theta, `(orders, width)`."""

    @abstractmethod
    def base(self) -> Tensor:
        """Theta of independent units with the data's moments: the start of every chain."""

    @abstractmethod
    def begin(self) -> None:
        """Puts the units' own parameters where the data's moments are."""

    def log_base(self, v: Tensor, theta: Tensor) -> PerExample:
        """What the units alone add to the log-density."""
        return (v * theta[0]).sum(1)

    @abstractmethod
    def log_sum(self, eta: Tensor, theta: Tensor) -> PerExample:
        """Log of the sum, or integral, over v: `(n, width) -> (n,)`."""

    @abstractmethod
    def draw(self, eta: Tensor, theta: Tensor) -> Tensor:
        """Draws v, `(n, width)`."""

    @abstractmethod
    def mean(self, eta: Tensor, theta: Tensor) -> Tensor:
        """The mean of v, `(n, width)`."""

    @torch.no_grad()
    def observe(self, total: Tensor, examples: Tensor) -> None:
        """Keeps the data's moments, given their sums over `examples` more of them; the units'
        parameters start at those of the first step.
        """
        first = not self.seen
        self.seen += examples
        self.moments.lerp_(total / examples, examples / self.seen)
        if first:
            self.begin()


class Countable(Visible):
    """Visible units of which there are finitely many examples."""

    @property
    @abstractmethod
    def states(self) -> int:
        """How many examples there can be."""

    @abstractmethod
    def state(self, first: int, last: int) -> Tensor:
        """The examples number `first` to `last - 1`, as units."""


class Bits(Countable):
    """0 or 1: theta is a logit, the bias."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, math.prod(shape))
        self.bias = nn.Parameter(torch.zeros(self.width))
        self.moments.fill_(0.5)

    @property
    def states(self) -> int:
        return 2**self.width

    def state(self, first: int, last: int) -> Tensor:
        return mixed_radix(first, last, [2] * self.width, self.bias)

    def natural(self) -> Tensor:
        return self.bias[None]

    def base(self) -> Tensor:
        return (0.99 * self.moments + 0.005).logit()

    def begin(self) -> None:
        """Logits of the shares, with one example more (Hinton, 2012, section 8.1)."""
        share = (self.moments[0] * self.seen + 0.5) / (self.seen + 1)
        self.bias.data.copy_(share.logit())

    def log_sum(self, eta: Tensor, theta: Tensor) -> PerExample:
        return F.softplus(eta).sum(1)

    def draw(self, eta: Tensor, theta: Tensor) -> Tensor:
        return bernoulli(eta)

    def mean(self, eta: Tensor, theta: Tensor) -> Tensor:
        return eta.sigmoid()


class Categories(Countable):
    """One of a few values, by a softmax over as many units, of which one is on.

    References:
        Restricted Boltzmann machines for collaborative filtering (Salakhutdinov et al., 2007),
        eq. 1.

    Args:
        spec: discrete; every element gets as many units as the one with most values needs, and
            those that it has not stay off.
    """

    on: Tensor

    def __init__(self, spec: DataSpec) -> None:
        levels = [s.levels for s in spec.columns]
        super().__init__(spec.shape, spec.size * max(levels))
        self.levels, self.most = levels, max(levels)
        on = torch.arange(self.most) < torch.tensor(levels)[:, None]
        self.register_buffer("on", on, persistent=False)
        self.bias = nn.Parameter(torch.zeros(self.width))
        self.moments.copy_((on / on.sum(1, keepdim=True)).flatten())

    @property
    def states(self) -> int:
        return math.prod(self.levels)

    def state(self, first: int, last: int) -> Tensor:
        return self._one_hot(mixed_radix(first, last, self.levels, self.bias).long())

    def read(self, x: Data) -> Tensor:
        return self._one_hot(x.flatten(1).round().long())

    def write(self, v: Tensor) -> Data:
        return self._groups(v).argmax(2).to(v.dtype).unflatten(1, self.shape)

    def natural(self) -> Tensor:
        return self.bias[None]

    def base(self) -> Tensor:
        return (0.99 * self.moments + 0.01 / self.most).log()

    def begin(self) -> None:
        """Logs of the shares, with one example more."""
        share = (self.moments[0] * self.seen + 1 / self.most) / (self.seen + 1)
        self.bias.data.copy_(share.log())

    def log_sum(self, eta: Tensor, theta: Tensor) -> PerExample:
        return self._possible(eta).logsumexp(2).sum(1)

    def draw(self, eta: Tensor, theta: Tensor) -> Tensor:
        p = self._possible(eta).softmax(2)
        return self._one_hot((p / torch.empty_like(p).exponential_()).argmax(2))

    def mean(self, eta: Tensor, theta: Tensor) -> Tensor:
        return self._possible(eta).softmax(2).flatten(1)

    def _possible(self, eta: Tensor) -> Tensor:
        return torch.where(self.on, self._groups(eta), -math.inf)

    def _groups(self, v: Tensor) -> Tensor:
        return v.unflatten(1, (len(self.levels), self.most))

    def _one_hot(self, k: Tensor) -> Tensor:
        return F.one_hot(k, self.most).flatten(1).to(self.bias.dtype)


class Normals(Visible):
    r"""Real numbers, normal given h with a mean and a learned standard deviation:

    .. math:: \theta = \big(\mu / \sigma^2, -1 / (2 \sigma^2)\big), \qquad C = W / \sigma^2

    References:
        Improved learning of Gaussian-Bernoulli restricted Boltzmann machines (Cho et al., 2011),
        eq. 2 to 6: weights that do not scale with sigma, and log sigma as the parameter.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, math.prod(shape), orders=2)
        self.mu = nn.Parameter(torch.zeros(self.width))
        self.log_sigma = nn.Parameter(torch.zeros(self.width))
        self.moments[1] = 1.0

    def powers(self, v: Tensor) -> Tensor:
        return torch.stack([v, v**2], 1)

    @property
    def precision(self) -> Tensor:
        """One over the variance given h; sigma is kept above 1e-3, as a constant column needs."""
        return (self.log_sigma.exp() + 1e-3) ** -2

    def coupling(self, weight: Tensor) -> Tensor:
        return weight * self.precision

    def natural(self) -> Tensor:
        return torch.stack([self.mu * self.precision, -0.5 * self.precision])

    def base(self) -> Tensor:
        mean, square = self.moments
        variance = (square - mean**2).clamp(min=1e-6)
        return torch.stack([mean / variance, -0.5 / variance])

    def begin(self) -> None:
        """The data's mean and variance."""
        mean, square = self.moments
        self.mu.data.copy_(mean)
        self.log_sigma.data.copy_(0.5 * (square - mean**2).clamp(min=1e-6).log())

    def log_base(self, v: Tensor, theta: Tensor) -> PerExample:
        return (v * theta[0] + v**2 * theta[1]).sum(1)

    def log_sum(self, eta: Tensor, theta: Tensor) -> PerExample:
        return (0.5 * (math.pi / -theta[1]).log() - eta**2 / (4 * theta[1])).sum(1)

    def draw(self, eta: Tensor, theta: Tensor) -> Tensor:
        return self.mean(eta, theta) + torch.randn_like(eta) * (-0.5 / theta[1]).sqrt()

    def mean(self, eta: Tensor, theta: Tensor) -> Tensor:
        return -0.5 * eta / theta[1]


def discrete_units(spec: DataSpec) -> Visible:
    """The visible units of bits, of categories, or of a table's row of both.

    Raises:
        RecipeError: the data is neither.

    >>> type(discrete_units(DataSpec((2, 3), Categorical(4)))).__name__
    'Categories'
    """
    if isinstance(spec.support, Binary):
        return Bits(spec.shape)
    if isinstance(spec.support, Categorical | Mixed) and all(
        isinstance(s, Binary | Categorical) for s in spec.columns
    ):
        return Categories(spec)
    raise RecipeError(
        f"elements must be bits or categories (got {type(spec.support).__name__}): "
        "--binarize threshold makes bits of pixels, gaussian-rbm takes real numbers, and realnvp, "
        "vae or gmm take anything."
    )


def mixed_radix(first: int, last: int, levels: list[int], like: Tensor) -> Tensor:
    """The numbers `first` to `last - 1` in digits, of which the last goes round fastest:
    `(last - first, digits)`.

    >>> mixed_radix(2, 5, [2, 3], torch.zeros(()))
    tensor([[0., 2.],
            [1., 0.],
            [1., 1.]])
    """
    numbers = torch.arange(first, last, device=like.device)
    base = torch.tensor(levels, device=like.device)
    places = torch.cat([base.flip(0).cumprod(0).flip(0)[1:], base.new_ones(1)])
    return ((numbers[:, None] // places) % base).to(like.dtype)
