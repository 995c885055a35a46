r"""Contrastive divergence: maximum likelihood of an energy, its second half by a short Gibbs chain.

The gradient of the likelihood is a difference of two means of the free energy F, over data and over
the model:

.. math:: -\nabla \mathbb{E}_{data} \log p(x)
    = \mathbb{E}_{data} \nabla F(x) - \mathbb{E}_{p} \nabla F(x)

The second is taken over `negatives`, which a chain of k sweeps draws: from the data (CD-k), or from
where it stood at the last step (persistent CD). The loss is `F(data).mean() - F(negatives).mean()`,
which is the gap between the two: it stays about 0 while chain and data agree. It runs away when
training diverges, and is large and positive where chains have found valleys of the energy that hold
no data; a run says so.

References:
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 5.
    https://www.cs.toronto.edu/~hinton/absps/nccd.pdf
    Training restricted Boltzmann machines using approximations to the likelihood gradient
    (Tieleman, 2008), section 3. https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.ebm.energy import BipartiteEnergy, Observer, StateEnergy
from pofx.errors import UserError
from pofx.functional.processes import sum_over_processes
from pofx.mcmc.gibbs import block_gibbs
from pofx.objective import Objective, Symptom, Update
from pofx.parameters import GradientDescent, Training
from pofx.typing import Data, PerExample

_SPREADS = 3.0
"""Standard deviations of the data's own energies by which a gap says nothing."""
_WIDEST = 1.0
"""Nats for each visible unit that those energies may spread by: weights that run away spread them
too. Tails of real numbers have no such bound.
"""
_APART, _DIVERGED = 0.1, 1.0
"""Nats for each visible unit by which data and chains do not differ in a sound run, and by which
nothing can be mended any more.
"""


class Contrast(Objective):
    """What every kind of contrastive divergence shares; the kinds differ in where the chain starts.

    Args:
        model: what is trained.
        k: Gibbs sweeps before the negatives are taken.
        weight_decay: half of it times the squared norm of the weights, but not of the biases, is
            added to the loss.
    """

    model: Observer
    seen_total: Tensor
    seen_examples: Tensor

    def __init__(self, model: Observer, k: int = 1, weight_decay: float = 0.0) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model
        self.k, self.weight_decay = k, weight_decay
        self.register_buffer("seen_total", torch.zeros(model.moments_shape))
        self.register_buffer("seen_examples", torch.zeros((), dtype=torch.int64))

    @property
    def players(self) -> dict[str, nn.Module]:
        assert isinstance(self.model, nn.Module)
        return {"model": self.model}

    def update(
        self, x: Data, energy: PerExample, negative: PerExample, contrast: Tensor | None = None
    ) -> Update:
        """The step that lowers the energy of the data and raises that of the negatives.

        Args:
            x: the data.
            energy: free energies of the data.
            negative: those of the negatives.
            contrast: the loss, where it is not the difference of their means.
        """
        with torch.no_grad():
            self.seen_total += self.model.powers(x).sum(0)
            self.seen_examples += x.shape[0]
        data = energy.mean()
        gap = data - negative.mean()
        spread = energy.detach().std(correction=0)
        metrics = {"energy_gap": gap, "energy_data": data, "energy_spread": spread}
        return Update("model", (gap if contrast is None else contrast) + self._penalty(), metrics)

    def symptoms(self, metrics: Mapping[str, float]) -> Iterator[Symptom]:
        gap, spread = (metrics.get(k, 0.0) for k in ("energy_gap", "energy_spread"))
        *orders, units = self.model.moments_shape
        if orders != [2]:  # no units of real numbers, which need the square
            spread = min(spread, _WIDEST * units)
        beyond = abs(gap) - _SPREADS * spread
        size = f"{abs(gap):,.1f}" if abs(gap) < 1e6 else f"{abs(gap):.3g}"
        where = f"chains lie {size} nats {'below' if gap > 0 else 'above'} the data"
        if beyond > _DIVERGED * units:
            yield Symptom(
                "divergence",
                f"{where}, more than a nat for each unit; lower --lr and start again.",
            )
        elif beyond > _APART * units and gap > 0:
            yield Symptom(
                "spurious valleys",
                f"{where}, where there are none; chains fill such valleys when they go further "
                "(--k) and weights stay small (--weight-decay 1e-4), or lower --lr.",
            )
        elif beyond > _APART * units:
            yield Symptom(
                "lagging chains",
                f"{where} and do not follow it; let them go further (--k), or lower --lr.",
            )

    def _penalty(self) -> Tensor | float:
        if not self.weight_decay:
            return 0.0
        (player,) = self.players.values()
        squares = [p.square().sum() for p in player.parameters() if p.ndim > 1]
        return 0.5 * self.weight_decay * torch.stack(squares).sum()

    @torch.no_grad()
    def after_step(self) -> None:
        """Tells the model about the step's data: all of it, in every process and micro-batch."""
        total = sum_over_processes(self.seen_total)
        self.model.observe(total, sum_over_processes(self.seen_examples))
        self.seen_total.zero_()
        self.seen_examples.zero_()


