r"""Yardstick: the contract of a model that is fitted at once, without the training loop.

A yardstick is a density of vectors y on the real line. A real number lies there as it is, a bounded
one by its logit, and the density of continuous data is exact. A discrete value is spread evenly
over its cell of [-1, 1], so that the density bounds its mass: two classes, because they promise
different things. Of bits, and of categories of at most 256 levels, the cells are sent to a standard
normal variable by the frequencies of the levels (`pofx.functional.marginals`), each count a half
more, under which the bound of independent elements is their likelihood; in a run of former days,
which does not know how many examples there were, to the real line by the logit, as all else.

Where a normal distribution meets an example that lies anywhere in its cells, the mean and the
variance of y there are all that counts,

.. math:: \mathbb{E} \log \mathcal{N}(y; \mu, \sigma^2)
    = \log \mathcal{N}(\mathbb{E} y; \mu, \sigma^2) - \frac{\mathrm{Var}\, y}{2 \sigma^2}

so a fit averages over the noise and draws none: it cannot learn one draw of it by heart. Values are
computed in float64 and come out in the type that went in.

References:
    A note on the evaluation of generative models (Theis et al., 2016), section 3.1, for uniform
    dequantisation. https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import dequantize, indices, log_cell, quantize
from pofx.functional.labels import any_class
from pofx.functional.marginals import counts, from_normal, moments_within, pick, to_normal
from pofx.functional.reductions import sum_event
from pofx.functional.unbound import bound, unbound
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Mixed, Real, Support, is_counted
from pofx.typing import Cond, Data, PerExample

_BLOCK = 1 << 22
"""Numbers in a block: 32 MB of float64."""
BLOCK_BYTES = 8 * _BLOCK
_C = 1 - 1e-5
"""Keeps a logit within 12.2."""


class Grouped(nn.Module, ABC):
    """What is fitted to all examples at once, or to those of each class.

    Args:
        spec: of the examples.
        conditional: whether `cond` is used; where it is and none is given, all classes are equally
            likely.
    """

    _like: Tensor

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__()
        self.spec, self.conditional = spec, conditional
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @abstractmethod
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        """Fits to the examples, all at once."""

    def labels(self, n: int, cond: Cond | None) -> Tensor:
        """The class of each of `n` draws: as told, or drawn, or the only one there is."""
        if self.conditional and cond is None:
            return any_class(n, self.spec.classes, self._like.device)
        return (
            cond
            if self.conditional and cond is not None
            else torch.zeros(n, dtype=torch.long, device=self._like.device)
        )

    def grouped(self, x: Data, cond: Cond | None, least: int, who: str, cure: str) -> Tensor:
        """The class of each example to fit to, 0 where there is only one class.

        Raises:
            RecipeError: no labels came, or fewer than `least` examples of a class; `who` needs them
                and `cure` is what to do.
        """
        if self.conditional and cond is None:
            raise RecipeError(
                f"{who} needs labels with --conditional, and none came; leave it out."
            )
        label = self.labels(len(x), cond)
        counts = torch.bincount(label, minlength=self.spec.classes if self.conditional else 1)
        fewest = int(counts.argmin())
        came = int(counts[fewest])
        if came < least:
            name = [*self.spec.class_names, *range(len(self.spec.class_names), len(counts))][fewest]
            which = f" of class '{name}'" if self.conditional else ""
            raise RecipeError(
                f"{who} needs at least {least} examples{which}, and {came} came; {cure}."
            )
        return label


class Yardstick(Grouped):
    """A density of vectors that is fitted to all examples at once; arguments as for `Grouped`."""

    c: Tensor
    place: Tensor
    levels: Tensor
    frequencies: Tensor

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        counted = [spec.count is not None and is_counted(s) for s in spec.columns]
        pairs = zip(spec.columns, counted, strict=True)
        c = [0.0 if by_count or isinstance(s, Real) else _C for s, by_count in pairs]
        self.register_buffer("c", torch.tensor(c, dtype=torch.float64), persistent=False)
        place = [i for i, by_count in enumerate(counted) if by_count]
        self.register_buffer("place", torch.tensor(place, dtype=torch.long), persistent=False)
        levels = torch.tensor([spec.columns[i].levels for i in place], dtype=torch.long)
        self.register_buffer("levels", levels, persistent=False)
        if place:
            own = torch.arange(int(levels.max())) < levels[:, None]
            self.register_buffer("frequencies", own.double() / levels[:, None])

    def fit_bytes(self, n: int, stored: int) -> int:
        """Bytes that a fit takes beside its examples: where these lie on the real line, the
        variance there and the index of each cell, and whatever the model's own way needs.
        """
        cells = max((s.levels for s in self.spec.columns if s.discrete), default=0)
        each = 16 if cells else 8
        return each * n * self.spec.size + 3 * 8 * 1024 * cells + self.own_bytes(n)

    @abstractmethod
    def own_bytes(self, n: int) -> int:
        """Bytes that a fit to `n` examples takes beside what all yardsticks do."""

    @abstractmethod
    def log_density(self, y: Tensor, cond: Cond | None = None) -> PerExample:
        """Log p(y) of vectors on the real line, nats."""

    @abstractmethod
    def draw(self, n: int, cond: Cond | None = None) -> Tensor:
        """Draws `n` vectors on the real line."""

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        return self.to_data(self.draw(n, cond))

    def to_line(self, x: Tensor) -> tuple[Tensor, PerExample]:
        """Where examples, with each discrete value at one place in its cell, lie on the real line,
        and the log of the Jacobian.
        """
        y, ladj = unbound(x.flatten(1).to(self.c), self.c)
        if len(self.place):
            z, own = to_normal(y[:, self.place], self.frequencies.log(), self.levels)
            y, ladj = y.index_copy(1, self.place, z), ladj.index_copy(1, self.place, own)
        return y, sum_event(ladj)

    def to_data(self, y: Tensor) -> Data:
        """The examples in whose cells vectors of the real line lie."""
        x = bound(y.to(self.c), self.c)
        if len(self.place):
            cells = from_normal(x[:, self.place], self.frequencies, self.levels)
            x = x.index_copy(1, self.place, cells)
        x = x.reshape(-1, *self.spec.shape)
        return quantize(x.to(torch.get_default_dtype()), self.spec)

    def observe(self, x: Data) -> None:
        """Takes the frequencies of bits and categories, on which everything else rests."""
        if len(self.place):
            own = self.frequencies > 0
            found = counts(x.flatten(1)[:, self.place].round().long(), self.frequencies)
            found = (found + 0.5) * own
            self.frequencies.copy_(found / found.sum(1, keepdim=True))

    def spread(self, x: Data) -> tuple[Tensor, Tensor]:
        """Mean and variance, over the cells of each example, of where it lies on the real line:
        `(n, size)` each, in the type of `x` to save memory.
        """
        x = x.flatten(1)
        if len(self.place) == x.shape[1]:
            return self._spread_counted(x)
        if not isinstance(self.spec.support, Mixed):
            return _spread(x, self.spec.support)
        mine = set(self.place.tolist())
        columns = zip(x.unbind(1), self.spec.support.columns, strict=True)
        each = [(v, v) if i in mine else _spread(v, s) for i, (v, s) in enumerate(columns)]
        means, variances = (torch.stack(part, 1) for part in zip(*each, strict=True))
        if mine:
            mean, variance = self._spread_counted(x[:, self.place])
            means[:, self.place], variances[:, self.place] = mean, variance
        return means, variances

    def _spread_counted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k = x.round().long()
        mean, variance = moments_within(self.frequencies)
        return pick(mean.to(x), k), pick(variance.to(x), k)


class Exact(Yardstick):
    """A yardstick of continuous examples: a density."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        y, ladj = self.to_line(x)
        return (self.log_density(y, cond) + ladj).to(x.dtype)


