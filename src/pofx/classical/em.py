r"""em: a mixture of normal distributions, fitted by expectation and maximisation.

Every turn finds how much of each example each component is responsible for, r, and then the
weights, means and covariances that are likeliest under that:

.. math:: r_{ik} \propto w_k \exp \mathbb{E} \log \mathcal{N}(u_i; \mu_k, \Sigma_k), \quad
    n_k = \sum_i r_{ik}, \quad \mu_k = \frac{1}{n_k} \sum_i r_{ik} \mathbb{E} u_i

.. math:: \Sigma_k = \frac{n_k S_k + \nu W}{n_k + \nu}, \quad
    S_k = \frac{1}{n_k} \sum_i r_{ik} \mathbb{E} (u_i - \mu_k) (u_i - \mu_k)^\top

The means E are over the noise of dequantisation, see `pofx.classical.yardstick`. A prior, worth nu
examples, draws each covariance to W, the mean covariance within the first clusters; so a component
with few examples stays sound. What rises is the mean log-likelihood, bounded over the noise where
there is any, with the log-density of the prior.

References:
    Maximum likelihood from incomplete data via the EM algorithm (Dempster et al., 1977), section
    4.3. https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    Bayesian regularization for normal mixture estimation and model-based clustering (Fraley and
    Raftery, 2007), section 3, for the prior. https://doi.org/10.1007/s00357-007-0004-5
    k-means++: the advantages of careful seeding (Arthur and Vassilvitskii, 2007), section 2.2, and
    the choice among several candidates of section 7. https://dl.acm.org/doi/10.5555/1283383.1283494

Note:
    Among covariances without an eigenvalue below a floor, the likeliest is the above with its lower
    eigenvalues raised to the floor. So what rises does not fall for the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pofx.classical.yardstick import blocks
from pofx.distributions.mixture import log_dets, log_normals, precisions

FLOOR = 1e-6
"""The least eigenvalue of a covariance of standardised examples."""


class Mixture(NamedTuple):
    """Weights, means and roots of covariances, as in `pofx.distributions.mixture`."""

    weights: Tensor
    means: Tensor
    roots: Tensor


class Sums(NamedTuple):
    """What maximisation needs to know of the examples.

    Args:
        log_prob: of all of them, nats.
        counts: responsibilities, `(classes, K)`.
        first: examples, weighed by responsibilities, `(K, d)`.
        second: their squares and products likewise, `(K, d, d)` or `(K, d)`.
    """

    log_prob: Tensor
    counts: Tensor
    first: Tensor
    second: Tensor


Respond = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Log-likelihood `(n,)` and responsibilities `(n, K)` of examples, noise on them, and classes."""