class Gibbs(Contrast):
    """One whose negatives are drawn by turns of two sides."""

    model: BipartiteEnergy

    @torch.no_grad()
    def negatives(self, h: Tensor) -> Data:
        """The visible side after k sweeps, the first of which begins at the hidden states `h`."""
        model = self.model
        h = block_gibbs(h, model.draw_visible, self.draw_hidden, self.k - 1)
        return model.draw_visible(h)

    def draw_hidden(self, x: Data) -> Tensor:
        """Draws the hidden side given the visible one."""
        return self.model.draw_hidden(self.model.hidden_parameters(x))


class ContrastiveDivergence(Gibbs):
    """CD-k: every chain starts from the data."""

    def updates(self, batch: Batch) -> Iterator[Update]:
        x = batch.x
        energy, hidden = self.model.free_energy(x)
        with torch.no_grad():
            h = self.model.draw_hidden(hidden)
        negative, _ = self.model.free_energy(self.negatives(h))
        yield self.update(x, energy, negative)


class Persistent(Contrast):
    """What has as many chains as examples in a batch, which go on from step to step.

    Args:
        model: what is trained.
        chains: where they start, at least as many as examples in a step.
        k: Gibbs sweeps in a step.
        weight_decay: as for `Contrast`.

    Micro-batches of a step take one share of the chains after the other, always the same ones, and
    example i of a batch always meets chain i of its process: a step is the same however the batch
    is divided.
    """

    chains: Tensor

    def __init__(
        self, model: Observer, chains: Tensor, k: int = 1, weight_decay: float = 0.0
    ) -> None:
        super().__init__(model, k, weight_decay)
        self.register_buffer("chains", chains)
        self._taken = 0  # by this step's micro-batches so far; 0 between steps

    def updates(self, batch: Batch) -> Iterator[Update]:
        x = batch.x
        mine = self._take(x.shape[0])
        try:
            yield self.contrast(x, mine)
        finally:
            self._taken = 0

    @abstractmethod
    def contrast(self, x: Data, mine: slice) -> Update:
        """The update of a batch, with a share of the chains."""

    def share(self, n: int) -> slice:
        """The chains of the next `n` examples of a step."""
        return slice(self._taken, self._taken + n)

    def _take(self, n: int) -> slice:
        mine = self.share(n)
        self._taken += n
        if self._taken > self.chains.shape[0]:
            raise UserError(
                f"a step takes at most {self.chains.shape[0]} examples, one for each chain, and at "
                f"least {self._taken} came; give that number as batch_size."
            )
        return mine


class PersistentContrastiveDivergence(Gibbs, Persistent):
    """Persistent CD, its chains at the hidden side; `chains` is how many."""

    model: BipartiteEnergy

    def __init__(
        self, model: BipartiteEnergy, chains: int, k: int = 1, weight_decay: float = 0.0
    ) -> None:
        super().__init__(model, torch.zeros(chains, *model.hidden_shape), k, weight_decay)

    def contrast(self, x: Data, mine: slice) -> Update:
        # Data and negatives go through the weights in one product, forwards and backwards.
        both = torch.cat([x, self.negatives(self.chains[mine])])
        energy, hidden = self.model.free_energy(both)
        with torch.no_grad():
            self.chains[mine] = self.model.draw_hidden(hidden[x.shape[0] :])
        return self.update(x, *energy.chunk(2))


class StochasticMaximumLikelihood(Persistent):
    """Persistent chains of whole states, for units that may all be joined; `chains` is how many.

    References:
        On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity
        rates (Younes, 1999).
        A learning algorithm for Boltzmann machines (Ackley et al., 1985), section 3.
    """

    model: StateEnergy

    def __init__(
        self, model: StateEnergy, chains: int, k: int = 1, weight_decay: float = 0.0
    ) -> None:
        super().__init__(model, torch.zeros(chains, *model.state_shape), k, weight_decay)

    def contrast(self, x: Data, mine: slice) -> Update:
        with torch.no_grad():
            s = self.model.sweep(self.chains[mine], self.k)
            self.chains[mine] = s
            negative = self.model.positive_energy(self.model.visible(s))
        energy = self.model.positive_energy(x)
        loss = energy.mean() - self.model.state_energy(s).mean()
        return self.update(x, energy, negative, loss)


def contrast(
    model: BipartiteEnergy, training: Training | GradientDescent, k: int, *, persistent: bool
) -> Gibbs:
    """Builds the objective of a restricted Boltzmann machine.

    Args:
        model: what is trained.
        training: says how many chains there are, and how weights decay.
        k: Gibbs sweeps in a step.
        persistent: whether chains go on from step to step; otherwise each starts from the data.
    """
    decay = training.weight_decay
    if persistent:
        return PersistentContrastiveDivergence(model, training.batch_size, k, decay)
    return ContrastiveDivergence(model, k, decay)
