r"""Anomaly: how strange each example looks to a model of normal ones.

Any model that can do one of these gives a score, the higher the stranger:

.. math::
    \text{likelihood} = -\log p(x), \quad
    \text{energy} = E(x), \quad
    \text{reconstruction} = |x - g(f(x))|^2, \quad
    \text{latent} = (f(x) - \mu)^T S^{-1} (f(x) - \mu)

with :math:`\mu` and S the mean and covariance of the codes of normal examples.

References:
    ADBench: anomaly detection benchmark (Han et al., 2022), section 3. https://arxiv.org/abs/2206.09426
    Do deep generative models know what they don't know? (Nalisnick et al., 2019): a likelihood
    can be higher for simpler data of another kind. https://arxiv.org/abs/1810.09136
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pofx.capabilities import Bound, Density, Energy, EnergyBound, Estimate, Latent
from pofx.errors import UserError
from pofx.evaluation.blocks import Stop
from pofx.evaluation.calls import call
from pofx.evaluation.likelihood import Statement, per_example, state
from pofx.functional.dequantize import relax
from pofx.functional.reductions import sum_event
from pofx.spec import DataSpec
from pofx.tables import Table
from pofx.typing import Cond, Data, PerExample

Kind = Literal["likelihood", "energy", "reconstruction", "latent"]
_IMPORTANCE_SAMPLES = 50


@dataclass(frozen=True)
class Detection:
    """How well scores tell anomalies from normal examples.

    Args:
        auroc: area under the receiver operating characteristic: the share of pairs in which the
            anomaly has the higher score.
        average_precision: mean precision over the recalls; the share of anomalies for no skill.
        anomalies: how many there were.
        examples: of how many.
    """

    auroc: float
    average_precision: float
    anomalies: int
    examples: int

    def facts(self) -> dict[str, str]:
        """Name and value of the figures, for a table."""
        return {
            "AUROC": f"{self.auroc:.4f}",
            "average precision": f"{self.average_precision:.4f}",
            "labelled": f"{self.anomalies:,} anomalies of {self.examples:,} examples",
        }


@dataclass(frozen=True)
class Anomalies:
    """The scores of some examples.

    Args:
        kind: what was scored by.
        scores: float64, `(n,)`, the higher the stranger.
        threshold: an example above it is called an anomaly.
        labels: the name of each example's class, or None.
        detection: how well the scores tell, where there are labels of both kinds.
    """

    kind: Kind
    scores: Tensor
    threshold: float
    labels: tuple[str, ...] | None
    detection: Detection | None

    def __repr__(self) -> str:
        return "; ".join(f"{name} {value}" for name, value in self.facts().items())

    def _repr_html_(self) -> str:
        return Table(list(self.facts().items()))._repr_html_()

    def facts(self) -> dict[str, str]:
        """Name and value of what there is to say of all examples."""
        found = {
            "score": self.kind,
            "threshold": f"{self.threshold:.6g}",
            "anomalies": f"{int(self.flagged.sum()):,} of {len(self.scores):,} examples",
        }
        return found if self.detection is None else found | self.detection.facts()

    @property
    def flagged(self) -> Tensor:
        """Which examples are called anomalies."""
        return self.scores > self.threshold

    def rows(self) -> list[list[object]]:
        """Number from 0, score, 1 for an anomaly, and the label where there is one."""
        rows: list[list[object]] = [
            [i, float(f"{s:.7g}"), int(f)]
            for i, (s, f) in enumerate(zip(self.scores.tolist(), self.flagged, strict=True))
        ]
        if self.labels is None:
            return rows
        return [[*row, label] for row, label in zip(rows, self.labels, strict=True)]


def kinds(model: object) -> list[Kind]:
    """The scores that a model can give, the most telling first."""
    found: list[Kind] = []
    if isinstance(model, Density | Bound | Estimate):
        found.append("likelihood")
    if isinstance(model, Energy | EnergyBound):
        found.append("energy")
    if isinstance(model, Latent):
        # where codes come back exactly there is no error to tell by
        found += ["latent"] if isinstance(model, Density) else ["reconstruction", "latent"]
    return found


class Scorer:
    """Scores examples by one kind of score.

    Args:
        model: of normal examples.
        spec: what the examples are.
        normal: normal examples, whose codes the `latent` score measures from.
        kind: of the score; None for the first of `kinds`.
        seed: of random draws.
        given: which elements of examples count, as a mask; a draw from N(0, 1) that stands for a
            missing number does not. By default all.
        stop: polled between batches.

    Raises:
        UserError: the model gives no such score.
    """

    def __init__(
        self,
        model: object,
        spec: DataSpec,
        normal: Data,
        kind: Kind | None = None,
        *,
        seed: int = 0,
        given: Callable[[Data], Tensor] | None = None,
        stop: Stop | None = None,
    ) -> None:
        known = kinds(model)
        if not known or (kind is not None and kind not in known):
            can = f"of {', '.join(known)}" if known else "at all"
            raise UserError(
                f"this model gives no anomaly score {can if kind is None else repr(kind)}; "
                + (f"choose {' or '.join(known)}." if known else "train one that knows log p(x).")
            )
        self.model, self.spec, self.seed, self.stop = model, spec, seed, stop
        self.kind: Kind = kind or known[0]
        self.given = given or (lambda x: torch.ones_like(x, dtype=torch.bool))
        if self.kind == "latent":  # distances in units of small variances carry rounding far
            self.model = copy.deepcopy(model).double() if isinstance(model, nn.Module) else model
        self._score = self._scores(normal)

    def __call__(self, x: Data, *, batch: int = 100) -> Tensor:
        """The score of each example, float64 `(n,)`."""
        statement = Statement(self._score, "estimate")
        return per_example(self.model, statement, x, None, (batch, self.seed, self.stop))

    def _scores(self, normal: Data) -> Callable[..., PerExample]:
        if self.kind == "likelihood":
            return self._surprise()
        if self.kind == "energy":
            known = isinstance(self.model, Energy)
            energy = self.model.energy if known else self.model.energy_bound  # type: ignore[attr-defined]
            return self._without_gaps(energy)
        return self._reconstruction if self.kind == "reconstruction" else self._latent(normal)

    def _surprise(self) -> Callable[..., PerExample]:
        said = state(self.model, _IMPORTANCE_SAMPLES, self.seed)
        assert said is not None

        def score(x: Data, cond: Cond | None = None) -> PerExample:
            return -call(said.log_prob, x, cond=cond, **said.options)

        return self._without_gaps(score)

    def _without_gaps(self, score: Callable[..., PerExample]) -> Callable[..., PerExample]:
        """A score of log p(x) without the share of what stands for gaps: log N(u; 0, 1)."""

        def rest(x: Data, cond: Cond | None = None) -> PerExample:
            drawn = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)
            return call(score, x, cond=cond) + sum_event(drawn.masked_fill(self.given(x), 0.0))

        return rest

    def _reconstruction(self, x: Data, cond: Cond | None = None) -> PerExample:
        back = call(self.model.decode, self._codes(x), cond=None)  # type: ignore[attr-defined]
        back = torch.where(self.given(x), back, x)  # what stands for a gap need not come back
        return sum_event((relax(back, self.spec) - relax(x, self.spec)) ** 2)

    def _codes(self, x: Data) -> Tensor:
        return call(self.model.encode, x, cond=None)  # type: ignore[attr-defined]

    def _latent(self, normal: Data) -> Callable[..., PerExample]:
        statement = Statement(lambda x: self._codes(x).flatten(1), "estimate")
        z = per_example(self.model, statement, normal, None, (100, self.seed, self.stop))
        mean, covariance = z.mean(0), torch.atleast_2d(z.T.cov())
        ridge = 1e-6 * covariance.diagonal().mean().clamp(min=1e-12)
        root = torch.linalg.cholesky(covariance + ridge * torch.eye(len(mean), dtype=z.dtype))

        def score(x: Data, cond: Cond | None = None) -> PerExample:
            away = (self._codes(x).flatten(1).double().cpu() - mean).T
            return torch.linalg.solve_triangular(root, away, upper=False).square().sum(0)

        return score


def threshold(normal_scores: Tensor, quantile: float) -> float:
    """The score that a share `quantile` of normal examples stays below.

    >>> threshold(torch.arange(101.0), 0.95)
    95.0
    """
    return float(np.quantile(normal_scores.numpy(), quantile))


def detection(scores: Tensor, anomalous: Tensor) -> Detection | None:
    """How well scores tell; None where all examples are of one kind.

    Args:
        scores: `(n,)`.
        anomalous: bool, `(n,)`.
    """
    if len(anomalous.unique()) < 2:
        return None
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, values = anomalous.numpy(), scores.numpy()
    return Detection(
        auroc=float(roc_auc_score(truth, values)),
        average_precision=float(average_precision_score(truth, values)),
        anomalies=int(anomalous.sum()),
        examples=len(anomalous),
    )
