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
from pofx.recipe import SGD, Recipe, RecipeError, check_at_least
from pofx.spec import Binary, DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: int = 8,
    k: int = 1,
    weight_decay: float | None = None,
    sweeps: int = 500,
    mean_field: int = 10,
    temperatures: int = 1000,
    chains: int = 100,
    lr: float | None = None,
    batch_size: int = 100,
    steps: int = 10_000,
) -> Recipe:
    """A Boltzmann machine over bits, with exact log Z up to 16 units.

    Args:
        hidden: number of hidden units; 0 for a machine that is all visible, and up to 10 of them
            are summed over.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases; by default 16,000 over the square of
            the number of examples where those are fewer than 1,000, else 0.
        sweeps: Gibbs sweeps to a sample.
        mean_field: sweeps to the mean field of more than 10 hidden units.
        temperatures: of annealed importance sampling, which estimates log Z.
        chains: of annealed importance sampling.
        lr: learning rate of gradient descent, falling linearly to 0; by default 0.05, or 0.02 where
            there are fewer than 1,000 examples.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps.
    """
    if not isinstance(spec.support, Binary):
        raise RecipeError(
            "boltzmann: its visible units are 0 or 1, and this data is not; --binarize threshold "
            "makes bits of pixels, rbm takes categories too, and realnvp, vae or gmm anything."
        )
    check_at_least("boltzmann", 1, k=k, sweeps=sweeps, mean_field=mean_field)
    check_at_least("boltzmann", 2, temperatures=temperatures, chains=chains)
    check_at_least("boltzmann", 0, weight_decay=weight_decay)
    if lr is None:
        lr = 0.02 if few(spec.count) else 0.05
    if weight_decay is None:
        weight_decay = sgd_decay(16_000, spec.count, lr)
    model = boltzmann_machine(
        spec.shape, hidden, sweeps=sweeps, mean_field=mean_field, temperatures=temperatures,
        chains=chains,
    )  # fmt: skip
    return Recipe(
        model=model,
        objective=StochasticMaximumLikelihood(model, batch_size, k, weight_decay),
        optimizers={"model": SGD(lr)},
        batch_size=batch_size,
        steps=steps,
        decay="linear",
    )
