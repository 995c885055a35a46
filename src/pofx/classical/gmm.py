r"""gmm: Maximum likelihood from incomplete data via the EM algorithm (Dempster et al., 1977).

Good for: a first model of anything, and anomalies: fitted in seconds.

A mixture of normal distributions,

.. math:: p(x) = \sum_k w_k \, \mathcal{N}(x; \mu_k, \Sigma_k)

fitted by turns: how much of each example each component is responsible for, and the weights, means
and covariances that are likeliest under that. Likelihood, with the prior's, never falls.

References:
    Maximum likelihood from incomplete data via the EM algorithm (Dempster et al., 1977), section
    4.3. https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    k-means++: the advantages of careful seeding (Arthur and Vassilvitskii, 2007), section 2.2, for
    the first means. https://dl.acm.org/doi/10.5555/1283383.1283494

Note:
    Bits and categories of at most 256 levels have no normal distributions but frequencies, and an
    exact mass; see `pofx.classical.latent_classes`. All else that is discrete is spread over cells.
    Columns are standardised first; one that never varies counts in its own units. No eigenvalue of
    a standardised covariance is below 1e-6, or a component that shrinks onto one example would have
    an unbounded density. By default a prior keeps covariances well above that; see
    `pofx.classical.em`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch

from pofx.classical.conditional_normals import given_vector
from pofx.classical.em import EM
from pofx.classical.latent_classes import LatentClasses
from pofx.classical.levels import counted
from pofx.classical.normals import Normals
from pofx.classical.yardstick import BLOCK_BYTES, Dequantized, Exact, moments, scales
from pofx.parameters import Conditional, Count, NonNegative
from pofx.recipe import Recipe
from pofx.spec import DataSpec
from pofx.typing import Cond, Data

_TOLERANCE = 1e-5
"""The least gain of a turn, nats per element."""


_FULL = 256
"""Elements up to which covariances are full."""


class _Gaussians(Normals):
    def __init__(
        self,
        spec: DataSpec,
        components: int,
        *,
        full: bool = True,
        prior: float = 0.5,
        conditional: bool = False,
        iterations: int = 200,
    ) -> None:
        classes = spec.classes if conditional else 1
        super().__init__(spec, classes * components, full=full, conditional=conditional)
        self.components, self.iterations = components, iterations
        self.full, self.prior = full, prior

    def fit(self, x: Data, cond: Cond | None = None) -> None:
        before = -math.inf
        for iteration, log_prob in enumerate(self.em(x, cond), 1):
            if log_prob - before < _TOLERANCE * self.spec.size or iteration >= self.iterations:
                return
            before = log_prob

    def own_bytes(self, n: int) -> int:
        """Sums, covariances and their roots, before a turn and after it; some blocks."""
        return 8 * self.roots.nbytes + 8 * 8 * n + 4 * BLOCK_BYTES

    @torch.no_grad()
    def em(self, x: Data, cond: Cond | None = None) -> Iterator[float]:
        """Fits by turns, without end: yields the mean log-density of the examples, with the prior's
        share, under the mixture that the model then holds; nats.
        """
        k = self.components
        label = self.grouped(x, cond, k, f"gmm: --components {k}", "lower it, or bring more")
        self.observe(x)
        y, noise = self.spread(x)
        mean, variance = moments(y)
        scale = scales(mean, variance + moments(noise)[0])
        mean, scale = mean.to(y), scale.to(y)  # rounded now, so that they are undone exactly
        log_scale = float(scale.double().log().sum())
        y.sub_(mean).div_(scale)  # in place: these are as large as all the data
        noise.div_(scale**2)
        for log_prob, mixture in EM(y, noise, label, k, self.full, self.prior):
            self.weights.copy_(mixture.weights)
            self.means.copy_(mean + scale * mixture.means)
            self.roots.copy_(mixture.roots * (scale[:, None] if self.full else scale))
            yield log_prob - log_scale


class GMM(_Gaussians, Exact):
    """Exact density of continuous examples.

    Args:
        spec: of the examples.
        components: K; of each class, where conditional.
        full: whether covariances are full, or diagonal.
        prior: what the prior on covariances is worth, in examples for each element; 0 for maximum
            likelihood.
        conditional: whether every class has a mixture of its own.
        iterations: at most so many turns of EM.

    >>> model = GMM(DataSpec((1,)), 2)
    >>> model.fit(torch.tensor([[0.0], [0.1], [9.0], [9.1]]))
    >>> model.means.flatten().sort().values
    tensor([0.0500, 9.0500], dtype=torch.float64)
    """


class DequantizedGMM(_Gaussians, Dequantized):
    """Bound of the mass of discrete examples; arguments as for `GMM`."""


def recipe(
    spec: DataSpec,
    *,
    components: Count = 10,
    covariance: Literal["full", "diagonal"] | None = None,
    prior: NonNegative | None = None,
    conditional: Conditional = False,
    iterations: Count = 200,
) -> Recipe:
    """A mixture of Gaussians, or of products of frequencies, fitted by EM.

    Args:
        components: parts of the mixture; of each class, with `--conditional`.
        covariance: of each component; by default full up to 256 elements, diagonal beyond. Bits and
            categories of at most 256 levels have frequencies instead, unless it is given.
        prior: pull of each covariance to the mean of all, in examples for each element, by default
            0.5; 0 for maximum likelihood, which data with repeated values drives to its floor. Of
            frequencies, the same in examples, by default 1, or, below 1,000 examples, that under
            which some are likeliest given the others.
        conditional: fit a mixture to each class; given a vector, one to both, in closed form.
        iterations: at most so many turns of EM; it stops when a turn gains less than 1e-5 nats for
            each element.
    """
    of_vector = conditional and not spec.classes

    def mixture(spec: DataSpec) -> GMM | DequantizedGMM:
        kind = DequantizedGMM if any(c.discrete for c in spec.columns) else GMM
        return kind(
            spec,
            components,
            full=covariance == "full" or (covariance is None and spec.size <= _FULL),
            prior=0.5 if prior is None else prior,
            conditional=conditional and not of_vector,
            iterations=iterations,
        )

    if of_vector:
        return Recipe(model=given_vector(spec, mixture))
    if counted(spec) and covariance is None:
        return Recipe(
            model=LatentClasses(
                spec, components, prior=prior, conditional=conditional, iterations=iterations
            )
        )
    return Recipe(model=mixture(spec))
