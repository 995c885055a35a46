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

from pofx.flow.actnorm import ActNorm
from pofx.flow.bijection import Bijection, Chain
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.flow.residual import Contraction, Residual
from pofx.nn.defaults import batch_of, decay_of
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    layers: int = 8,
    hidden: tuple[int, ...] = (64, 64),
    lipschitz: float = 0.97,
    exact: int = 8,
    conditional: bool = False,
    lr: float = 2e-2,
    batch_size: int | None = None,
    steps: int = 5_000,
) -> Recipe:
    """A residual flow.

    Args:
        spec: what the data is.
        layers: contractions.
        hidden: widths of the hidden layers of each contraction.
        lipschitz: the largest Lipschitz constant of a contraction, below 1.
        exact: up to so many elements the determinant, and so the density, is exact.
        conditional: condition every contraction on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 256, or all of fewer than 1,000 where any
            column is of bits or categories.
        steps: optimizer steps.
    """
    batch_size = batch_of(256, spec) if batch_size is None else batch_size
    check_arguments("residual-flow", spec, conditional, layers=layers)
    if not 0 < lipschitz < 1:
        raise RecipeError(f"residual-flow: --lipschitz lies between 0 and 1, and {lipschitz} came.")
    classes, few = spec.classes if conditional else 0, spec.size <= exact
    parts: list[Bijection] = []
    for _ in range(layers):
        contraction = Contraction(spec.size, hidden, lipschitz, classes)
        parts += [ActNorm(spec.size), Residual(contraction, exact=few)]
    chain = Chain([*parts, ActNorm(spec.size)])
    model = vector_flow(chain, spec, conditional=conditional, exact=few)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, weight_decay=decay_of(spec, lr))},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm, as in realnvp
    )
