r"""dbn: A fast learning algorithm for deep belief nets (Hinton et al., 2006).

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
    falls to 0 within each layer's share of the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from pofx.ebm.contrastive_divergence import PersistentContrastiveDivergence
from pofx.ebm.harmonium import Harmonium, SmallHarmonium, harmonium
from pofx.ebm.units import Bits, discrete_units
from pofx.functional.precision import at_least_float32
from pofx.mcmc.gibbs import bernoulli
from pofx.objective import Objective, Symptom, Update
from pofx.recipe import SGD, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class DBN(nn.Module):
    """A deep belief network: capabilities Samples, Latent, EnergyBound and Normalizer by AIS.

    Args:
        layers: each an RBM, whose visible units are the hidden ones of the one before.
        depth: how many of them there are so far; the model has no others until they are trained.
    """

    depth: Tensor

    def __init__(self, layers: list[Harmonium], depth: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("depth", torch.tensor(depth))

    @property
    def grown(self) -> list[Harmonium]:
        """The layers that there are."""
        return list(self.layers[: int(self.depth)])  # type: ignore[arg-type]

    @property
    def top(self) -> Harmonium:
        """The RBM that the others hang from."""
        return self.grown[-1]

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None, *, sweeps: int | None = None) -> Data:
        """Draws `n` examples: a chain of `sweeps` sweeps of the top RBM, and down from there."""
        x = self.top.sample(n, sweeps=sweeps)
        for layer in reversed(self.grown[:-1]):
            x = layer.draw_visible(x)
        return x

    def encode(self, x: Data, cond: Cond | None = None) -> Data:
        """Probabilities of the top's hidden units, from layer to layer by their means."""
        for layer in self.grown:
            x = layer.encode(x)
        return x

    def decode(self, z: Data, cond: Cond | None = None) -> Data:
        """The mean of x given the layers above, each at its mean."""
        for layer in reversed(self.grown):
            z = layer.decode(z)
        return z

    def energy_bound(self, x: Data, cond: Cond | None = None) -> PerExample:
        """Minus the bound, without log Z, at one draw of the hidden layers."""
        total = torch.zeros(len(x), dtype=self.top.weight.dtype, device=x.device)
        for layer in self.grown[:-1]:
            logits = at_least_float32(layer.hidden_parameters(x))
            h = bernoulli(logits)
            log_q = (h * logits - nn.functional.softplus(logits)).sum(1)
            total = total + log_q - layer.log_visible(x, h)
            x = h
        return total + self.top.energy(x)

    def log_partition(self) -> tuple[float, float]:
        """Log Z of the top RBM by annealed importance sampling, and its standard error, nats."""
        return self.top.log_partition()

    def log_partition_above(self) -> tuple[float, float]:
        """The same backwards, from samples of the top RBM."""
        return self.top.log_partition_above()


class SmallDBN(DBN):
    """A DBN of layers so small that the log Z of each is a sum: capability Bound."""

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        assert isinstance(self.top, SmallHarmonium)
        return -self.energy_bound(x) - self.top.exact_log_partition()


class GreedyLayers(Objective):
    """Trains one layer after the other by persistent contrastive divergence.

    Args:
        model: the network.
        steps: of each layer; the last one goes on for as long as it is asked.
        chains: as for `PersistentContrastiveDivergence`, and so on.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases.
    """

    done: Tensor

    def __init__(self, model: DBN, steps: int, chains: int, k: int, weight_decay: float) -> None:
        super().__init__()
        self.model, self.steps = model, steps
        self.stages = nn.ModuleList(
            PersistentContrastiveDivergence(layer, chains, k, weight_decay)  # type: ignore[arg-type]
            for layer in model.layers
        )
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def players(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    @property
    def stage(self) -> int:
        """Which layer is trained."""
        return min(int(self.done) // self.steps, len(self.stages) - 1)

    def updates(self, x: Data, cond: Cond | None = None) -> Iterator[Update]:
        stage = self.stage
        spent = int(self.done) / self.steps - stage
        with torch.no_grad():
            for layer in self.model.layers[:stage]:
                x = layer.draw_hidden(layer.hidden_parameters(x))  # type: ignore[operator]
        for update in self.stages[stage].updates(x):  # type: ignore[operator]
            metrics = {**update.metrics, "layer": torch.tensor(stage + 1.0)}
            yield Update("model", update.loss * max(1 - spent, 0.0), metrics)

    def symptoms(self, metrics: Mapping[str, float]) -> Iterable[Symptom]:
        stage: Objective = self.stages[self.stage]  # type: ignore[assignment]
        return stage.symptoms(metrics)

    @torch.no_grad()
    def after_step(self) -> None:
        stage = self.stage
        self.stages[stage].after_step()  # type: ignore[operator]
        self.done += 1
        if self.stage != stage:
            self._begin(stage + 1)

    def _begin(self, stage: int) -> None:
        below, layer = self.model.layers[stage - 1], self.model.layers[stage]
        assert isinstance(below, Harmonium)
        assert isinstance(layer, Harmonium)
        tie(below, layer)
        self.model.depth += 1
        chains: Tensor = self.stages[stage - 1].chains  # type: ignore[assignment]
        self.stages[stage].chains.copy_(layer.encode(chains))  # type: ignore[operator]


@torch.no_grad()
def tie(below: Harmonium, layer: Harmonium) -> None:
    """Gives a layer the weights of the one below, transposed, if it has units for all of them: then
    both have the same marginal of the units between them, but for units that are left over.
    """
    width = below.visible.width
    if not isinstance(below.visible, Bits) or layer.hidden_shape[0] < width:
        return
    assert isinstance(layer.visible, Bits)
    layer.weight[:width] = below.weight.t()
    layer.hidden_bias[:width] = below.visible.bias
    layer.visible.bias.copy_(below.hidden_bias)
    layer.visible.seen.fill_(1)  # the bias has begun, and not where the first step's data are


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    hidden: tuple[int, ...] = (128, 128),
    k: int = 1,
    weight_decay: float = 0.0,
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
        weight_decay: of the weights, not of the biases.
        sweeps: Gibbs sweeps of the top to a sample.
        temperatures: of annealed importance sampling, which estimates log Z of the top.
        chains: of annealed importance sampling.
        lr: learning rate of gradient descent, falling linearly to 0 for each layer.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps, shared evenly by the layers.
    """
    check_at_least("dbn", 1, hidden=min(hidden), k=k, sweeps=sweeps, chains=chains)
    check_at_least("dbn", 2, temperatures=temperatures)
    if len(hidden) < 2:
        raise RecipeError(
            f"dbn: --hidden gives the units of two layers or more, and {len(hidden)} came; rbm is "
            "the model of one."
        )
    units = [discrete_units("dbn", spec), *(Bits((width,)) for width in hidden[:-1])]
    options = {"sweeps": sweeps, "temperatures": temperatures, "chains": chains}
    layers = [harmonium(v, h, **options) for v, h in zip(units, hidden, strict=True)]
    small = all(isinstance(layer, SmallHarmonium) for layer in layers)
    model = (SmallDBN if small else DBN)(layers)
    return Recipe(
        model=model,
        objective=GreedyLayers(model, max(steps // len(hidden), 1), batch_size, k, weight_decay),
        optimizers={"model": SGD(lr)},
        batch_size=batch_size,
        steps=steps,
    )
