r"""Contrastive divergence: maximum likelihood of an energy, with the model's side of the gradient
by a short Gibbs chain.

The gradient of the likelihood is a difference of two means of the free energy F, over data and over
the model:

.. math:: -\nabla \mathbb{E}_{data} \log p(x)
    = \mathbb{E}_{data} \nabla F(x) - \mathbb{E}_{p} \nabla F(x)

The second is taken over `negatives`, which a chain of k sweeps draws: from the data (CD-k), or from
where it stood at the last step (persistent CD). The loss is `F(data).mean() - F(negatives).mean()`,
which is the gap between the
two: it stays about 0 while chain and data agree, and runs away when training diverges.

References:
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 5.
    https://www.cs.toronto.edu/~hinton/absps/nccd.pdf
    Training restricted Boltzmann machines using approximations to the likelihood gradient
    (Tieleman, 2008), section 3.
    https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pofx.ebm.energy import BipartiteEnergy
from pofx.errors import UserError
from pofx.functional.processes import sum_over_processes
from pofx.mcmc.gibbs import block_gibbs
from pofx.objective import Objective, Update
from pofx.typing import Cond, Data


class Contrast(Objective):
    """The loss that every kind of contrastive divergence shares; the kinds differ in where the
    chain starts.

    Args:
        model: what is trained.
        example: the shape of one example.
        k: Gibbs sweeps before the negatives are taken.
        weight_decay: half of it times the squared norm of the weights, but not of the biases, is
            added to the loss.
    """

    seen_total: Tensor
    seen_examples: Tensor

    def __init__(
        self,
        model: BipartiteEnergy,
        example: tuple[int, ...],
        k: int = 1,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model: nn.Module = model
        self.k = k
        self.weight_decay = weight_decay
        self.register_buffer("seen_total", torch.zeros(example))
        self.register_buffer("seen_examples", torch.zeros((), dtype=torch.int64))

    @property
    def players(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def contrast(self, x: Data, start: Tensor | None) -> tuple[Update, Tensor]:
        """The update for a batch, and where the chain stands after it.

        Args:
            x: a batch of data.
            start: hidden states to start the chain from; None starts it from the data.
        """
        model: BipartiteEnergy = self.model  # type: ignore[assignment]
        energy, hidden = model.free_energy(x)
        with torch.no_grad():
            self.seen_total += x.sum(0)
            self.seen_examples += x.shape[0]
            h = model.draw_hidden(hidden) if start is None else start
            h = block_gibbs(h, model.draw_visible, self._draw_hidden, self.k - 1)
            negatives = model.draw_visible(h)
        negative_energy, negative_hidden = model.free_energy(negatives)
        with torch.no_grad():
            h = model.draw_hidden(negative_hidden)
        gap = energy.mean() - negative_energy.mean()
        metrics = {"energy_gap": gap, "energy_data": energy.mean()}
        return Update("model", gap + self._penalty(), metrics), h

    def _draw_hidden(self, x: Data) -> Tensor:
        model: BipartiteEnergy = self.model  # type: ignore[assignment]
        return model.draw_hidden(model.free_energy(x)[1])

    def _penalty(self) -> Tensor | float:
        if not self.weight_decay:
            return 0.0
        weights = [p for p in self.model.parameters() if p.ndim > 1]
        return 0.5 * self.weight_decay * torch.stack([w.square().sum() for w in weights]).sum()

    @abstractmethod
    def updates(self, x: Data, cond: Cond | None = None) -> Iterator[Update]: ...

    @torch.no_grad()
    def after_step(self) -> None:
        """Tells the model about the step's data: all of it, in every process and micro-batch."""
        self.model.observe(  # type: ignore[operator]
            sum_over_processes(self.seen_total), sum_over_processes(self.seen_examples)
        )
        self.seen_total.zero_()
        self.seen_examples.zero_()


class ContrastiveDivergence(Contrast):
    """CD-k: every chain starts from the data."""

    def updates(self, x: Data, cond: Cond | None = None) -> Iterator[Update]:
        yield self.contrast(x, None)[0]


class PersistentContrastiveDivergence(Contrast):
    """Persistent CD: as many chains as examples in a batch, which go on from step to step.

    Args:
        model: what is trained.
        example: the shape of one example.
        chains: how many; at least as many as examples in a step.
        k: Gibbs sweeps in a step.
        weight_decay: as for `Contrast`.

    Micro-batches of a step take one share of the chains after the other, always the same ones, and
    example i of a batch always meets chain i of its process: a step is the same however the batch
    is divided.
    """

    chains: Tensor

    def __init__(
        self,
        model: BipartiteEnergy,
        example: tuple[int, ...],
        chains: int,
        k: int = 1,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, example, k, weight_decay)
        self.register_buffer("chains", torch.zeros(chains, *model.hidden_shape))
        self._taken = 0  # chains that this step's micro-batches have taken so far; 0 between steps

    def updates(self, x: Data, cond: Cond | None = None) -> Iterator[Update]:
        first = self._taken
        self._taken += x.shape[0]
        try:
            update, h = self.contrast(x, self._take(first, x.shape[0]))
            with torch.no_grad():
                self.chains[first : first + x.shape[0]] = h
            yield update
        finally:
            self._taken = 0

    def _take(self, first: int, n: int) -> Tensor:
        if first + n > self.chains.shape[0]:
            raise UserError(
                f"a step takes at most {self.chains.shape[0]} examples, one for each chain, and "
                "at least "
                f"{first + n} came; give that number as batch_size."
            )
        return self.chains[first : first + n]
