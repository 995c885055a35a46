r"""Toy densities on the plane, with exact `log_prob` and exact samples.

Every one is normalised in closed form. Curves (two moons, swiss roll) are mixtures of equally
weighted Gaussians with their means along the curve, closer together than a standard deviation, so
that the mixture *is* the definition and not an approximation of one. Rings have a density in the
radius. The pinwheel is a mixture of five Gaussians, twisted by a rotation that depends on the
radius only, which keeps areas and therefore the density and the entropy.

Entropies, which no model's test NLL can fall below, are closed forms where one exists and the
trapezoid rule otherwise, on a grid fine enough (half the smallest standard deviation) that its
error is far below 1e-6 nats.

`ring-8` and `grid-25` have the settings that the mode-collapse literature counts modes with.

References:
    PacGAN (Lin et al., 2018), section 4.1: `ring-8` (radius 1, sd .01), `grid-25` (spacing 2, sd
    .05). https://arxiv.org/abs/1712.04086 Slice sampling (Neal, 2003), section 8: the funnel.
    https://doi.org/10.1214/aos/1056562461
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pofx.data.limits import DataError
from pofx.errors import did_you_mean
from pofx.functional.random import noise

_LOG_2PI = math.log(2 * math.pi)
_BLOCK = 8_192


class Density(Protocol):
    """A known density on the plane."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density, nats: `(n, 2) -> (n,)`."""
        ...

    def sample(self, n: int) -> Tensor:
        """Exact draws, `(n, 2)`, from torch's global noise with the example as the leading axis."""
        ...

    def entropy(self) -> float:
        """The differential entropy, nats."""
        ...


class GaussianMixture:
    """Equally weighted Gaussians with one standard deviation for all.

    Args:
        means: `(k, 2)`, float64.
        sd: standard deviation of each, in both directions.

    >>> round(GaussianMixture(torch.zeros(1, 2), 1.0).entropy(), 6)  # log(2 pi e)
    2.837877
    """

    def __init__(self, means: Tensor, sd: float) -> None:
        self.means = means.double()
        self.sd = sd

    def log_prob(self, x: Tensor) -> Tensor:
        means = self.means.to(x)
        constant = math.log(len(means)) + _LOG_2PI + 2 * math.log(self.sd)
        squares = [torch.cdist(b, means, compute_mode=_EXACT) ** 2 for b in x.split(_BLOCK)]
        return torch.cat([(s / (-2 * self.sd**2)).logsumexp(1) for s in squares]) - constant

    def sample(self, n: int) -> Tensor:
        means = self.means.to(torch.get_default_dtype())
        return means[torch.randint(len(means), (n,))] + self.sd * torch.randn(n, 2)

    def entropy(self) -> float:
        reach = float(self.means.abs().max()) + 9 * self.sd
        return grid_entropy(self.log_prob, reach, self.sd / 2)


_EXACT = "donot_use_mm_for_euclid_dist"


class Rings:
    """Concentric circles, equally likely: a uniform angle, and a radius that is normal about one of
    `radii`.

    `p(x) = f(r) / (2 pi r)`. The normals' mass below radius 0 is less than 1e-23 and is not drawn
    away.
    """

    def __init__(self, radii: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0), sd: float = 0.1) -> None:
        self.radii = torch.tensor(radii, dtype=torch.float64)
        self.sd = sd

    def log_prob(self, x: Tensor) -> Tensor:
        r = x.norm(dim=1)
        return self._log_radius(r) - r.clamp(min=1e-30).log() - _LOG_2PI

    def _log_radius(self, r: Tensor) -> Tensor:
        z = (r[:, None] - self.radii.to(r)) / self.sd
        constant = 0.5 * _LOG_2PI + math.log(self.sd) + math.log(len(self.radii))
        return (-0.5 * z**2).logsumexp(1) - constant

    def sample(self, n: int) -> Tensor:
        radii = self.radii.to(torch.get_default_dtype())
        r = radii[torch.randint(len(radii), (n,))] + self.sd * torch.randn(n)
        angle = 2 * math.pi * torch.rand(n)
        return torch.stack([r * angle.cos(), r * angle.sin()], 1)

    def entropy(self) -> float:
        step = self.sd / 50
        last = float(self.radii.max()) + 10 * self.sd
        r = torch.arange(1, int(last / step), dtype=torch.float64) * step
        log_f = self._log_radius(r)
        return float((log_f.exp() * (_LOG_2PI + r.log() - log_f)).sum() * step)


class Pinwheel:
    """Five Gaussian arms, twisted by `rate * radius`: about the centre by an angle that grows with
    the radius.

    Before the twist, arm k is a Gaussian about radius `radius` in the direction `2 pi k / arms`, of
    standard deviation `radial` along it and `tangential` across.
    """

    def __init__(
        self,
        arms: int = 5,
        radius: float = 2.0,
        radial: float = 0.5,
        tangential: float = 0.12,
        rate: float = 0.6,
    ) -> None:
        self.angles = torch.arange(arms, dtype=torch.float64) * (2 * math.pi / arms)
        self.radius, self.radial, self.tangential, self.rate = radius, radial, tangential, rate

    def log_prob(self, x: Tensor) -> Tensor:
        return self._log_arms(_rotate(x, -self.rate * x.norm(dim=1)))

    def _log_arms(self, x: Tensor) -> Tensor:
        angles = self.angles.to(x)
        along = x @ torch.stack([angles.cos(), angles.sin()])
        across = x @ torch.stack([-angles.sin(), angles.cos()])
        square = ((along - self.radius) / self.radial) ** 2 + (across / self.tangential) ** 2
        constant = _LOG_2PI + math.log(self.radial * self.tangential * len(angles))
        return (-0.5 * square).logsumexp(1) - constant

    def sample(self, n: int) -> Tensor:
        angles = self.angles.to(torch.get_default_dtype())
        scale = torch.tensor([self.radial, self.tangential])
        y = torch.randn(n, 2) * scale + torch.tensor([self.radius, 0.0])
        y = _rotate(y, angles[torch.randint(len(angles), (n,))])
        return _rotate(y, self.rate * y.norm(dim=1))

    def entropy(self) -> float:
        return grid_entropy(self._log_arms, self.radius + 9 * self.radial, self.tangential / 2)


