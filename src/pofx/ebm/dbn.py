r"""dbn: A fast learning algorithm for deep belief nets (Hinton et al., 2006).

Good for: layers of binary features of bits and categories.

Layers of hidden units, of which the top two are an RBM, and each lower one is drawn from the one
above it:

.. math:: p(v, h_1, \ldots, h_L) = p(v | h_1) \cdots p(h_{L-2} | h_{L-1}) \, p(h_{L-1}, h_L)

Layer after layer is trained as an RBM on what the layer below makes of the data. Its weights are
first tied to those of the layer below, transposed, which leaves p(v) as it is where a layer has
room for it; from there on, what makes the top RBM likelier raises the bound

.. math:: \log p(v) \ge \mathbb{E}_{q(h | v)} \Big[ \sum_l \log \frac{p(h_{l-1} | h_l)}
    {q(h_l | h_{l-1})} - F(h_{L-1}) \Big] - \log Z

with q the hidden units' conditionals, layer by layer.

References:
    A fast learning algorithm for deep belief nets (Hinton et al., 2006), section 4: the greedy
    algorithm, eq. 8. https://www.cs.toronto.edu/~hinton/absps/fastnc.pdf
    On the quantitative analysis of deep belief networks (Salakhutdinov and Murray, 2008), section
    5: the bound with log Z of the top RBM by AIS.
    https://www.cs.toronto.edu/~amnih/papers/dbn_ais.pdf

Note:
    A layer's persistent chains start where those of the layer below ended, and the learning rate
    falls to 0 within each layer's share of the budget: as a factor of the gradient, so that `lr` in
    the metrics is the one it falls from.
"""

from __future__ import annotations

from pofx.ebm.belief_network import DBN, SmallDBN
from pofx.ebm.greedy import GreedyLayers
from pofx.ebm.harmonium import SmallHarmonium, harmonium
from pofx.ebm.units import Bits, discrete_units
from pofx.nn.defaults import sgd_decay
from pofx.recipe import SGD, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: tuple[int, ...] = (128, 128),
    k: int = 1,
    weight_decay: float | None = None,
    sweeps: int = 500,
    temperatures: int = 10_000,
    chains: int = 100,
    lr: float = 0.05,
    batch_size: int = 100,
    steps: int = 20_000,
) -> Recipe:
    """A deep belief network over bits and categories, trained greedily.

    Args:
        hidden: units of each hidden layer, from the data upwards; where of each two neighbours one
            has at most 16 the bound is exact in log Z. A layer as wide as the one two below it
            starts where that one ended.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases; by default 4,000 over the square of
            the number of examples where those are fewer than 1,000, else 0.
        sweeps: Gibbs sweeps of the top to a sample.
        temperatures: of annealed importance sampling, which estimates log Z of the top.
        chains: of annealed importance sampling.
        lr: learning rate of gradient descent, falling linearly to 0 for each layer.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps, shared evenly by the layers.
    """
    check_at_least("dbn", 1, k=k, sweeps=sweeps)
    check_at_least("dbn", 2, temperatures=temperatures, chains=chains)
    check_at_least("dbn", 0, weight_decay=weight_decay)
    if weight_decay is None:
        weight_decay = sgd_decay(4_000, spec.count, lr)
    if len(hidden) < 2:
        raise RecipeError(
            f"dbn: --hidden gives the units of two layers or more, and {len(hidden)} came; rbm is "
            "the model of one."
        )
    check_at_least("dbn", 1, hidden=min(hidden))
    units = [discrete_units("dbn", spec), *(Bits((width,)) for width in hidden[:-1])]
    options = {"sweeps": sweeps, "temperatures": temperatures, "chains": chains}
    layers = [harmonium(v, h, **options) for v, h in zip(units, hidden, strict=True)]
    small = all(isinstance(layer, SmallHarmonium) for layer in layers)
    model = (SmallDBN if small else DBN)(layers)
    return Recipe(
        model=model,
        objective=GreedyLayers(model, batch_size, k, weight_decay),
        optimizers={"model": SGD(lr)},
        batch_size=batch_size,
        steps=steps,
    )
