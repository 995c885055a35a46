r"""kde: On estimation of a probability density function and mode (Parzen, 1962).

A small normal distribution around each of n training examples:

.. math:: p(x) = \frac{1}{n} \sum_i \prod_j \mathcal{N}(x_j; x_{ij}, \sigma_j^2), \quad
    \sigma_j^2 = h^2 s_j^2 + D_j

s_j is the standard deviation of column j, and D_j the variance of the noise that dequantises it: 0
where it is continuous. The bandwidth h is by default the one under which each example is likeliest
given all the others.

References:
    On estimation of a probability density function and mode (Parzen, 1962), eq. 1.4.
        https://doi.org/10.1214/aoms/1177704472
    On the choice of smoothing parameters for Parzen estimators of probability density functions
    (Duin, 1976), for the likelihood of what is left out. https://doi.org/10.1109/TC.1976.1674577
    Density estimation for statistics and data analysis (Silverman, 1986), section 4.3.2, eq. 4.14;
    Multivariate density estimation (Scott, 1992), eq. 6.42.

Note:
    h is at least 1e-3. An example is left out with those that repeat its continuous columns, or
    tables with repeated rows would call for no width at all. A column that never varies has s_j = 1
    if it is continuous, so that it counts in its own units.
    Dequantised examples stand in the middle of their cells; no noise is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pofx.classical.yardstick import (
    Dequantized,
    Exact,
    Yardstick,
    blocks,
    moments,
    scales,
    squared_distances,
    standardize,
)
from pofx.distributions.mixture import class_weights, pick
from pofx.functional.dequantize import centre, noise_variance
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

Bandwidth = Literal["likelihood", "scott", "silverman"]
_LEAST, _MOST = 1e-3, 4.0
_PAIRS = 1 << 21
_LOG_2PI = math.log(2 * math.pi)


class _Kernels(Yardstick):
    points: Tensor
    owner: Tensor
    mean: Tensor
    width: Tensor

    def __init__(
        self,
        spec: DataSpec,
        points: int = 10_000,
        *,
        bandwidth: Bandwidth = "likelihood",
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        self.bandwidth, self.classes = bandwidth, spec.classes if conditional else 1
        self.register_buffer("mean", torch.zeros(spec.size, dtype=torch.float64))
        self.register_buffer("width", torch.ones(spec.size, dtype=torch.float64))
        self.register_buffer("points", torch.zeros(points, spec.size))
        self.register_buffer("owner", torch.arange(points) % self.classes)

    @property
    def weights(self) -> Tensor:
        """Of each point in each class, `(classes, points)`; 0 where no point is stored."""
        own = self.owner == torch.arange(self.classes, device=self.owner.device)[:, None]
        return own.double() / own.sum(1, keepdim=True)

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        label = self.grouped(x, cond, 1, "kde", "leave --conditional out, or bring more")
        kept = _evenly(label, len(self.points))
        y = self.vectors(centre(x[kept], self.spec))
        noise = noise_variance(self.spec).to(self.mean)
        mean, variance = moments(y)
        variance = torch.where(noise > 0, variance, scales(mean, variance).square())
        h = self._rule(len(y))
        if self.bandwidth == "likelihood":
            h = Neighbours(y.double() - mean, variance, noise, label[kept]).likeliest(h)
        self.mean.copy_(mean)
        self.width.copy_((h**2 * variance + noise).sqrt())
        self.points.zero_()[: len(y)] = standardize(y, self.mean, self.width)
        self.owner.fill_(-1)[: len(y)] = label[kept]

    def _rule(self, n: int) -> float:
        """The rules of Scott and of Silverman, for as many examples as a class has on average."""
        d, each = self.spec.size, n / self.classes
        return (each * (d + 2) / 4 if self.bandwidth == "silverman" else each) ** (-1 / (d + 4))

    def log_density(self, y: Tensor, cond: Cond | None = None) -> PerExample:
        stored = self.owner >= 0
        points, weights = self.points[stored].to(y), self.weights[:, stored]
        u = (y - self.mean) / self.width
        parts = []
        for rows in blocks(len(y), len(points)):
            label = None if cond is None else cond[rows]
            log_weights = class_weights(weights, label, self.conditional).log()
            parts.append((log_weights - 0.5 * squared_distances(u[rows], points)).logsumexp(1))
        return torch.cat(parts) - self.width.log().sum() - 0.5 * _LOG_2PI * self.spec.size

    def draw(self, n: int, cond: Cond | None = None) -> Tensor:
        u = self.points[pick(self.weights, self.labels(n, cond))].to(self.width)
        return self.mean + self.width * (u + torch.randn_like(u))


class KDE(_Kernels, Exact):
    """Exact density of continuous examples.

    Args:
        spec: of the examples.
        points: how many training examples are kept at most, drawn at random.
        bandwidth: how h is chosen: the `likelihood` of each example given the others, or a rule.
        conditional: whether every class has the points of its own examples.

    >>> model = KDE(DataSpec((1,)), 3, bandwidth="scott")
    >>> model.fit(torch.tensor([[0.0], [1.0], [2.0]]))
    >>> model.log_prob(torch.tensor([[1.0]])).exp()
    tensor([0.3296])
    """


class DequantizedKDE(_Kernels, Dequantized):
    """Bound of the mass of discrete examples; arguments as for `KDE`."""


def _evenly(label: Tensor, most: int) -> Tensor:
    """At most so many examples, at random, from each class as many as it has or its even share."""
    order = torch.randperm(len(label), device=label.device)
    turn = torch.empty_like(order)
    for c in label.unique():
        mine = order[label[order] == c]
        turn[mine] = torch.arange(len(mine), device=label.device)
    return order[turn[order].argsort(stable=True)][:most]


@dataclass(frozen=True)
class Neighbours:
    """Some examples, each to be asked about given all the others.

    Args:
        y: examples, `(n, d)`, in random order.
        variance: of each column, `(d,)`.
        noise: variance of the noise of dequantisation, `(d,)`.
        label: the class of each; the others are those of the same class that are no copies.
    """

    y: Tensor
    variance: Tensor
    noise: Tensor
    label: Tensor

    @property
    def asked(self) -> int:
        """How many of the examples, the first ones, are asked about: as many as is quick."""
        n, d = self.y.shape
        return min(n, max(1, _PAIRS // n), max(100, 64 * _PAIRS // (n * d)))

    def others(self) -> Tensor:
        """Whom of all each of the first examples is asked about given: `(asked, n)`."""
        n, real = len(self.y), self.noise == 0
        alike = self.y[:, real] if real.any() else torch.arange(n).to(self.y)[:, None]
        copies = torch.cdist(alike[: self.asked], alike, p=math.inf) == 0
        return (self.label[: self.asked, None] == self.label) & ~copies

    def likeliest(self, otherwise: float) -> float:
        """The h under which they are likeliest, or `otherwise` where there is nothing to choose by.

        The noise of an example is averaged over, which bounds its likelihood.
        """
        others = self.others()
        kept = others.any(1)
        if not kept.any():
            return otherwise
        hidden = torch.zeros_like(others[kept], dtype=self.y.dtype)
        hidden = hidden.masked_fill(~others[kept], -math.inf)

        def log_prob(log_h: float) -> float:
            sigma2 = math.exp(2 * log_h) * self.variance + self.noise
            u = self.y / sigma2.sqrt()
            near = hidden - 0.5 * squared_distances(u[: self.asked][kept], u)
            return float(
                near.logsumexp(1).mean() - 0.5 * (sigma2.log() + self.noise / sigma2).sum()
            )

        return math.exp(_highest(log_prob, math.log(_LEAST), math.log(_MOST)))


def _highest(f: Callable[[float], float], low: float, high: float, points: int = 18) -> float:
    """Where f is highest between two numbers: the best point of a grid, then golden section."""
    step = (high - low) / (points - 1)
    best = low + step * max(range(points), key=lambda i: f(low + step * i))
    low, high = max(low, best - step), min(high, best + step)
    shrink = (math.sqrt(5) - 1) / 2
    a, b = high - shrink * (high - low), low + shrink * (high - low)
    f_a, f_b = f(a), f(b)
    while high - low > 1e-3:
        if f_a < f_b:
            low, a, f_a = a, b, f_b
            b = low + shrink * (high - low)
            f_b = f(b)
        else:
            high, b, f_b = b, a, f_a
            a = high - shrink * (high - low)
            f_a = f(a)
    return (low + high) / 2


def recipe(
    spec: DataSpec,
    *,
    points: int = 10_000,
    bandwidth: Bandwidth = "likelihood",
    conditional: bool = False,
) -> Recipe:
    """Kernel density estimation: the training examples, blurred.

    Args:
        spec: what the data is.
        points: keep at most so many training examples, drawn at random.
        bandwidth: how the width of the blur is chosen: by the likelihood of each example given the
            others, or by the rule of scott or silverman, which suits one normal cloud.
        conditional: blur the examples of each class apart.
    """
    least = spec.classes if conditional else 1
    if conditional and not spec.classes:
        raise RecipeError(
            "kde: --conditional needs data with classes, and this has none; leave it out."
        )
    if points < least:
        raise RecipeError(f"kde: --points is at least {least}, and {points} came.")
    discrete = any(c.discrete for c in spec.columns)
    model = (DequantizedKDE if discrete else KDE)(
        spec, points, bandwidth=bandwidth, conditional=conditional
    )
    return Recipe(model=model)
