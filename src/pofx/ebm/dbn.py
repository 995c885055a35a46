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
from pofx.ebm.harmonium import DECAY, SmallHarmonium, harmonium
from pofx.ebm.units import Bits, discrete_units
from pofx.parameters import Chains, GibbsSteps, GradientDescent, Sizes, Sweeps, Temperatures
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    hidden: Sizes = (128, 128),
    k: GibbsSteps = 1,
    sweeps: Sweeps = 500,
    temperatures: Temperatures = 10_000,
    chains: Chains = 100,
    training: GradientDescent = GradientDescent(
        lr=0.05,
        batch_size=100,
        steps=20_000,
        weight_decay=DECAY,
        decay="constant",
    ),
) -> Recipe:
    """A deep belief network over bits and categories, trained greedily.

    Args:
        hidden: units of each hidden layer, from the data upwards; where of each two neighbours one
            has at most 16 the bound is exact in log Z. A layer as wide as the one two below it
            starts where that one ended.
    """
    if len(hidden) < 2:
        raise RecipeError(
            f"--hidden must be the units of two layers or more (got {len(hidden)}): rbm is the "
            "model of one."
        )
    units = [discrete_units(spec), *(Bits((width,)) for width in hidden[:-1])]
    options = {"sweeps": sweeps, "temperatures": temperatures, "chains": chains}
    layers = [harmonium(v, h, **options) for v, h in zip(units, hidden, strict=True)]
    small = all(isinstance(layer, SmallHarmonium) for layer in layers)
    model = (SmallDBN if small else DBN)(layers)
    objective = GreedyLayers(model, training.batch_size, k, training.weight_decay)
    return trained(model, objective, training)
