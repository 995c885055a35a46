"""Ladder: what fewer steps cost in quality, on one's own model.

Every sampler draws the same number of samples from the same seed in several counts of steps. The
Frechet distance of each to real examples stands beside what it took: evaluations of the network for
a sample, and seconds.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pofx.capabilities import Stepwise
from pofx.errors import UserError, did_you_mean
from pofx.evaluation.blocks import Stop, poll
from pofx.evaluation.calls import device_of
from pofx.evaluation.evaluate import DatasetLike
from pofx.evaluation.features import Features, build_features
from pofx.evaluation.frechet import frechet_distance
from pofx.functional.draw import draw
from pofx.functional.random import stream
from pofx.typing import Cond, Data

COMPARED = 6
"""Samplers that are compared unless told otherwise."""


@dataclass(frozen=True)
class Rung:
    """One setting.

    Args:
        sampler: its name.
        steps: how many.
        frechet: distance of its samples to real examples; infinite where they are not finite.
        evaluations: of the network, for a sample.
        seconds: for a sample.
        shown: the first ten samples.
    """

    sampler: str
    steps: int
    frechet: float
    evaluations: float
    seconds: float
    shown: Data = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """All but the samples."""
        values = {k: v for k, v in vars(self).items() if k != "shown"}
        return values | {"frechet": self.frechet if math.isfinite(self.frechet) else None}


class Ladder:
    """The settings one after another, each when it is asked for.

    Args:
        model: samples in steps by any of several samplers.
        dataset: what samples are held against.
        samplers: names; the model's first ones by default.
        steps: counts of steps, of which a sampler that chooses its own is measured at the first.
        n: real examples, and as many samples of each setting.
        features: as for `pofx.evaluation.evaluate`.
        split: of the real examples.
        seed: of every random draw.
        options: what the model's `sample` takes beside.
        stop: polled throughout.

    Raises:
        UserError: the model has no samplers, or an argument does not suit it.
    """

    def __init__(
        self,
        model: object,
        dataset: DatasetLike,
        *,
        samplers: Sequence[str] = (),
        steps: Sequence[int] = (5, 10, 20, 50),
        n: int = 1000,
        features: str | None = None,
        split: str = "test",
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        stop: Stop | None = None,
    ) -> None:
        if not isinstance(model, Stepwise):
            raise UserError(
                "a ladder is of a model that has samplers to choose from, and this one has none; "
                "train a diffusion of continuous noise such as ddpm or edm."
            )
        for name in samplers:
            if name not in model.samplers:
                raise UserError(
                    f"there is no sampler '{name}'; {did_you_mean(name, model.samplers)}"
                )
        real: Any = getattr(dataset, split)
        if min(n, len(real)) < 2 or not steps:
            raise UserError(
                f"a ladder has at least 1 count of steps and 2 examples, and {len(steps)} and "
                f"{min(n, len(real))} came."
            )
        self.model, self.seed, self.stop = model, seed, stop
        self.options = dict(options or {})
        for name in ("sampler", "steps"):
            if name in self.options:
                raise UserError(
                    f"a ladder compares samplers and counts of steps, and the one --{name} "
                    f"{self.options[name]} came; list them, as --samplers ddim,heun --steps 5,10."
                )
        alike = getattr(model, "adaptive", ())
        self.settings = [
            (sampler, count)
            for sampler in dict.fromkeys(samplers or model.samplers[:COMPARED])
            for count in dict.fromkeys(steps[:1] if sampler in alike else steps)
        ]
        for sampler, count in self.settings:
            model.check(**self.options, sampler=sampler, steps=count)
        self.features: Features = build_features(features, dataset, stop=stop)
        generator = torch.Generator().manual_seed(stream("ladder", seed))
        x, cond = real.values(torch.randperm(len(real), generator=generator)[:n])
        self.n = len(x)
        self.real = self.features(x.float(), stop=stop).features
        other: Any = dataset.train
        order = torch.randperm(len(other), generator=generator)[: self.n]
        same, _ = other.values(order)
        self.floor = frechet_distance(self.real, self.features(same.float()).features, stop)
        self.cond: Cond | None = cond  # samples and real examples are of the same classes

    def __len__(self) -> int:
        return len(self.settings)

    def __repr__(self) -> str:
        return f"Ladder({len(self)} settings, {self.n:,} samples of each)"

    def __iter__(self) -> Iterator[Rung]:
        return itertools.starmap(self.rung, self.settings)

    def rung(self, sampler: str, steps: int) -> Rung:
        """One setting, measured."""
        cond = None if self.cond is None else self.cond.to(device_of(self.model))
        options = {**self.options, "sampler": sampler, "steps": steps}
        start = time.perf_counter()
        with self.model.counted() as calls:
            x = draw(
                self.model, self.n, seed=self.seed, cond=cond, stop=self.stop or (lambda: False),
                **options,
            )  # fmt: skip
        seconds = time.perf_counter() - start
        poll(self.stop)
        distance = math.inf
        if bool(x.isfinite().all()):
            distance = frechet_distance(self.real, self.features(x.float()).features, self.stop)
        return Rung(sampler, steps, distance, sum(calls) / self.n, seconds / self.n, x[:10])


def recommended(rungs: Sequence[Rung], within: float = 0.05) -> Rung:
    """The setting of fewest evaluations whose distance is within a share of the best one's.

    >>> rungs = [Rung("a", k, d, k, k, torch.empty(0)) for k, d in ((5, 3.0), (9, 1.04), (50, 1.0))]
    >>> recommended(rungs).steps
    9
    """
    best = min(r.frechet for r in rungs)
    near = [r for r in rungs if r.frechet <= (1 + within) * best]
    return min(near, key=lambda r: (r.evaluations, r.seconds))