class Checkerboard:
    """Uniform on every other square of a `cells` x `cells` board of side `2 reach`; the entropy is
    log of its area.
    """

    def __init__(self, cells: int = 4, reach: float = 4.0) -> None:
        self.cells, self.reach = cells, reach
        self.side = 2 * reach / cells

    def log_prob(self, x: Tensor) -> Tensor:
        cell = ((x + self.reach) / self.side).floor()
        black = (cell.sum(1) % 2 == 0) & (x.abs() < self.reach).all(1)
        return torch.where(black, -self.entropy(), -math.inf).to(x)

    def sample(self, n: int) -> Tensor:
        row = torch.randint(self.cells, (n,))
        column = 2 * torch.randint(self.cells // 2, (n,)) + row % 2
        cell = torch.stack([column, row], 1)
        return (cell + torch.rand(n, 2)) * self.side - self.reach

    def entropy(self) -> float:
        return math.log(2 * self.reach**2)


class Funnel:
    """Neal's funnel on the plane: `v ~ N(0, sd^2)`, `w | v ~ N(0, exp(v))`; x is (v, w)."""

    def __init__(self, sd: float = 3.0) -> None:
        self.sd = sd

    def log_prob(self, x: Tensor) -> Tensor:
        v, w = x.unbind(1)
        square = (v / self.sd) ** 2 + w**2 * (-v).exp()
        return -0.5 * square - 0.5 * v - math.log(self.sd) - _LOG_2PI

    def sample(self, n: int) -> Tensor:
        v, w = torch.randn(n, 2).unbind(1)
        return torch.stack([self.sd * v, w * (self.sd * v / 2).exp()], 1)

    def entropy(self) -> float:
        return 1 + _LOG_2PI + math.log(self.sd)


def grid_entropy(log_prob: Callable[[Tensor], Tensor], reach: float, step: float) -> float:
    """Entropy by the trapezoid rule on the square [-reach, reach]^2, in float64."""
    axis = torch.arange(-reach, reach + step, step, dtype=torch.float64)
    total = 0.0
    for block in axis.split(64):
        points = torch.cartesian_prod(block, axis)
        log_p = log_prob(points)
        total -= float((log_p.exp() * log_p).sum())
    return total * step**2


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    a, b = x.unbind(1)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * a - s * b, s * a + c * b], 1)


def ring(modes: int, radius: float, sd: float) -> GaussianMixture:
    """Gaussians evenly spaced on a circle."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return GaussianMixture(radius * torch.stack([angle.cos(), angle.sin()], 1), sd)


def grid(spacing: float = 2.0, side: int = 5, sd: float = 0.05) -> GaussianMixture:
    """Gaussians on a square lattice about the origin."""
    axis = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * spacing
    return GaussianMixture(torch.cartesian_prod(axis, axis), sd)


def two_moons(components: int = 64, sd: float = 0.1) -> GaussianMixture:
    """Two half circles of radius 1, one about (-.5, -.25) and one, upside down, about (.5, .25)."""
    angle = (torch.arange(components, dtype=torch.float64) + 0.5) * (math.pi / components)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    lower = torch.stack([0.5 - angle.cos(), 0.25 - angle.sin()], 1)
    return GaussianMixture(torch.cat([upper, lower]), sd)


def swiss_roll(components: int = 256, sd: float = 0.2) -> GaussianMixture:
    """The spiral `t (cos t, sin t) / 5` for t in (1.5 pi, 4.5 pi), evenly in t."""
    t = 1.5 * math.pi + (torch.arange(components, dtype=torch.float64) + 0.5) * (
        3 * math.pi / components
    )
    return GaussianMixture(torch.stack([t * t.cos(), t * t.sin()], 1) / 5, sd)


DENSITIES: dict[str, Callable[[], Density]] = {
    "eight-gaussians": partial(ring, 8, 4 / math.sqrt(2), 0.2),
    "ring-8": partial(ring, 8, 1.0, 0.01),
    "grid-25": grid,
    "two-moons": two_moons,
    "rings": Rings,
    "pinwheel": Pinwheel,
    "checkerboard": Checkerboard,
    "swiss-roll": swiss_roll,
    "funnel": Funnel,
}
EXAMPLES = 100_000


def density(name: str) -> Density:
    """The toy density of this name.

    >>> density("checkerboard").entropy() == math.log(32)
    True
    """
    if name not in DENSITIES:
        raise DataError(f"No toy density is called '{name}': {did_you_mean(name, DENSITIES)}")
    return DENSITIES[name]()


def examples(name: str, seed: int, n: int = EXAMPLES) -> Tensor:
    """`n` draws, `(n, 2)` float32, fixed by the seed; torch's global random state is left alone."""
    toy = density(name)
    with noise(seed, n, use="toy data"):
        return toy.sample(n).float()
