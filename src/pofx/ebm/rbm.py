r"""rbm: Training products of experts by minimizing contrastive divergence (Hinton, 2002).

Good for: binary features of bits and categories, with any part of an example given.

Visible units v and binary hidden units h, joined by weights but not among themselves:

.. math:: E(v, h) = -b^T v - c^T h - h^T W v, \qquad
    F(v) = -\log \sum_h e^{-E(v, h)} = -b^T v - \sum_j \log(1 + e^{c_j + W_j v})

References:
    Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986).
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 5: CD-k,
    `--no-persistent`. https://www.cs.toronto.edu/~hinton/absps/nccd.pdf
    Training restricted Boltzmann machines using approximations to the likelihood gradient
    (Tieleman, 2008), section 3: persistent CD. https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf
    Restricted Boltzmann machines for collaborative filtering (Salakhutdinov et al., 2007), eq. 1:
    a category is a group of visible units, of which one is on.
    A practical guide to training restricted Boltzmann machines (Hinton, 2012), section 8: how
    weights and biases start.

Note:
    Visible and hidden units are bits, which eight bits hold exactly: `--precision bfloat16` rounds
    weights alone, takes 0.7 of the time where the processor has it, and on MNIST reaches the same
    likelihood (`benchmarks/mnist.py rbm --precision bfloat16`).
"""

from __future__ import annotations

from pofx.ebm.contrastive_divergence import ContrastiveDivergence, PersistentContrastiveDivergence
from pofx.ebm.harmonium import harmonium
from pofx.ebm.units import discrete_units
from pofx.nn.defaults import sgd_decay
from pofx.recipe import SGD, Recipe, check_at_least
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: int = 128,
    persistent: bool = True,
    k: int = 1,
    weight_decay: float | None = None,
    sweeps: int = 500,
    temperatures: int = 10_000,
    chains: int = 100,
    lr: float = 0.05,
    batch_size: int = 100,
    steps: int = 10_000,
) -> Recipe:
    """An RBM over bits and categories, with exact log Z while one side is small.

    Args:
        hidden: number of hidden units; up to 16 of them the likelihood is exact.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases; by default 4,000 over the square of
            the number of examples where those are fewer than 1,000, else 0.
        sweeps: Gibbs sweeps to a sample.
        temperatures: of annealed importance sampling, which estimates log Z.
        chains: of annealed importance sampling.
        lr: learning rate of gradient descent, falling linearly to 0.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps.
    """
    check_at_least("rbm", 1, hidden=hidden, k=k, sweeps=sweeps)
    check_at_least("rbm", 2, temperatures=temperatures, chains=chains)
    check_at_least("rbm", 0, weight_decay=weight_decay)
    if weight_decay is None:
        weight_decay = sgd_decay(4_000, spec.count, lr)
    model = harmonium(
        discrete_units("rbm", spec), hidden, sweeps=sweeps, temperatures=temperatures, chains=chains
    )
    return Recipe(
        model=model,
        objective=PersistentContrastiveDivergence(model, batch_size, k, weight_decay)
        if persistent
        else ContrastiveDivergence(model, k, weight_decay),
        optimizers={"model": SGD(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="linear",
    )
