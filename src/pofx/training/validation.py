"""validation: one number that falls as a model learns, on data that it does not train on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.capabilities import Bound, Density, Energy
from pofx.data.dataset import Split
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.objective import LossObjective
from pofx.training.loop import Training
from pofx.typing import Cond, Data

_EXAMPLES = 1000
_BLOCK = 100


@torch.no_grad()
def validation_loss(
    training: Training, split: Split, stop: Callable[[], bool] = lambda: False
) -> float | None:
    """Mean loss over the first examples of the validation split, with the same noise each time.

    It is `-log_prob` or `-elbo` in nats where the model to be sampled knows them, else the
    objective's loss; None where a loss says nothing, as with two players or an energy's contrast,
    and once `stop`, polled between blocks of examples, is true.
    """
    n, total = min(len(split), _EXAMPLES), 0.0
    with evaluating(training.sampled), evaluating(training.objective):
        for first in range(0, n, _BLOCK):
            if stop():
                return None
            x, cond = split.values(slice(first, min(first + _BLOCK, n)))
            cond = None if cond is None else cond.to(training.device)
            x = x.to(training.device)
            with noise.of(x, use="validation"):
                value = _loss(training, x, cond)
            if value is None:
                return None
            total += float(value) * len(x)
    return total / n if n else None


def _loss(training: Training, x: Data, cond: Cond | None) -> Tensor | None:
    """Mean over a block."""
    model, objective = training.sampled, training.objective
    if isinstance(model, Density):
        return -model.log_prob(x, cond).mean()
    if isinstance(model, Bound):
        return -model.elbo(x, cond).mean()
    if isinstance(objective, LossObjective) and not isinstance(model, Energy):
        return objective.loss(Batch(x, cond))[0]
    return None
