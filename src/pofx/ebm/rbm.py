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

from pofx.ebm.contrastive_divergence import contrast
from pofx.ebm.harmonium import DECAY, harmonium
from pofx.ebm.units import discrete_units
from pofx.parameters import Chains, Count, GibbsSteps, GradientDescent, Sweeps, Temperatures
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    hidden: Count = 128,
    persistent: bool = True,
    k: GibbsSteps = 1,
    sweeps: Sweeps = 500,
    temperatures: Temperatures = 10_000,
    chains: Chains = 100,
    training: GradientDescent = GradientDescent(
        lr=0.05,
        batch_size=100,
        steps=10_000,
        weight_decay=DECAY,
    ),
) -> Recipe:
    """An RBM over bits and categories, with exact log Z while one side is small.

    Args:
        hidden: number of hidden units; up to 16 of them the likelihood is exact.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
    """
    model = harmonium(
        discrete_units(spec), hidden, sweeps=sweeps, temperatures=temperatures, chains=chains
    )
    objective = contrast(model, training, k, persistent=persistent)
    return trained(model, objective, training)
