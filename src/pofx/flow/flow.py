r"""Flow: a standard normal variable seen through a bijection.

.. math:: \log p(x) = \log \mathcal{N}(f(x); 0, I)
    + \log \left| \det \frac{\partial f(x)}{\partial x} \right|

`Flow` is the exact density of continuous data. Discrete data, or a table with a discrete column, is
dequantised, and `DequantizedFlow` bounds its mass: two classes, because they promise different
things.

References:
    Normalizing flows for probabilistic modeling and inference (Papamakarios et al., 2021), eq. 2-6.
        https://arxiv.org/abs/1912.02762
    A note on the evaluation of generative models (Theis et al., 2016), section 3.1, for uniform
    dequantisation.
        https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.flow.bijection import Bijection, Chain, DataDependent, Flatten, normalise
from pofx.flow.marginals import Marginals
from pofx.functional.dequantize import dequantize, log_cell, middle, quantize
from pofx.functional.labels import any_class, check_given, marginal
from pofx.functional.reductions import sum_event
from pofx.functional.unbound import bound, unbound
from pofx.nn.defaults import batch_of, decay_of
from pofx.objective import LossObjective, Metrics
from pofx.parameters import follows
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Interval, Real, Simple, is_counted
from pofx.typing import Cond, Data, PerExample

_LOG_2PI = math.log(2 * math.pi)


class _Change(nn.Module):
    """What both kinds of flow share: the density of y on the real line, and its samples."""

    _like: Tensor

    def __init__(self, bijection: Bijection, spec: DataSpec) -> None:
        super().__init__()
        edges = _edges(spec)
        self.bijection = Chain([*edges, bijection]) if edges else bijection
        self.spec = spec
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.spec.cond is not None

    def log_density(self, y: Tensor, cond: Cond | None = None) -> PerExample:
        """Log-density of continuous, or dequantised, examples, nats."""
        if self.spec.classes and cond is None:
            return marginal(self.log_density, y, self.spec.classes)
        check_given(cond, self.spec)
        z, ladj = self.bijection(y, cond)
        return ladj - 0.5 * (z.square().sum(1) + self.spec.size * _LOG_2PI)

    def _draw(self, n: int, cond: Cond | None) -> Tensor:
        if self.spec.classes and cond is None:
            cond = any_class(n, self.spec.classes, self._like.device)
        check_given(cond, self.spec)
        z = torch.randn(n, self.spec.size, device=self._like.device, dtype=self._like.dtype)
        return self.bijection.inverse(z, cond)


class Flow(_Change):
    """An exact density of continuous examples.

    Args:
        bijection: of an example, `(n, *spec.shape)`, to a latent vector, `(n, spec.size)`.
        spec: Real, Interval, or a table of such columns. A bounded element is first sent to the
            whole line by `Unbound`, so that the density lives on the interval.
    """

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.log_density(x, cond)

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        return quantize(self._draw(n, cond), self.spec)

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        return self.bijection(x, cond)[0]

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        return quantize(self.bijection.inverse(z, cond), self.spec)


class EstimatedFlow(_Change):
    """A random estimate of the density of continuous examples, whose mean is the log-density.

    Its bijection draws what it says of its Jacobian. Arguments as for `Flow`.
    """

    likelihood_detail = "one random direction"

    def log_prob_estimate(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.log_density(x, cond)

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        return quantize(self._draw(n, cond), self.spec)

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        return self.bijection(x, cond)[0]

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        return quantize(self.bijection.inverse(z, cond), self.spec)


class DequantizedFlow(_Change):
    """A bound of the mass of discrete examples, and of what mixes discrete with continuous columns.

    A discrete value is spread evenly over its cell, and the flow is the density of that. Arguments
    as for `Flow`.
    """

    likelihood_detail = "uniform dequantisation"

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.log_density(dequantize(x, self.spec), cond) + log_cell(self.spec)

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        return quantize(self._draw(n, cond), self.spec)

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        """The code of the middle of each example's cell."""
        return self.bijection(middle(x, self.spec), cond)[0]

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        return quantize(self.bijection.inverse(z, cond), self.spec)