@dataclass(frozen=True)
class EM:
    """Iterates over mixtures, each with what rises: the mean log-likelihood, nats per example, and
    its share of the prior's log-density.

    Args:
        u: standardised examples, `(n, d)`.
        noise: the variance of the noise on each number, `(n, d)`.
        cond: the class of each example, `(n,)`; every class has components of its own.
        components: of each class; at most as many as it has examples.
        full: whether covariances are full, or diagonal.
        prior: nu for each element that an element may vary with; 0 for maximum likelihood.
    """

    u: Tensor
    noise: Tensor
    cond: Tensor
    components: int
    full: bool
    prior: float

    def __iter__(self) -> Iterator[tuple[float, Mixture]]:
        mixture = self.start()
        within = mixture.roots[0]
        while True:
            sums = self.expect(self.responsibilities(mixture))
            prior = -0.5 * (precisions(mixture.roots, within).sum() + log_dets(mixture.roots).sum())
            yield float(sums.log_prob + self.nu * prior) / len(self.u), mixture
            mixture = self.maximize(sums, within)

    @property
    def nu(self) -> float:
        """How many examples the prior is worth."""
        return self.prior * (self.u.shape[1] if self.full else 1)

    def responsibilities(self, mixture: Mixture) -> Respond:
        """How much of each example each component of a mixture is responsible for."""
        cost, log_weights = 0.5 * precisions(mixture.roots).T, mixture.weights.log()

        def respond(u: Tensor, noise: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
            log_normal = log_normals(u, mixture.means, mixture.roots) - noise @ cost
            joint = log_weights[cond] + log_normal
            log_prob = joint.logsumexp(1)
            return log_prob, (joint - log_prob[:, None]).exp()

        return respond

    def expect(self, respond: Respond) -> Sums:
        """The sums over all examples, in blocks of bounded memory."""
        classes, d = int(self.cond.max()) + 1, self.u.shape[1]
        k = classes * self.components
        shapes = ((), (classes, k), (k, d), (k, d, d) if self.full else (k, d))
        sums = Sums(*(torch.zeros(s, dtype=torch.float64, device=self.u.device) for s in shapes))
        for rows in blocks(len(self.u), k * d if self.full else k + d):
            u, noise, cond = self.u[rows].double(), self.noise[rows].double(), self.cond[rows]
            log_prob, r = respond(u, noise, cond)
            sums.log_prob.add_(log_prob.sum())
            sums.counts.index_add_(0, cond, r)
            sums.first.addmm_(r.T, u)
            if self.full:
                sums.second.add_((u.T * r.T[:, None]) @ u + (r.T @ noise).diag_embed())
            else:
                sums.second.add_(r.T @ (u.square() + noise))
        return sums

    def maximize(self, sums: Sums, within: Tensor) -> Mixture:
        """The likeliest mixture under the responsibilities, where `within` is the root of W."""
        weights, n, means = _weights(sums)
        towards = within @ within.T if self.full else within.square()
        n = n.reshape(-1, *(1,) * towards.ndim)
        covariances = (n * self._covariances(sums) + self.nu * towards) / (n + self.nu)
        return Mixture(weights, means, self._roots(covariances))

    def _covariances(self, sums: Sums) -> Tensor:
        _, n, means = _weights(sums)
        if not self.full:
            return sums.second / n[:, None] - means.square()
        outer = means[:, :, None] * means[:, None]
        return sums.second / n[:, None, None] - outer

    def _roots(self, covariances: Tensor) -> Tensor:
        """Standard deviations, or lower triangles, with no eigenvalue below the floor."""
        if not self.full:
            return covariances.clamp(min=FLOOR).sqrt()
        values, vectors = torch.linalg.eigh(covariances)
        raised = (vectors * values.clamp(min=FLOOR)[:, None]) @ vectors.mT
        return torch.linalg.cholesky(raised)

    def start(self) -> Mixture:
        """Clusters around far-apart examples, all with the mean covariance within them, W.

        W is itself drawn to its diagonal, by a prior worth nu examples; a column that does not vary
        within clusters is given the variance of all, or its unit.
        """
        classes = int(self.cond.max()) + 1
        parts = [self.u if classes == 1 else self.u[self.cond == c] for c in range(classes)]
        centres = torch.cat([seeds(u, self.components) for u in parts]).double()
        owner = torch.arange(len(centres), device=self.u.device) // self.components

        def nearest(u: Tensor, noise: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
            others = cond[:, None] != owner
            index = squared_distances(u, centres).masked_fill(others, math.inf).argmin(1)
            return u.new_zeros(len(u)), one_hot(index, len(centres)).to(u)

        sums = self.expect(nearest)
        weights, n, means = _weights(sums)
        within = torch.tensordot(n / n.sum(), self._covariances(sums), 1)
        alone = within.diag() if self.full else within
        alone = torch.where(alone > FLOOR, alone, 1.0)
        share = self.nu / (n.sum() + self.nu)
        within = within.lerp(alone.diag(), share) if self.full else alone
        return Mixture(weights, means, self._roots(within.expand(len(means), *within.shape)))


def _weights(sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, examples of each component, and means."""
    n = sums.counts.sum(0).clamp(min=1e-300)  # a component may have lost its last example
    return sums.counts / sums.counts.sum(1, keepdim=True), n, sums.first / n[:, None]


def seeds(u: Tensor, k: int) -> Tensor:
    """Examples, k of them, that lie far apart: each is the best of a few, drawn in proportion to
    the squared distance from those before it.
    """
    chosen = [u[torch.randint(len(u), (1,))]]
    nearest = squared_distances(u, chosen[0].double())
    for _ in range(k - 1):
        candidates = _in_proportion(nearest[:, 0], 2 + int(math.log(k)))
        squares = torch.minimum(nearest, squared_distances(u, u[candidates].double()))
        best = int(squares.sum(0).argmin())
        nearest = squares[:, best : best + 1]
        chosen.append(u[candidates[best : best + 1]])
    return torch.cat(chosen)


def _in_proportion(weights: Tensor, n: int) -> Tensor:
    """Numbers of rows, n of them, drawn by their weights; `multinomial` has a limit of rows."""
    cdf = weights.cumsum(0)
    draws = torch.rand(n, dtype=cdf.dtype, device=cdf.device) * cdf[-1]
    return torch.searchsorted(cdf, draws).clamp(max=len(cdf) - 1)


def squared_distances(u: Tensor, v: Tensor) -> Tensor:
    """Between all pairs of rows, in v's type: `(n, d), (k, d) -> (n, k)`.

    >>> squared_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[25.,  0.]])
    """
    parts = []
    for rows in blocks(len(u), u.shape[1] + len(v)):
        w = u[rows].to(v)
        parts.append(w.square().sum(1)[:, None] + v.square().sum(1) - 2 * w @ v.T)
    return torch.cat(parts).clamp(min=0)
