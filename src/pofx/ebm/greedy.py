r"""greedy: one layer of a deep belief network after the other, each as an RBM on what is below it.

References:
    A fast learning algorithm for deep belief nets (Hinton et al., 2006), section 4.
    https://www.cs.toronto.edu/~hinton/absps/fastnc.pdf
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.ebm.belief_network import DBN, tie
from pofx.ebm.contrastive_divergence import PersistentContrastiveDivergence
from pofx.ebm.harmonium import Harmonium
from pofx.objective import Objective, Symptom, Update


class GreedyLayers(Objective):
    """Trains one layer after the other by persistent contrastive divergence, each for an equal
    share of the budget.

    Args:
        model: the network.
        chains: as for `PersistentContrastiveDivergence`, and so on.
        k: Gibbs sweeps in a step.
        weight_decay: of the weights, not of the biases.
    """

    done: Tensor

    def __init__(self, model: DBN, chains: int, k: int, weight_decay: float) -> None:
        super().__init__()
        self.model: DBN = model
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
        return int(self.model.depth) - 1

    def updates(self, batch: Batch) -> Iterator[Update]:
        x, layers = batch.x, len(self.stages)
        while self.stage < min(int(batch.progress * layers), layers - 1):
            self._begin(self.stage + 1)
        stage = self.stage
        spent = batch.progress * layers - stage
        with torch.no_grad():
            for layer in self.model.layers[:stage]:
                x = layer.draw_hidden(layer.hidden_parameters(x))  # type: ignore[operator]
            if not self.done:
                self._draw_chains(stage, x.shape[0])
        for update in self.stages[stage].updates(replace(batch, x=x)):  # type: ignore[operator]
            metrics = {**update.metrics, "layer": torch.tensor(stage + 1.0)}
            loss, share = update.loss, min(max(1 - spent, 0.0), 1.0)
            # of the gradient alone: what is logged is the whole loss
            yield Update("model", torch.lerp(loss.detach(), loss, share), metrics)

    def symptoms(self, metrics: Mapping[str, float]) -> Iterable[Symptom]:
        stage: Objective = self.stages[self.stage]  # type: ignore[assignment]
        return stage.symptoms(metrics)

    @torch.no_grad()
    def after_step(self) -> None:
        self.stages[self.stage].after_step()  # type: ignore[operator]
        self.done += 1

    @torch.no_grad()
    def _begin(self, stage: int) -> None:
        below, layer = self.model.layers[stage - 1], self.model.layers[stage]
        assert isinstance(below, Harmonium)
        assert isinstance(layer, Harmonium)
        tie(below, layer)
        self.model.depth += 1
        self.done.zero_()
        chains: Tensor = self.stages[stage - 1].chains  # type: ignore[assignment]
        self.stages[stage].chains.copy_(layer.encode(chains))  # type: ignore[operator]

    def _draw_chains(self, stage: int, n: int) -> None:
        """Draws the chains that a layer begins with from their probabilities."""
        stages: PersistentContrastiveDivergence = self.stages[stage]  # type: ignore[assignment]
        mine = stages.share(n)
        p = stages.chains[mine]
        stages.chains[mine] = torch.rand_like(p).lt_(p)  # what is 0 or 1 stays