class Dequantized(Yardstick):
    """A yardstick of discrete examples, or of what mixes both kinds: a bound of the mass."""

    likelihood_detail = "uniform dequantisation"

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        y, ladj = self.to_line(dequantize(x, self.spec))
        return (self.log_density(y, cond) + ladj + log_cell(self.spec)).to(x.dtype)


def _spread(x: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    if not support.discrete:
        c = x.new_tensor(0.0 if isinstance(support, Real) else _C)
        return unbound(x, c)[0], torch.zeros_like(x)
    places = (torch.arange(1024, dtype=torch.float64) + 0.5) / 1024
    k = torch.arange(support.levels, dtype=torch.float64)[:, None]  # type: ignore[union-attr]
    y, _ = unbound((k + places) * (2 / len(k)) - 1, places.new_tensor(_C))
    index = indices(x, support)
    return y.mean(1).to(x)[index], y.var(1, correction=0).to(x)[index]


def blocks(n: int, width: int) -> Iterator[slice]:
    """The rows of `n` in turn, so many at a time that `width` numbers for each stay within 32 MB.

    >>> list(blocks(5, 1 << 21))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    step = max(1, _BLOCK // width)
    yield from (slice(first, first + step) for first in range(0, max(n, 1), step))


def moments(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each column, float64."""
    sums = [y[rows].double().sum(0) for rows in blocks(*y.shape)]
    mean = torch.stack(sums).sum(0) / len(y)
    squares = [(y[rows].double() - mean).square().sum(0) for rows in blocks(*y.shape)]
    return mean, torch.stack(squares).sum(0) / len(y)


def scales(mean: Tensor, variance: Tensor) -> Tensor:
    """The standard deviation of each column; 1 for one whose values all agree."""
    std = variance.sqrt()
    return torch.where(std > 1e-9 * mean.abs(), std, 1.0)
