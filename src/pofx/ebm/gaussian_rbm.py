r"""gaussian-rbm: Improved learning of Gaussian-Bernoulli restricted Boltzmann machines (Cho et al., 2011).

Good for: binary features of real numbers.

Real visible units v with learned standard deviations, binary hidden units h:

.. math:: E(v, h) = \sum_i \frac{(v_i - \mu_i)^2}{2 \sigma_i^2} - c^T h
    - \sum_{ij} h_j W_{ji} \frac{v_i}{\sigma_i^2}

so that :math:`v_i | h \sim \mathcal{N}(\mu_i + h^T W_i, \sigma_i^2)`, and p(v) is a mixture of one
normal for each state of the hidden units, whose means are sums of rows of W. With few hidden units
that mixture is written out, and the likelihood is exact.

References:
    Improved learning of Gaussian-Bernoulli restricted Boltzmann machines (Cho et al., 2011), eq. 2
    to 6. https://users.ics.aalto.fi/praiko/papers/icann11.pdf
    Gaussian-Bernoulli RBMs without tears (Liao et al., 2022), eq. 1. https://arxiv.org/abs/2210.10318

Note:
    The parameters move by Adam, which steps alike in :math:`\log \sigma` and in weights; Cho et al.
    adapt the learning rate of plain gradient descent instead.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from dataclasses import replace

from pofx.ebm.contrastive_divergence import contrast
from pofx.ebm.harmonium import harmonium
from pofx.ebm.units import Normals
from pofx.parameters import Chains, Count, GibbsSteps, Sweeps, Temperatures, Training
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec, Real


def recipe(
    spec: DataSpec,
    *,
    hidden: Count = 16,
    persistent: bool = True,
    k: GibbsSteps = 5,
    sweeps: Sweeps = 500,
    temperatures: Temperatures = 10_000,
    chains: Chains = 100,
    training: Training = Training(lr=5e-3, batch_size=100, steps=10_000, decay="linear"),
) -> Recipe:
    """An RBM over real numbers, with exact log Z for few hidden units.

    Args:
        hidden: number of hidden units; up to 16 of them the likelihood is exact.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
    """
    if not all(isinstance(s, Real) for s in spec.columns):
        raise RecipeError(
            "elements must be real numbers without a bound (got "
            f"{type(spec.support).__name__}): rbm takes bits and categories, and realnvp, vae or "
            "gmm take anything."
        )
    units = Normals(spec.shape)
    model = harmonium(units, hidden, sweeps=sweeps, temperatures=temperatures, chains=chains)
    objective = contrast(model, training, k, persistent=persistent)
    return trained(model, objective, replace(training, weight_decay=0.0))
