"""validation: one number that falls as a model learns, on data that it does not train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.capabilities import Bound, Density, Energy
from pofx.data.dataset import Split
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.objective import LossObjective
from pofx.spec import DataSpec
from pofx.training.loop import Training
from pofx.training.pseudo_likelihood import SITES, pseudo_log_prob, serves
from pofx.typing import Cond, Data

_EXAMPLES = 1000
_BLOCK = 100
_ELEMENTS = 1 << 17
"""Of the examples that are looked at together, at most, or a batch."""
_FEWEST_BLOCKS = 8
"""Of a loss that is a mean over a block, so that its error can be told."""

Kind = Literal["density", "bound", "pseudo-likelihood", "loss"]
UNITS: dict[Kind, str] = {
    "density": "nats, -log p(x)",
    "bound": "nats, a bound of -log p(x)",
    "pseudo-likelihood": "nats, -sum of log p(x_i | the rest)",
    "loss": "the recipe's own loss",
}
"""What a validation loss is measured in."""


class Validation(NamedTuple):
    """A validation loss: the mean over examples, its standard error (0 where it is unknown), and
    the loss of each example, or of each block of them where it has no other.
    """

    loss: float
    stderr: float
    each: Tensor = torch.empty(0)

    def apart(self, other: Tensor | None) -> float:
        """The standard error of the difference to the loss of each example at another time."""
        if other is None or len(other) != len(self.each) or len(other) < 3:
            return self.stderr
        return float((self.each - other).std() / len(other) ** 0.5)


def kind_of(training: Training, spec: DataSpec) -> Kind | None:
    """Which loss is a fair measure of the model to be sampled; None where none is, as with two
    players or the contrast of an energy of real numbers.
    """
    model, objective = training.sampled, training.objective
    if isinstance(model, Density):
        return "density"
    if isinstance(model, Bound) and not objective.departs:
        return "bound"
    if isinstance(model, Energy) and serves(spec):
        return "pseudo-likelihood"
    return "loss" if isinstance(objective, LossObjective) else None


@torch.no_grad()
def validation_loss(
    training: Training,
    split: Split,
    spec: DataSpec,
    stop: Callable[[], bool] = lambda: False,
    *,
    most: int = _EXAMPLES,
) -> Validation | None:
    """Mean loss over the first examples of a split, with the same noise each time; see `kind_of`.

    Args:
        training: whose model and objective it is of.
        split: held-out examples.
        spec: of the data.
        stop: polled between blocks of examples; once it is true there is no loss.
        most: examples.
    """
    kind, n = kind_of(training, spec), min(len(split), most)
    if kind is None or not n:
        return None
    # large examples take no more memory than those of a step
    most_at_once = min(_BLOCK, max(training.recipe.batch_size, _ELEMENTS // spec.size))
    block = min(most_at_once, -(-n // _FEWEST_BLOCKS)) if kind == "loss" else most_at_once
    values, sizes = [], []
    sites = SITES * most // n  # the fewer the examples, the more of each
    with evaluating(training.sampled), evaluating(training.objective), averaged(training, kind):
        for first in range(0, n, block):
            if stop():
                return None
            x, cond = split.values(slice(first, min(first + block, n)))
            cond = None if cond is None else cond.to(training.device)
            x = x.to(training.device)
            with noise(0, len(x), use="validation", first=first):
                value = _losses(training, kind, x, cond, spec, (first, sites))
            values.append(value.double().cpu().reshape(-1))
            sizes.append(len(x) / len(values[-1]))
    return _mean(values, sizes)


def _mean(values: list[Tensor], sizes: list[float]) -> Validation:
    """The mean of all values, each of which stands for so many examples."""
    x = torch.cat(values)
    weights = torch.cat([v.new_full((len(v),), n) for v, n in zip(values, sizes, strict=True)])
    mean = (x * weights).sum() / weights.sum()
    stderr = float(x.std() / len(x) ** 0.5) if len(x) > 2 else 0.0
    return Validation(float(mean), stderr, x)


def _losses(
    training: Training,
    kind: Kind,
    x: Data,
    cond: Cond | None,
    spec: DataSpec,
    part: tuple[int, int],
) -> Tensor:
    """The loss of each example of a block, or their mean where it has no others; `part` is the
    number of the first, and how many elements of each stand for all.
    """
    model = training.sampled
    if kind == "density":
        assert isinstance(model, Density)
        return -model.log_prob(x, cond)
    if kind == "bound":
        assert isinstance(model, Bound)
        return -model.elbo(x, cond)
    if kind == "pseudo-likelihood":
        assert isinstance(model, Energy)
        energy = model.energy

        def energy_of(states: Data) -> Tensor:
            each = len(states) // len(x)
            return energy(states, None if cond is None else cond.repeat_interleave(each, 0))

        return -pseudo_log_prob(energy_of, x, spec, first=part[0], sites=part[1])
    assert isinstance(training.objective, LossObjective)
    with torch.enable_grad():  # some scores are slopes
        return training.objective.loss(Batch(x, cond, progress=1.0))[0].detach()


@contextmanager
def averaged(training: Training, kind: Kind) -> Iterator[None]:
    """Lends the objective, which computes with the weights that train, those to sample from."""
    if training.ema is None or kind != "loss":
        yield
        return
    weights = list(training.model.parameters())
    kept = [p.detach().clone() for p in weights]
    for weight, average in zip(weights, training.ema.averages, strict=True):
        weight.data.copy_(average)
    try:
        yield
    finally:
        for weight, own in zip(weights, kept, strict=True):
            weight.data.copy_(own)