class Unbound(Bijection):
    """The logit of what is bounded (`pofx.functional.unbound`).

    c is .95 for dequantised values, as in Real NVP (its alpha is .05), which flattens the steep
    ends; what the flow then puts outside of [-1, 1] is rounded to the last cells. It is 1 - 1e-5
    for Interval data: the mass that a flow could put outside lies beyond 12.2 of the logit.

    Args:
        spec: real columns pass unchanged.
        but: so do these supports.
    """

    c: Tensor

    def __init__(self, spec: DataSpec, but: Collection[Simple] = ()) -> None:
        super().__init__()
        c = [0.0 if s in but else _shrink(s) for s in spec.columns]
        self.register_buffer("c", torch.tensor(c).reshape(spec.shape), persistent=False)

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        y, ladj = unbound(x, self.c)
        return y, sum_event(ladj)

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return bound(z, self.c)


def _shrink(support: object) -> float:
    if isinstance(support, Real):
        return 0.0
    return 1 - 1e-5 if isinstance(support, Interval) else 0.95


def _edges(spec: DataSpec) -> list[Bijection]:
    """What sends examples to the whole line: bits and categories by their frequencies, all else by
    the logit. Where it is not known how many examples there are, a run of former days, all by it.
    """
    kinds = set(spec.columns)
    known = {s for s in kinds if is_counted(s)} if spec.count is not None else set()
    marginals: list[Bijection] = [Marginals(spec)] if known else []
    bounded = any(not isinstance(s, Real) for s in kinds - known)
    return [*marginals, Unbound(spec, known)] if bounded else marginals


AnyFlow = Flow | EstimatedFlow | DequantizedFlow


def flow(bijection: Bijection, spec: DataSpec, *, exact: bool = True) -> AnyFlow:
    """The kind of flow that the data calls for, and the bijection, if its `ladj` is not exact."""
    if any(c.discrete for c in spec.columns):
        return DequantizedFlow(bijection, spec)
    return (Flow if exact else EstimatedFlow)(bijection, spec)


def vector_flow(bijection: Bijection, spec: DataSpec, *, exact: bool = True) -> AnyFlow:
    """The same of a bijection of vectors, for examples of any shape."""
    if len(spec.shape) > 1:
        bijection = Chain([Flatten(spec.shape), bijection])
    return flow(bijection, spec, exact=exact)


BATCH = follows(
    "256, or all of fewer than 1,000 with bits or categories", lambda spec: batch_of(256, spec)
)
DECAY = follows(
    "0, or 12,000 over the number of fewer than 1,000 examples with bits or categories",
    lambda spec, lr: decay_of(spec, lr),
)


def check_elements(spec: DataSpec, hidden: tuple[int, ...] = (1,), *, halves: bool = False) -> None:
    """Refuses examples whose elements cannot be transformed given others or a condition, and
    networks without a hidden layer where one is needed; one element has no `halves` to couple.
    """
    if spec.size < 2 and halves:
        raise RecipeError("examples must have 2 elements or more (got 1): use gmm or maf.")
    if spec.size < 2 and spec.cond is None:
        raise RecipeError(
            "examples must have 2 elements or more, or a condition (got 1 without): use gmm."
        )
    if not hidden:
        raise RecipeError("--hidden must be one width or more (got none): give 64.")


class MaximumLikelihood(LossObjective):
    """Minimises the mean of `-log p(x)`, or of its bound, and sets what depends on data.

    The first batch may come in parts, and other processes may hold others, but every
    `DataDependent` layer needs all of what the layers before it put out. So the first step trains
    without, and once it is taken the whole batch passes again and sets them, layer by layer.
    """

    def __init__(self, model: AnyFlow) -> None:
        super().__init__()
        self.model: AnyFlow = model
        self._first = next((m for m in model.modules() if isinstance(m, DataDependent)), None)
        self._seen: list[tuple[Tensor, Cond | None]] = []

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        y = dequantize(x, self.model.spec)
        if self.training and self._first is not None and not self._first.ready:
            self._seen.append((y, cond))
        log_prob = self.model.log_density(y, cond) + log_cell(self.model.spec)
        return -log_prob.mean(), {}

    def after_step(self) -> None:
        if not self._seen:
            return
        parts, conds = zip(*self._seen, strict=True)
        self._seen.clear()
        cond = None if conds[0] is None else torch.cat(conds)
        normalise(self.model.bijection, torch.cat(parts), cond)
