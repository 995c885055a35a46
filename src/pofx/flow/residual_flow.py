r"""residual_flow: Residual flows for invertible generative modeling (Chen et al., 2019).

Good for: densities by unrestricted networks; slow to train and to sample.

Layers that add a contraction, between layers that scale and shift each element:

.. math:: z = x + g(x), \quad \mathrm{Lip}(g) < 1, \qquad
    \log|\det| = \sum_{k=1}^\infty \frac{(-1)^{k+1}}{k} \mathrm{tr} J_g^k

Up to `exact` elements the determinant is computed. Above, the series is estimated without bias, and
so is the log-likelihood.

References:
    Residual flows for invertible generative modeling (Chen et al., 2019), eq. 2-6, sections 3.1 and
    3.3.
    https://arxiv.org/abs/1906.02735

Note:
    Gradients go through the terms of the series, where the paper saves memory by a series of their
    own. Singular values are computed, where the paper iterates. Networks are fully connected; an
    image is served as a vector.
"""

from __future__ import annotations

from typing import Annotated

from pofx.flow.actnorm import ActNorm
from pofx.flow.bijection import Bijection, Chain
from pofx.flow.flow import BATCH, DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.flow.residual import Contraction, Residual
from pofx.parameters import Conditional, Count, Exact, Hidden, Training, between
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 8,
    hidden: Hidden = (64, 64),
    lipschitz: Annotated[float, between(0, 1, without="()")] = 0.97,
    exact: Exact = 8,
    conditional: Conditional = False,
    training: Training = Training(
        lr=2e-2,
        batch_size=BATCH,
        steps=5_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A residual flow.

    Args:
        layers: contractions.
        lipschitz: the largest Lipschitz constant of a contraction, below 1.
    """
    check_elements(spec, hidden)
    few = spec.size <= exact
    parts: list[Bijection] = []
    for _ in range(layers):
        contraction = Contraction(spec.size, hidden, lipschitz, spec.cond)
        parts += [ActNorm(spec.size), Residual(contraction, exact=few)]
    chain = Chain([*parts, ActNorm(spec.size)])
    model = vector_flow(chain, spec, exact=few)
    return trained(model, MaximumLikelihood(model), training)
