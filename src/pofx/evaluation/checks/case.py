"""Case: a model under check, the examples to ask it about, and the noise that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pofx.capabilities import Bound, Density, Energy, EnergyBound, Estimate
from pofx.evaluation.calls import call, takes_cond
from pofx.functional.random import noise
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, Support
from pofx.typing import Cond, Data

_APART = 1 << 32
"""Rows of noise from one use to the next, so that no two uses share one."""
_ASKED = 1 << 52
"""The first row of the noise that questions are asked with; samples have those before it."""

Check = Callable[["Case"], Iterator[str]]
"""Yields a sentence for every fault that it finds."""


@dataclass(frozen=True)
class Case:
    """A model with examples to ask it about.

    Args:
        model: what is checked.
        spec: what its examples are.
        x: examples, `(n, *spec.shape)`.
        cond: a class for each, where there are any.
        seed: of every random draw.
        drawn: samples that were drawn already, by what was asked for.
    """

    model: Any
    spec: DataSpec
    x: Data
    cond: Cond | None
    seed: int
    drawn: dict[tuple[int, ...], Data] = field(default_factory=dict, repr=False)

    def samples(
        self,
        n: int,
        *,
        first: int = 0,
        model: Any = None,
        cond: Cond | None = None,
        labels: bool = True,
        stream: int = 0,
    ) -> Data:
        """Samples `first .. first + n` by keyed noise, of every class in turn.

        Args:
            n: how many.
            first: the number of the first, which keys its noise.
            model: another model to sample.
            cond: the classes to ask for instead.
            labels: whether any are asked for.
            stream: the state that the global random stream begins at.
        """
        method = (self.model if model is None else model).sample
        options = {}
        if self.cond is not None and labels and takes_cond(method):
            turns = torch.arange(first, first + n) % self.spec.classes
            options["cond"] = (turns if cond is None else cond).to(self.cond.device)
        with Keyed(self.seed, n, first, stream):
            return method(n, **options)

    def first_samples(self, n: int) -> Data:
        """Samples 0 to n, drawn once and kept."""
        if (n,) not in self.drawn:
            self.drawn[n,] = self.samples(n)
        return self.drawn[n,]

    def of_one_class(self, n: int, use: int) -> Data:
        """`n` samples to hold against `log_prob` on rows of noise that no other use shares."""
        if (n, use) not in self.drawn:
            cond = torch.zeros(n, dtype=torch.int64) if self.told else None
            self.drawn[n, use] = self.samples(
                n, first=(use + 1) * _APART, cond=cond, labels=cond is not None
            )
        return self.drawn[n, use]

    @property
    def told(self) -> bool:
        """Whether both samples and `log_prob` take a class."""
        methods = [getattr(self.model, name, None) for name in ("sample", "log_prob")]
        return self.cond is not None and all(m is not None and takes_cond(m) for m in methods)

    def ask(
        self,
        method: Callable[..., Tensor],
        x: Data | None = None,
        *,
        draw: int = 0,
        stream: int = 0,
        label: int | None = 0,
        **options: Any,
    ) -> Tensor:
        """A method's answer about `x`, or about all the examples, by keyed noise.

        Args:
            method: of the model.
            x: examples.
            draw: which draw of the noise.
            stream: the state that the global random stream begins at.
            label: the class that all of them are said to be of; None says none.
            options: of the method.
        """
        x = self.x if x is None else x
        cond = None
        if self.cond is not None and label is not None:
            cond = torch.full((len(x),), label, device=self.cond.device)
        with Keyed(self.seed, len(x), _ASKED + draw * _APART, stream):
            return call(method, x, cond=cond, **options)

    def log_prob(self, x: Data) -> Tensor:
        """Log p(x) of the samples that `of_one_class` draws, float64 `(n,)` on the CPU."""
        label = 0 if self.told else None
        parts = [self.ask(self.model.log_prob, part, label=label) for part in x.split(4096)]
        return torch.cat(parts).double().cpu()

    def like(self, rows: Tensor) -> Data:
        """Rows `(n, size)` as examples, of the type and on the device of the model."""
        return rows.reshape(-1, *self.spec.shape).to(self.x)

    def generator(self, use: int) -> torch.Generator:
        """A source of the checks' own draws, which no model sees."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + use) % (1 << 62))


class Keyed:
    """Keyed noise, over a global stream that starts at the same state."""

    def __init__(self, seed: int, n: int, first: int = 0, stream: int = 0) -> None:
        self.state, self.mode = seed + stream, noise(seed, n, first=first)

    def __enter__(self) -> None:
        torch.manual_seed(self.state)
        self.mode.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self.mode.__exit__(*exc)


def per_example_methods(case: Case) -> dict[str, Callable[..., Tensor]]:
    """What the model says of each example, by name."""
    kinds: dict[str, type] = {
        "log_prob": Density,
        "elbo": Bound,
        "log_prob_estimate": Estimate,
        "energy": Energy,
        "energy_bound": EnergyBound,
    }
    return {n: getattr(case.model, n) for n, kind in kinds.items() if isinstance(case.model, kind)}


def random_examples(spec: DataSpec, n: int, seed: int) -> Data:
    """Examples of the support alone: numbers are normal, values uniform."""
    with noise(seed, n):
        u = torch.rand(n, *spec.shape)
    if isinstance(spec.support, Mixed):
        columns = zip(u.unbind(1), spec.support.columns, strict=True)
        return torch.stack([_random_values(c, s) for c, s in columns], 1)
    return _random_values(u, spec.support)


def _random_values(u: Tensor, support: Support) -> Tensor:
    if isinstance(support, Real):
        return torch.erfinv(2 * u - 1) * 2**0.5
    if isinstance(support, Interval):
        return 2 * u - 1
    known = levels(support)
    return known[(u * len(known)).long().clamp(max=len(known) - 1)]


def levels(support: Support) -> Tensor:
    """Every value that an element may take, in order."""
    assert isinstance(support, Bytes | Binary | Categorical)
    k = torch.arange(support.levels, dtype=torch.get_default_dtype())
    return k * (2 / (support.levels - 1)) - 1 if isinstance(support, Bytes) else k
