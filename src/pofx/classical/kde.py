r"""kde: On estimation of a probability density function and mode (Parzen, 1962).

Good for: anomalies among few columns: fitted in seconds, nothing to tune.

A small normal distribution around each of n training examples:

.. math:: p(x) = \frac{1}{n} \sum_i \prod_j \mathcal{N}(x_j; x_{ij}, h^2 s_j^2)

s_j is the standard deviation of column j. The bandwidth h is by default the one under which each
example is likeliest given all the others.

References:
    On estimation of a probability density function and mode (Parzen, 1962), eq. 1.4.
        https://doi.org/10.1214/aoms/1177704472
    Density estimation for statistics and data analysis (Silverman, 1986), section 4.3.2, eq. 4.14;
    Multivariate density estimation (Scott, 1992), eq. 6.42.

Note:
    Bits and categories of at most 256 levels have kernels of their own and an exact mass; see
    `pofx.classical.smoothed_levels`. Any other discrete example stands where it lies on average
    over its cells, and its kernel is as wide as these are besides: the variance of y within them is
    added to h^2 s_j^2.
    A continuous column that never varies has s_j = 1, so that it counts in its own units.
"""

from __future__ import annotations

from typing import Literal

import torch

from pofx.classical.conditional_normals import given_vector
from pofx.classical.leave_one_out import Examples
from pofx.classical.levels import counted
from pofx.classical.normals import Normals
from pofx.classical.smoothed_levels import SmoothedLevels, fairly
from pofx.classical.yardstick import BLOCK_BYTES, Dequantized, Exact, moments, scales
from pofx.parameters import Conditional, Count
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond, Data

Bandwidth = Literal["likelihood", "scott", "silverman"]


class _Kernels(Normals):
    def __init__(
        self,
        spec: DataSpec,
        points: int = 10_000,
        *,
        bandwidth: Bandwidth = "likelihood",
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, points, full=False, conditional=conditional, dtype=torch.float32)
        self.bandwidth = bandwidth

    def own_bytes(self, n: int) -> int:
        """The kept examples, their noise and widths in float64, and some blocks of pairs."""
        return 5 * 8 * min(n, len(self.means)) * self.spec.size + 8 * 8 * n + 4 * BLOCK_BYTES

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        label = self.grouped(x, cond, 1, "kde", "leave --conditional out, or bring more")
        kept = fairly(label, len(self.means))
        self.observe(x)
        y, noise = self.spread(x[kept])
        mean, variance = moments(y)
        continuous = noise.amax(0) == 0
        variance = torch.where(continuous, scales(mean, variance).square(), variance)
        examples = Examples((y - mean.to(y)).double(), noise.double(), variance, label[kept])
        h = self._rule(len(y))
        h = examples.likeliest(h) if self.bandwidth == "likelihood" else h
        owner = torch.full((len(self.means),), -1, device=label.device)
        owner[: len(y)] = label[kept]
        self.weights.copy_(self.evenly(owner))
        self.means.zero_()[: len(y)] = y
        self.roots.fill_(1.0)[: len(y)] = examples.widths(h)

    def _rule(self, n: int) -> float:
        """The rules of Scott and of Silverman, for as many examples as a class has on average."""
        d, each = self.spec.size, n / self.classes
        return (each * (d + 2) / 4 if self.bandwidth == "silverman" else each) ** (-1 / (d + 4))


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


def recipe(
    spec: DataSpec,
    *,
    points: Count = 10_000,
    bandwidth: Bandwidth = "likelihood",
    conditional: Conditional = False,
) -> Recipe:
    """Kernel density estimation: the training examples, blurred.

    Args:
        points: keep at most so many training examples, drawn at random.
        bandwidth: how the width of the blur is chosen: by the likelihood of each example given the
            others, or by the rule of scott or silverman, which suits one normal cloud.
        conditional: blur the examples of each class apart; given a vector, weigh them by it.
    """
    of_vector = conditional and not spec.classes

    def kernels(spec: DataSpec) -> KDE | DequantizedKDE:
        kind = DequantizedKDE if any(c.discrete for c in spec.columns) else KDE
        by_class = conditional and not of_vector
        return kind(spec, points, bandwidth=bandwidth, conditional=by_class)

    if of_vector:
        return Recipe(model=given_vector(spec, kernels))
    if conditional and points < spec.classes:
        raise RecipeError(
            f"--points must be at least one for each of {spec.classes} classes (got {points}): "
            "give more."
        )
    if counted(spec):
        by_rule = bandwidth != "likelihood"
        levels = SmoothedLevels(spec, points, by_rule=by_rule, conditional=conditional)
        return Recipe(model=levels)
    return Recipe(model=kernels(spec))
