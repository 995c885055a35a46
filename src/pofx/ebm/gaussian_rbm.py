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

from pofx.ebm.contrastive_divergence import ContrastiveDivergence, PersistentContrastiveDivergence
from pofx.ebm.harmonium import harmonium
from pofx.ebm.units import Normals
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec, Real


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: int = 16,
    persistent: bool = True,
    k: int = 5,
    weight_decay: float = 0.0,
    sweeps: int = 500,
    temperatures: int = 10_000,
    chains: int = 100,
    lr: float = 5e-3,
    batch_size: int = 100,
    steps: int = 10_000,
) -> Recipe:
    """An RBM over real numbers, with exact log Z for few hidden units.

    Args:
        hidden: number of hidden units; up to 16 of them the likelihood is exact.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases.
        sweeps: Gibbs sweeps to a sample.
        temperatures: of annealed importance sampling, which estimates log Z.
        chains: of annealed importance sampling.
        lr: learning rate of Adam, falling linearly to 0.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps.
    """
    if not all(isinstance(s, Real) for s in spec.columns):
        raise RecipeError(
            "gaussian-rbm: its visible units are real numbers without a bound, and this data is "
            "not; rbm takes bits and categories, and realnvp, vae or gmm take anything."
        )
    check_at_least("gaussian-rbm", 1, hidden=hidden, k=k, sweeps=sweeps)
    check_at_least("gaussian-rbm", 2, temperatures=temperatures, chains=chains)
    check_at_least("gaussian-rbm", 0, weight_decay=weight_decay)
    units = Normals(spec.shape)
    model = harmonium(units, hidden, sweeps=sweeps, temperatures=temperatures, chains=chains)
    return Recipe(
        model=model,
        objective=PersistentContrastiveDivergence(model, batch_size, k, weight_decay)
        if persistent
        else ContrastiveDivergence(model, k, weight_decay),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="linear",
    )
