"""validation: one number that falls as a model learns, on data that it does not train on."""

from __future__ import annotations

import torch

from pofx.capabilities import Bound, Density, Energy
from pofx.data.dataset import Split
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.objective import LossObjective
from pofx.training.loop import Training

_EXAMPLES = 1000


@torch.no_grad()
def validation_loss(training: Training, split: Split) -> float | None:
    """Mean loss over the first examples of the validation split, with the same noise each time.

    It is `-log_prob` or `-elbo` in nats where the model to be sampled knows them, else the
    objective's loss; None where a loss says nothing, as with two players or an energy's contrast.
    """
    n = min(len(split), _EXAMPLES)
    if n == 0:
        return None
    x, cond = split.values(slice(0, n))
    x = x.to(training.device)
    cond = None if cond is None else cond.to(training.device)
    model = training.sampled
    with evaluating(model), evaluating(training.objective), noise(0, n):
        if isinstance(model, Density):
            value = -model.log_prob(x, cond).mean()
        elif isinstance(model, Bound):
            value = -model.elbo(x, cond).mean()
        elif isinstance(training.objective, LossObjective) and not isinstance(model, Energy):
            value = training.objective.loss(x, cond)[0]
        else:
            return None
    return float(value)
