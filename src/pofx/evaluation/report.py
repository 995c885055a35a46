"""Report: what an evaluation found, for a file, for a table and for a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pofx.capabilities import Likelihood
from pofx.evaluation.memorization import Memorization
from pofx.evaluation.text import TextLikelihood
from pofx.evaluation.yardstick import NAME, Yardstick
from pofx.tables import Table
from pofx.typing import Data

_WEIGHTY = 0.25
"""The share of what lies below the median from which the worst 1% are told of; .07 is normal."""


@dataclass(frozen=True)
class Measured:
    """A figure and what to read it beside; None where that was not measured.

    Args:
        value: of the samples.
        low: lower end of its 95% interval.
        high: upper end of its 95% interval.
        stderr: its standard error.
        floor: the same figure for real examples in the place of the samples: as good as it gets.
        ceiling: the same figure for uniform noise: as bad as nothing learned.
    """

    value: float
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    floor: float | None = None
    ceiling: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """The figures that were measured, as plain numbers."""
        return {k: _finite(v) for k, v in vars(self).items() if v is not None}


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Args:
        data: name of the data set.
        split: the split that served as real examples.
        seed: of every random draw.
        likelihood: the strongest statement about log p(x), or None.
        bits_per_dim: the same in bits for each element, where that has a meaning.
        features: name, detail and width of the features, and the accuracy of a classifier behind
            them.
        counts: how many real examples, samples, reference examples and likelihoods there were.
        metrics: every figure by name, in the order in which to show them.
        memorization: how samples lie to training examples, or None.
        warnings: a sentence for everything that the reader should know.
        seconds: wall time.
        samples: the samples that were judged.
        text: the likelihood in the units of texts, where the data are one.
        yardstick: what a mixture of Gaussians scored in the model's place, or None.
    """

    data: str
    split: str
    seed: int
    likelihood: Likelihood | None
    bits_per_dim: float | None
    features: dict[str, Any]
    counts: dict[str, int]
    metrics: dict[str, Measured]
    memorization: Memorization | None
    warnings: tuple[str, ...]
    seconds: float
    samples: Data | None = field(default=None, repr=False, compare=False)
    text: TextLikelihood | None = None
    yardstick: Yardstick | None = None

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def table(self, title: str = "") -> Table:
        """The figures and the warnings, to be shown.

        Args:
            title: what is measured; the data by default.
        """
        return Table(
            self.rows(),
            ("what", "value", "beside"),
            title or self.data,
            tuple(f"warning: {warning}" for warning in self.warnings),
        )

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, without samples and neighbours."""
        return {
            "data": self.data,
            "split": self.split,
            "seed": self.seed,
            "likelihood": self._likelihood(),
            **({} if self.text is None else {"text": self.text.to_json()}),
            "features": self.features,
            **{f"n_{name}": n for name, n in self.counts.items()},
            **{name: m.to_json() for name, m in self.metrics.items()},
            "memorization": self._memorization(),
            "yardstick": None if self.yardstick is None else self.yardstick.to_json(),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value, and what to read it beside, of every figure, as text for a table."""
        rows = []
        if self.likelihood is not None:
            name = f"log p(x), nats ({self.likelihood.kind}, {self.likelihood.unit})"
            rows.append((name, self.likelihood.figure, self._likelihood_detail()))
            rows += self._worst()
        if self.text is not None:
            rows += self.text.rows()
        elif self.bits_per_dim is not None:
            rows.append(("bits per dimension", f"{self.bits_per_dim:.4f}", ""))
        rows += [
            (name.replace("_", " "), _value(m), self._beside(name, m))
            for name, m in self.metrics.items()
        ]
        if self.memorization is not None:
            m = self.memorization
            rows.append(("distance to training set", _number(m.ratio), "real 1"))
            rows.append(("copies of training set", str(m.copies), f"real {m.real_copies}"))
        if self.features:
            counts = f"{self.counts['fake']} samples, {self.counts['real']} real"
            detail = f" ({self.features['detail']})" if self.features["detail"] else ""
            rows.append(("features", f"{self.features['name']}{detail}", counts))
        return rows

    def _likelihood_detail(self) -> str:
        """How the likelihood was computed, of how many examples it is where not of all, and what
        the yardstick's is.
        """
        n, real = self.counts.get("likelihood", 0), self.counts.get("real", 0)
        of_some = f"{n:,} of {real:,} examples" if 0 < n < real else ""
        assert self.likelihood is not None
        nats = None if self.yardstick is None else self.yardstick.nats
        mixture = "" if nats is None else f"{NAME} {nats:.3f}"
        return ", ".join(filter(None, (self.likelihood.detail, of_some, mixture)))

    def _beside(self, name: str, m: Measured) -> str:
        """What real examples, noise and the yardstick score."""
        mixture = self.yardstick.frechet if self.yardstick and name == "frechet" else None
        known = (("real", m.floor), ("noise", m.ceiling), (NAME, mixture))
        return ", ".join(f"{who} {_number(x)}" for who, x in known if x is not None)

    def _worst(self) -> Iterator[tuple[str, str, str]]:
        """The median, where a few examples weigh much in the mean."""
        spread = None if self.likelihood is None else self.likelihood.spread
        if spread is not None and spread.share >= _WEIGHTY:
            who = "1 example makes" if spread.worst == 1 else f"{spread.worst:,} examples make"
            beside = f"the worst {who} {spread.share:.0%} of what is below it"
            yield "log p(x), median", f"{spread.median:.3f}", beside

    def _likelihood(self) -> dict[str, Any] | None:
        if self.likelihood is None:
            return None
        numbers = {"nats": self.likelihood.nats, "bits_per_dim": self.bits_per_dim}
        numbers["stderr"] = self.likelihood.stderr
        words = {k: getattr(self.likelihood, k) for k in ("kind", "unit", "detail")}
        spread = self.likelihood.spread
        if spread is not None:
            numbers |= {
                "median": spread.median, "worst_examples": spread.worst,
                "worst_share": spread.share, "worst_pull": spread.pull,
            }  # fmt: skip
        return {k: _finite(v) for k, v in numbers.items()} | words

    def _memorization(self) -> dict[str, Any] | None:
        if self.memorization is None:
            return None
        m = self.memorization
        samples, held_out, train = m.counts
        return {
            "ratio": _finite(m.ratio),
            "close": m.close,
            "copies": m.copies,
            "real_copies": m.real_copies,
            "counts": {"samples": samples, "held_out": held_out, "train": train},
        }


def _finite(x: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return x if x is not None and math.isfinite(x) else None


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.4g}"


def _value(m: Measured) -> str:
    if m.low is not None and m.high is not None:
        return f"{_number(m.value)} [{_number(m.low)}, {_number(m.high)}]"
    return _number(m.value) if m.stderr is None else f"{_number(m.value)} +- {m.stderr:.2g}"
