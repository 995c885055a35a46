r"""Proposals: distributions with a known density that lie about where some samples lie.

Each is a product of one for the continuous columns (a normal, or a mixture of normals about the
samples with widths that reach their neighbors) and one for the discrete columns (frequencies,
smoothed). The one under which further samples are likeliest is taken.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from pofx.evaluation.checks.case import levels
from pofx.spec import DataSpec, Interval, Simple

_LOG_2PI = math.log(2 * math.pi)
_NEIGHBOR = 5
_CENTERS = 400
_BINS = 16
_FEW = 3
"""Columns up to which a mixture about samples is near to what they are drawn from."""


class Proposal(ABC):
    """A distribution of rows `(n, d)`, float64."""

    @abstractmethod
    def draw(self, n: int, g: torch.Generator) -> Tensor:
        """Draws `n` rows."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density, or log-mass, of rows: `(n,)`."""


class Normal(Proposal):
    """A normal distribution.

    Args:
        mean: `(d,)`.
        covariance: `(d, d)`, positive definite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.root = mean, torch.linalg.cholesky(covariance)

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        return self.mean + _randn(n, len(self.mean), g) @ self.root.T

    def log_prob(self, x: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(self.root, (x - self.mean).T, upper=False)
        log_scale = self.root.diagonal().log().sum()
        return -0.5 * (z.square().sum(0) + len(self.mean) * _LOG_2PI) - log_scale


class Mixture(Proposal):
    """Equal parts about some centers, each a product over columns of equal scale.

    Args:
        centers: `(m, d)`.
        scales: `(m, d)`.
        cauchy: whether the parts are Cauchy distributions of d dimensions, for their tails, or
            normal.
    """

    def __init__(self, centers: Tensor, scales: Tensor, *, cauchy: bool = False) -> None:
        self.centers, self.scales, self.cauchy = centers, scales, cauchy

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        m, d = self.centers.shape
        part = torch.randint(m, (n,), generator=g)
        z = _randn(n, d, g)
        if self.cauchy:
            z = z / _randn(n, 1, g).abs()
        return self.centers[part] + z * self.scales[part]

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.cat([self._log_prob(part) for part in x.split(1024)])

    def _log_prob(self, x: Tensor) -> Tensor:
        m, d = self.centers.shape
        square = x.new_zeros(len(x), m)
        for j in range(d):
            square += ((x[:, j, None] - self.centers[:, j]) / self.scales[:, j]).square_()
        if self.cauchy:
            power = (1 + d) / 2
            constant = math.lgamma(power) - power * math.log(math.pi)
            each = constant - power * square.log1p_()
        else:
            each = -0.5 * (square + d * _LOG_2PI)
        return (each - self.scales.log().sum(1)).logsumexp(1) - math.log(m)


class Either(Proposal):
    """One of two distributions.

    Args:
        often: the one.
        seldom: the other.
        share: how often it is the other.
    """

    def __init__(self, often: Proposal, seldom: Proposal, share: float) -> None:
        self.often, self.seldom, self.share = often, seldom, share

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        other = torch.rand(n, 1, generator=g) < self.share
        return torch.where(other, self.seldom.draw(n, g), self.often.draw(n, g))

    def log_prob(self, x: Tensor) -> Tensor:
        often = self.often.log_prob(x) + math.log1p(-self.share)
        return torch.logaddexp(often, self.seldom.log_prob(x) + math.log(self.share))


class Frequencies(Proposal):
    """Independent columns of values that may be had.

    Args:
        values: what column may be, each sorted, `(k,)`.
        x: rows to count in, `(n, d)`.
        smooth: how many more of every value are counted.
    """

    def __init__(self, values: list[Tensor], x: Tensor, smooth: float) -> None:
        self.values = [v.double() for v in values]
        width = max(map(len, values))
        counts = torch.zeros(len(values), width, dtype=torch.float64)
        for j, k in enumerate(self._indices(x).unbind(1)):
            counts[j] += torch.bincount(k, minlength=width)
            counts[j, : len(values[j])] += smooth
        self.log_p = (counts / counts.sum(1, keepdim=True)).log()

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        k = torch.multinomial(self.log_p.exp(), n, replacement=True, generator=g)
        return torch.stack([v[i] for v, i in zip(self.values, k, strict=True)], 1)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_p.T.gather(0, self._indices(x)).sum(1)

    def _indices(self, x: Tensor) -> Tensor:
        each = [
            torch.bucketize(x[:, j].contiguous(), (v[1:] + v[:-1]) / 2)
            for j, v in enumerate(self.values)
        ]
        return torch.stack(each, 1)


class Histogram(Proposal):
    """Independent columns of numbers in [-1, 1], of which each is uniform within equal bins.

    Args:
        x: rows to count in, `(n, d)`.
    """

    def __init__(self, x: Tensor) -> None:
        self.bins = Frequencies([torch.arange(_BINS)] * x.shape[1], self._bin(x), 1.0)

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        k = self.bins.draw(n, g)
        return (k + torch.rand(k.shape, generator=g, dtype=k.dtype)) * (2 / _BINS) - 1

    def log_prob(self, x: Tensor) -> Tensor:
        return self.bins.log_prob(self._bin(x)) + x.shape[1] * math.log(_BINS / 2)

    def _bin(self, x: Tensor) -> Tensor:
        return ((x + 1) * (_BINS / 2)).floor().clamp(0, _BINS - 1)


class Joined(Proposal):
    """Independent groups of columns.

    Args:
        groups: which columns, and how they are distributed.
    """

    def __init__(self, groups: list[tuple[Tensor, Proposal]]) -> None:
        self.groups = groups

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        x = torch.empty(n, sum(len(columns) for columns, _ in self.groups), dtype=torch.float64)
        for columns, proposal in self.groups:
            x[:, columns] = proposal.draw(n, g)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.stack([q.log_prob(x[:, c]) for c, q in self.groups]).sum(0)


def fit(spec: DataSpec, x: Tensor, further: Tensor) -> Proposal:
    """The proposal fitted to rows `x`, `(n, size)`, of those under which `further` is likeliest."""
    discrete = torch.tensor([c.discrete for c in spec.columns])
    groups: list[tuple[Tensor, Proposal]] = []
    for of_kind, fitted in ((~discrete, _continuous), (discrete, _discrete)):
        columns = of_kind.nonzero()[:, 0]
        if len(columns):
            known = [spec.columns[j] for j in columns.tolist()]
            found = _likeliest(fitted(x[:, columns], known), further[:, columns])
            groups.append((columns, found))
    return Joined(groups)


def _likeliest(proposals: Iterable[Proposal], x: Tensor) -> Proposal:
    return max(proposals, key=lambda q: float(q.log_prob(x).clamp(min=-1e6).mean()))


def _continuous(x: Tensor, supports: list[Simple]) -> Iterator[Proposal]:
    mean, own = x.mean(0), x.var(0).clamp(min=1e-12)
    yield Normal(mean, own.diag())
    if x.shape[1] > 1:
        covariance = x.T.cov()
        for share in (0.02, 0.3):
            yield Normal(mean, (1 - share) * covariance + share * own.diag())
    if all(isinstance(s, Interval) for s in supports):
        yield Histogram(x)
    if x.shape[1] <= _FEW:
        yield Either(about(x), Normal(mean, (4 * own).diag()), 0.1)


def _discrete(x: Tensor, supports: list[Simple]) -> Iterator[Proposal]:
    for smooth in (0.5, 5.0, 50.0):
        yield Frequencies([levels(s) for s in supports], x, smooth)


def about(x: Tensor, *, cauchy: bool = False) -> Mixture:
    """A mixture about rows `(n, d)`, each part as wide as it is far to its neighbors."""
    centers = x[:_CENTERS]
    unit = centers.std(0).clamp(min=1e-12)
    apart = torch.cdist(centers / unit, centers / unit)
    k = min(_NEIGHBOR + 1, len(centers))
    reach = apart.topk(k, 1, largest=False).values[:, -1:].clamp(min=1e-9)
    return Mixture(centers, 0.7 * reach * unit, cauchy=cauchy)


def _randn(n: int, d: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=g, dtype=torch.float64)
