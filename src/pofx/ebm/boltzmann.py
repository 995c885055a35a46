r"""boltzmann: A learning algorithm for Boltzmann machines (Ackley et al., 1985).

Good for: small sets of bits whose couplings are of interest.

Binary units s, some of them visible and the others hidden, any two of which may be joined:

.. math:: E(s) = -b^T s - \tfrac12 s^T J s, \qquad s = (v, h)

The likelihood's gradient for a weight is a difference of two moments, of the machine with its
visible units held at the data, and of the machine running free:

.. math:: \frac{\partial}{\partial J_{ij}} \mathbb{E}_{data} \log p(v)
    = \langle s_i s_j \rangle_{held} - \langle s_i s_j \rangle_{free}

Free, persistent chains run by Gibbs sampling. Held, a sum over the hidden states serves where they
are few, and elsewhere a mean field.

References:
    A learning algorithm for Boltzmann machines (Ackley et al., 1985), eq. 7.
    https://www.cs.toronto.edu/~hinton/absps/cogscibm.pdf
    Deep Boltzmann machines (Salakhutdinov and Hinton, 2009), algorithm 1: a mean field held,
    persistent chains free. https://proceedings.mlr.press/v5/salakhutdinov09a.html
"""

from __future__ import annotations

from pofx.ebm.boltzmann_machine import boltzmann_machine
from pofx.ebm.contrastive_divergence import StochasticMaximumLikelihood
from pofx.nn.defaults import few, sgd_decay
from pofx.parameters import (
    Chains,
    Count,
    GibbsSteps,
    GradientDescent,
    Sweeps,
    Temperatures,
    Whole,
    follows,
)
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import Binary, DataSpec


def recipe(
    spec: DataSpec,
    *,
    hidden: Whole = 8,
    k: GibbsSteps = 1,
    sweeps: Sweeps = 500,
    mean_field: Count = 10,
    temperatures: Temperatures = 1000,
    chains: Chains = 100,
    training: GradientDescent = GradientDescent(
        lr=follows(
            "0.05, or 0.02 below 1,000 examples", lambda spec: 0.02 if few(spec.count) else 0.05
        ),
        batch_size=100,
        steps=10_000,
        weight_decay=follows(
            "0, or 16,000 over the squared number of fewer than 1,000 examples",
            lambda spec, lr: sgd_decay(16_000, spec.count, lr),
        ),
    ),
) -> Recipe:
    """A Boltzmann machine over bits, with exact log Z up to 16 units.

    Args:
        hidden: number of hidden units; 0 for a machine that is all visible, and up to 10 of them
            are summed over.
        mean_field: sweeps to the mean field of more than 10 hidden units.
    """
    if not isinstance(spec.support, Binary):
        raise RecipeError(
            f"elements must be 0 or 1 (got {type(spec.support).__name__}): --binarize threshold "
            "makes bits of pixels, rbm takes categories too, and realnvp, vae or gmm anything."
        )
    model = boltzmann_machine(
        spec.shape, hidden, sweeps=sweeps, mean_field=mean_field, temperatures=temperatures,
        chains=chains,
    )  # fmt: skip
    objective = StochasticMaximumLikelihood(model, training.batch_size, k, training.weight_decay)
    return trained(model, objective, training)
