"""What a model can do, one small protocol for each guarantee.

Tools take capabilities and never classes: a `torch.nn.Module` with a `log_prob` qualifies as a
`Density` without subclassing anything. Different guarantees have different names, never a flag: an
exact density, a lower bound and a random estimate are three protocols, because ranking one as
another is how comparisons go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from pofx.typing import Cond, Data, PerExample

Kind = Literal["exact", "bound", "estimate"]


@runtime_checkable
class Samples(Protocol):
    """Draws new examples."""

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        """Draws `n` examples of shape `(n, *event)`, in the spec's support."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """Samples in steps, of which fewer cost less, by any of several samplers."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """Their names, those that are most worth comparing first."""
        ...

    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        sampler: str | None = None,
        steps: int | None = None,
    ) -> Data:
        """As for `Samples`."""
        ...

    def check(self, **options: Any) -> None:
        """Refuses what `sample` would refuse.

        Raises:
            UserError: an option is out of its range.
        """

    def counted(self) -> AbstractContextManager[list[int]]:
        """Lists, for as long as it is entered, how many examples each call of the network has."""
        ...


@runtime_checkable
class Density(Protocol):
    """Knows log p(x) exactly."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        """Exact log p(x), nats per example."""
        ...


@runtime_checkable
class Factors(Protocol):
    """Knows every factor of the chain rule, in an order of its own."""

    def log_factors(self, x: Data, cond: Cond | None = None) -> Tensor:
        """Log p(x_i | x_<i) of every element, nats, `(n, size)`; they sum to log p(x)."""
        ...


@runtime_checkable
class Continues(Protocol):
    """Goes on with a sequence for as long as it is asked."""

    def continuation(self, prompt: Tensor, cond: Cond | None = None) -> Iterator[int]:
        """Yields the tokens after a prompt, int64 `(k,)`, one by one and without end."""
        ...


@runtime_checkable
class Bound(Protocol):
    """Knows a lower bound of log p(x)."""

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        """An unbiased one-draw estimate of a lower bound of log p(x), nats per example."""
        ...


@runtime_checkable
class FlowLikelihood(Protocol):
    """`by_flow() -> model`, another that states the likelihood by an ordinary equation."""

    def by_flow(self, *, directions: int | None = None) -> object:
        """What the probability flow says, of which it is the capability.

        Args:
            directions: how many random ones its trace is estimated from; None takes every axis.
        """


@runtime_checkable
class ImportanceBound(Protocol):
    """Knows a lower bound of log p(x) that tightens with the number of importance samples."""

    def importance_bound(
        self, x: Data, cond: Cond | None = None, *, samples: int = 500
    ) -> PerExample:
        """Log of the mean of `samples` importance weights, nats per example."""
        ...


@runtime_checkable
class Estimate(Protocol):
    """Estimates log p(x) at random."""

    def log_prob_estimate(self, x: Data, cond: Cond | None = None) -> PerExample:
        """A random estimate of log p(x), nats per example."""
        ...


@runtime_checkable
class Energy(Protocol):
    """Knows log p(x) up to a constant."""

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        """`-log p(x)` up to a constant, nats per example."""
        ...


@runtime_checkable
class EnergyBound(Protocol):
    """Knows from above what log p(x) is up to a constant."""

    def energy_bound(self, x: Data, cond: Cond | None = None) -> PerExample:
        """An unbiased one-draw estimate of an upper bound of the energy, nats per example."""
        ...


@runtime_checkable
class Normalizer(Protocol):
    """An energy whose constant can be estimated: `log p(x) = -energy(x) - log Z`."""

    def log_partition(self) -> tuple[float, float]:
        """An estimate of log Z and its standard error, in nats."""
        ...


@runtime_checkable
class NormalizerAbove(Protocol):
    """One whose constant can be estimated from above too, so that the gap tells of either."""

    def log_partition_above(self) -> tuple[float, float]:
        """An estimate of log Z that errs upwards, and its standard error, in nats."""
        ...


@runtime_checkable
class Score(Protocol):
    """Knows the gradient of the log-density of data with noise on it."""

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """The gradient of log p_t at `x_t`; t = 0 is data, t = 1 is noise."""
        ...


@runtime_checkable
class Latent(Protocol):
    """Maps examples to codes and back."""

    def encode(self, x: Data, cond: Cond | None = None) -> Data:
        """The code of each example, of shape `(n, *latent)`."""
        ...

    def decode(self, z: Data, cond: Cond | None = None) -> Data:
        """The example of each code, of shape `(n, *event)`."""
        ...


@runtime_checkable
class Inference(Protocol):
    """Infers codes by a distribution q(z | x), which a bound was made of."""

    def posterior(self, x: Data, cond: Cond | None = None) -> object:
        """Q(z | x); its `mean` stands for each example, and a normal one has `mu` and `log_var`."""
        ...

    def terms(self, x: Data, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """The two halves of the bound: log p(x | z) of a draw, `(n,)`, and the divergence of q
        from the prior in parts that add up, `(n, parts)`; nats.
        """
        ...


@runtime_checkable
class Walks(Protocol):
    """Samples by chains that can be followed step by step."""

    def walk(self, n: int) -> Iterator[tuple[Data, PerExample | None]]:
        """Where `n` chains are, `(n, *event)`, after each step on the way to samples, and with
        which probability the last proposal of each was accepted; None where every one is.
        """
        ...


@runtime_checkable
class Completes(Protocol):
    """Draws the rest of examples of which a part is known."""

    def complete(self, x: Data, known: Tensor, cond: Cond | None = None) -> Data:
        """Examples from `p(x | what is known of x)`; what is known comes back unchanged.

        Args:
            x: `(n, *event)`; what is not known in it is ignored.
            known: which elements are, a bool mask of the event's shape.
            cond: a class for each example.

        Raises:
            UserError: the model cannot go on from these elements; it says from which it can.
        """
        ...


@runtime_checkable
class Edits(Protocol):
    """Draws examples near given ones."""

    def edit(self, x: Data, cond: Cond | None = None, *, strength: float = 0.5) -> Data:
        """Examples that keep of `x` what `strength`, above 0 and at most 1, leaves of it.

        Args:
            x: `(n, *event)`, which may be rough.
            cond: a class for each of the new examples.
            strength: at 1 nothing is left.
        """
        ...


@runtime_checkable
class Guidable(Protocol):
    """Samples away from what a worse version of itself would draw."""

    def guided_by(self, worse: Any) -> Any:
        """The model whose samples go away from those of `worse`, which is of the same kind.

        Raises:
            UserError: it is of other data, noise or classes.
        """


@runtime_checkable
class Fits(Protocol):
    """Is fitted in closed form or by its own iteration, without the training loop."""

    def fit(self, x: Data, cond: Cond | None = None) -> None:
        """Fits to the examples `x`, all at once."""
        ...


@runtime_checkable
class FitsWithin(Fits, Protocol):
    """Knows how much memory its fit takes."""

    def fit_bytes(self, n: int, stored: int) -> int:
        """Bytes that `fit` takes at most beside its examples.

        Args:
            n: how many examples.
            stored: numbers that they hold, those that windows of one text share counted once.
        """
        ...


@dataclass(frozen=True)
class Spread:
    """How log p(x) of some examples is spread, and what the least likely ones do to its mean.

    Args:
        median: of log p(x), nats.
        worst: how many examples the least likely 1% are; at least one.
        share: of all that lies below the median, sum over examples of the distance from it, the
            part that these make; .07 for a normal distribution.
        pull: the mean less that of the other examples, nats.
    """

    median: float
    worst: int
    share: float
    pull: float


@dataclass(frozen=True)
class Likelihood:
    """A mean log-likelihood that says what it is.

    Args:
        nats: mean log p(x), nats per example.
        kind: `exact`, `bound` (a lower bound of the true mean) or `estimate`.
        stderr: standard error of `nats`, over examples and over whatever was drawn at random.
        unit: what p is relative to: `mass` of a discrete x, or `density` in the user's units.
        detail: how it was computed, such as `500 importance samples` or `uniform dequantisation`.
        gap: how far a constant from above is from one from below, nats, where both were estimated.
        spread: how the examples' values are spread about the mean, where that is known.
    """

    nats: float
    kind: Kind
    stderr: float
    unit: Literal["mass", "density"]
    detail: str = ""
    gap: float = 0.0
    spread: Spread | None = None

    def __repr__(self) -> str:
        """The figure with all that it needs to be read.

        >>> Likelihood(-61.25, "bound", 0.5, "mass", "500 importance samples")
        >= -61.250 +- 0.5 nats (bound, mass; 500 importance samples)
        """
        detail = f"; {self.detail}" if self.detail else ""
        return f"{self.figure} nats ({self.kind}, {self.unit}{detail})"

    @property
    def figure(self) -> str:
        """The mean and its standard error, with a sign where it is not exact."""
        sign = {"exact": "", "bound": ">= ", "estimate": "~ "}[self.kind]
        return f"{sign}{self.nats:.3f} +- {self.stderr:.2g}"
