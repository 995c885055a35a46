r"""latent_classes: a mixture of products of frequencies, fitted by expectation and maximisation.

.. math:: p(x) = \sum_k w_k \prod_j \theta_{kj}(x_j)

Every turn finds how much of each example each component is responsible for, r, and then

.. math:: n_k = \sum_i r_{ik}, \quad
    \theta_{kj}(l) = \frac{\sum_i r_{ik} 1[x_{ij} = l] + a m_j(l)}{n_k + a}

A Dirichlet prior, worth a examples, draws each component to the frequencies m of all, so that one
with few examples learns none of them by heart: the more it is worth, the nearer are independent
elements. What rises is the mean log-likelihood with the log-density of the prior.

References:
    Exploratory latent structure analysis using both identifiable and unidentifiable models
    (Goodman, 1974), eq. 1-10. https://doi.org/10.1093/biomet/61.2.215
    Maximum likelihood from incomplete data via the EM algorithm (Dempster et al., 1977), section
    4.3. https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.classical.em import seeds
from pofx.classical.levels import Levels, codes
from pofx.classical.yardstick import blocks
from pofx.distributions.mixture import class_weights, pick
from pofx.nn.defaults import few
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_TOLERANCE = 1e-5
"""The least gain of a turn, nats per element."""
_LEAST = 1e-9
_PRIORS = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Among which is chosen where examples are few."""
_USUAL = 1.0
_SEEDS = 1 << 24
"""Numbers of the examples among which the first components are looked for."""


class LatentClasses(Levels):
    """Exact mass of bits and categories.

    Args:
        spec: of the examples.
        components: of each class, where conditional.
        prior: a, in examples; 0 for maximum likelihood. By default 1, or, of few examples, that
            under which a fifth of them are likeliest given the others.
        conditional: whether every class has a mixture of its own.
        iterations: at most so many turns of EM.

    >>> from pofx.spec import Binary
    >>> model = LatentClasses(DataSpec((2,), Binary(), count=4), 2, prior=0.0)
    >>> model.fit(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    >>> model.log_prob(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).exp()
    tensor([0.5000, 0.5000])
    """

    weights: Tensor
    p: Tensor

    def __init__(
        self,
        spec: DataSpec,
        components: int,
        *,
        prior: float | None = None,
        conditional: bool = False,
        iterations: int = 200,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        classes = spec.classes if conditional else 1
        self.components, self.prior, self.iterations = components, prior, iterations
        self.register_buffer("weights", _evenly(classes, components))
        even = self.frequencies(torch.zeros(self.columns, dtype=torch.float64))
        self.register_buffer("p", even.repeat(classes * components, 1))

    def own_bytes(self, n: int) -> int:
        return 6 * self.p.nbytes + 8 * 4 * _SEEDS

    def log_mass(self, k: Tensor, cond: Cond | None) -> PerExample:
        return self._joint(k, class_weights(self.weights, cond, self.conditional)).logsumexp(1)

    def drawn(self, label: Tensor) -> Tensor:
        return self.levels_drawn(self.p[pick(self.weights, label)])

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        k = self.components
        label = self.grouped(x, cond, k, f"gmm: --components {k}", "lower it, or bring more")
        prior = self._suitable(codes(x), label) if self.prior is None else self.prior
        self._climb(codes(x), label, prior)

    @torch.no_grad()
    def em(self, k: Tensor, label: Tensor, prior: float) -> Iterator[float]:
        """Fits by turns, without end: yields the mean log-likelihood of the examples, with the
        prior's share, under the mixture that the model then holds; nats.

        Args:
            k: levels of the examples, `(n, size)`.
            label: their classes.
            prior: a.
        """
        common = self.frequencies(self.counts(k))
        pull = prior * common
        self.weights.copy_(_evenly(len(self.weights), self.components))
        self.p.copy_(self._start(k, label, common))
        while True:
            log_prob, owned, counts = self._expect(k, label)
            yield (log_prob + float((self._log_p() @ pull).sum())) / len(k)
            n = owned.sum(0)[:, None]
            self.weights.copy_(owned / owned.sum(1, keepdim=True).clamp(min=1e-300))
            self.p.copy_(torch.where(n + prior > 0, (counts + pull) / (n + prior), common))

    def _climb(self, k: Tensor, label: Tensor, prior: float) -> None:
        before = -math.inf
        for turn, reached in enumerate(self.em(k, label, prior), 1):
            if reached - before < _TOLERANCE * self.spec.size or turn >= self.iterations:
                return
            before = reached

    def _suitable(self, k: Tensor, label: Tensor) -> float:
        """The prior under which some of few examples are likeliest given the others."""
        held = torch.arange(len(k), device=k.device) % 5 == 4
        held = held[torch.randperm(len(k), device=k.device)]
        rest = torch.bincount(label[~held], minlength=len(self.weights))
        if not few(len(k)) or rest.min() < self.components or not held.any():
            return _USUAL
        cond = label[held] if self.conditional else None

        def reached(prior: float) -> float:
            self._climb(k[~held], label[~held], prior)
            return float(self.log_mass(k[held], cond).mean())

        return max(_PRIORS, key=reached)

    def _start(self, k: Tensor, label: Tensor, common: Tensor) -> Tensor:
        """Examples that lie far apart in each class, drawn half of the way to the frequencies."""
        parts = []
        for c in range(len(self.weights)):
            mine = k[label == c]
            most = max(self.components, _SEEDS // self.columns)
            mine = mine[torch.randperm(len(mine), device=k.device)[:most]]
            parts.append(seeds(self.indicators(mine).float(), self.components).double())
        return torch.cat(parts).lerp(common.expand_as(self.p), 0.5)

    def _expect(self, k: Tensor, label: Tensor) -> tuple[float, Tensor, Tensor]:
        """The log-likelihood of all, responsibilities by class, and the levels that they weigh."""
        log_prob, owned, counts = 0.0, torch.zeros_like(self.weights), torch.zeros_like(self.p)
        for rows in blocks(len(k), self.columns):
            joint = self._joint(k[rows], self.weights[label[rows]])
            each = joint.logsumexp(1, keepdim=True)
            r = (joint - each).exp()
            log_prob += float(each.sum())
            owned.index_add_(0, label[rows], r)
            counts.addmm_(r.T, self.indicators(k[rows]))
        return log_prob, owned, counts

    def _joint(self, k: Tensor, weights: Tensor) -> Tensor:
        return weights.log() + self.indicators(k) @ self._log_p().T

    def _log_p(self) -> Tensor:
        """Of a level that a column has not, 0, which is met by nothing."""
        return self.p.clamp(min=_LEAST).log() * self.real


def _evenly(classes: int, components: int) -> Tensor:
    """The weights with which each class is divided evenly among its own components."""
    return torch.eye(classes, dtype=torch.float64).repeat_interleave(components, 1) / components
