"""watch: what a run knows of itself while it trains: its validation losses and its best weights.

Looks at validation data come early and often, and cost about a tenth of training: a look every
epoch at first, then at intervals that grow with what is trained, to a hundredth of the budget.
With a budget in steps, when to look depends on nothing but the number of steps, so that equal runs
keep equal weights; the cost of a look is counted (`pofx.training.work`). With a budget in minutes
it is timed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.data.dataset import Dataset, Split
from pofx.objective import LossObjective
from pofx.training.loop import Budget, Step, Training
from pofx.training.symptoms import Look
from pofx.training.validation import Validation, kind_of, validation_loss
from pofx.training.work import Work

_SHARE = 0.07
"""Of the cost of training, which looks may cost: a tenth, with what is not counted."""
_APART = 0.01
"""The share of the budget that two looks are apart at most, where that is not too dear."""
_GROWTH = 0.1
"""The same, as a share of the steps that have been taken."""
_MOST, _FEWEST = 1000, 32
"""Examples of a look."""
_LEAST = 1e-3
"""What it costs at least, so counted."""
_COUNTED = 100
"""Examples that its cost is counted on."""
_FIRST_GUESS = 1 / 3
"""What an example costs in a look, in examples trained on: forwards, and not backwards."""


@dataclass
class Best:
    """The weights of the lowest validation loss so far.

    Args:
        step: where they were seen.
        loss: theirs.
        stage: of training; see `Objective.stage`.
        weights: of the model to be sampled.
    """

    step: int
    loss: float
    stage: int
    weights: dict[str, Tensor]


class Watch:
    """Looks at validation data, and keeps what it sees.

    Args:
        training: what is watched.
        dataset: whose validation examples it looks at.
        budget: of the run.
        keep: whether the best weights are.
        leads: whether this process looks; the others do not.
        stop: polled while it looks.
    """

    def __init__(
        self,
        training: Training,
        dataset: Dataset,
        budget: Budget,
        *,
        keep: bool = True,
        leads: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.training, self.dataset, self.budget = training, dataset, budget
        self.keeps, self.leads, self.stop = keep, leads, stop
        self.kind = kind_of(training, dataset.spec) if leads and len(dataset.valid) else None
        self.restart()

    def restart(self) -> None:
        """Forgets everything."""
        self.looks: list[Look] = []
        self.best: Best | None = None
        self.lowest: Tensor | None = None
        self.examples: int | None = None
        self.cost, self.work = _FIRST_GUESS, 0.0
        self.due, self.seconds = 1.0, 0.0
        self.effort, self.total, self.count = 0.0, 0.0, 0

    @property
    def epoch(self) -> float:
        """Steps in which every training example is seen once."""
        return max(len(self.dataset.train) / self.training.recipe.batch_size, 1.0)

    @property
    def spent(self) -> float:
        """The share of the budget."""
        return self.budget.progress(self.training.step, self.training.elapsed)

    def first_step_counted(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Passes steps on, and counts the work of the first that this run takes."""
        if self.leads and self.kind and not self.work:
            with Work() as work:
                first = next(steps, None)
            self.work = work.total
            if first is None:
                return
            yield first
        yield from steps

    def take(self, step: Step) -> None:
        """Notes what a step says of the training loss."""
        optimizer = next(iter(self.training.optimizers.values()))
        self.effort += optimizer.param_groups[0]["lr"]
        loss = step.metrics.get("loss")
        if loss is not None and math.isfinite(value := float(loss)):
            self.total, self.count = self.total + value, self.count + 1

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        if not self.leads or (self.looks and self.looks[-1].step == self.training.step):
            return False
        if self.spent >= 1:
            return True
        if self.budget.minutes is None or not self.looks:
            return self.training.step >= self.due
        return self.spent >= self.due and self._affordable

    @property
    def _affordable(self) -> bool:
        """Whether one more look, as long as the mean one, leaves training its share. The first does
        not count: what is slow once would put the second off until a small model is past its best.
        """
        mean = self.seconds / max(len(self.looks) - 1, 1)
        return self.seconds + mean <= _SHARE * self.training.elapsed

    def look(self) -> Look | None:
        """Takes the validation loss; None if it was told to stop, and the look is still due."""
        start, found = time.monotonic(), None
        if self.kind:
            self.examples = self.examples or self._affordable_examples()
            found = self._validate(self.examples)
            if found is None:
                return None
        if self.looks:
            self.seconds += time.monotonic() - start
        seen = Look(
            self.training.step, min(self.spent, 1.0), self.effort,
            self._train_loss,
            None if found is None else found.loss, 0.0 if found is None else found.stderr,
            self.training.objective.stage, 0.0 if found is None else self._apart(found),
        )  # fmt: skip
        self.looks.append(seen)
        self.total, self.count = 0.0, 0
        self.due = self._next()
        self._keep(seen, found)
        return seen

    @property
    def _train_loss(self) -> float | None:
        """The mean since the last look; a contrast, or one of several players', says nothing."""
        says = self.count and isinstance(self.training.objective, LossObjective)
        return self.total / self.count if says else None

    def _apart(self, found: Validation) -> float:
        new = self.looks and self.looks[-1].stage != self.training.objective.stage
        return found.apart(None if new else self.lowest)

    def trained(self) -> float | None:
        """The loss of as many training examples, measured as the validation loss is."""
        found = self._validate(self.examples or _FEWEST, self.dataset.train)
        return None if found is None else found.loss

    def _validate(self, most: int, split: Split | None = None) -> Validation | None:
        held_out = self.dataset.valid if split is None else split
        return validation_loss(self.training, held_out, self.dataset.spec, self.stop, most=most)

    def _affordable_examples(self) -> int:
        """How many examples a look may have, so that a hundred of them are a tenth of training."""
        few = min(_COUNTED, len(self.dataset.valid))
        if few and self.work:
            with Work() as work:
                self._validate(few)
            self.cost = work.total / few * self.training.recipe.batch_size / self.work
        share = _SHARE * _APART * self._steps * self.training.recipe.batch_size
        return max(_FEWEST, min(_MOST, int(share / max(self.cost, _LEAST))))

    @property
    def _steps(self) -> float:
        """Of the whole budget, as far as can be told."""
        if self.budget.steps is not None:
            return self.budget.steps
        return self.training.step / max(self.spent, 1e-9)

    def _next(self) -> float:
        """When to look again: a step, or a share of a budget in minutes."""
        step = self.training.step
        apart = min(max(self.epoch, _GROWTH * step), _APART * self._steps)
        if self.budget.minutes is not None:
            return self.spent + apart / self._steps
        examples = self.examples or 0
        if self.kind != "pseudo-likelihood":  # which has more of each example instead
            examples = min(examples, len(self.dataset.valid))
        dearest = examples * self.cost / (_SHARE * self.training.recipe.batch_size)
        return step + math.ceil(max(apart, dearest, 1.0))

    def _keep(self, seen: Look, found: Validation | None) -> None:
        """Keeps what is the best so far: of the last stage, and the first of equals."""
        if found is None or not math.isfinite(found.loss):
            return
        before = [o.valid for o in self.looks[:-1] if o.stage == seen.stage and o.valid is not None]
        if all(found.loss < valid for valid in before):
            self.lowest = found.each
        if not self.keeps:
            return
        best = self.best
        if best is None or seen.stage > best.stage or found.loss < best.loss:
            weights = self.training.sampled.state_dict()
            copies = {k: v.detach().clone() for k, v in weights.items()}
            self.best = Best(seen.step, found.loss, seen.stage, copies)

    def kept(self) -> tuple[dict[str, Tensor], int]:
        """The weights to sample from, and the step that they are of."""
        if self.best is not None:
            return self.best.weights, self.best.step
        return self.training.sampled.state_dict(), self.training.step

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best weights, and every number that a resume needs."""
        best = self.best
        numbers = {
            "looks": [list(look) for look in self.looks], "examples": self.examples,
            "cost": self.cost,
            "work": self.work, "due": self.due, "effort": self.effort, "total": self.total,
            "count": self.count, "seconds": self.seconds,
            "lowest": None if self.lowest is None else self.lowest.tolist(),
            "best": None if best is None else [best.step, best.loss, best.stage],
        }  # fmt: skip
        return ({} if best is None else best.weights), numbers

    def load_state(self, weights: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Puts back what `state` returned."""
        self.looks = [Look(*look) for look in numbers["looks"]]
        self.examples, self.cost, self.work = (numbers[k] for k in ("examples", "cost", "work"))
        self.due, self.effort, self.seconds = (numbers[k] for k in ("due", "effort", "seconds"))
        self.total, self.count = numbers["total"], numbers["count"]
        self.best, lowest = None, numbers["lowest"]
        self.lowest = None if lowest is None else torch.tensor(lowest, dtype=torch.float64)
        if numbers["best"] is not None and self.keeps:
            device = self.training.device
            here = {k: v.to(device, copy=True) for k, v in weights.items()}
            step, loss, stage = numbers["best"]
            self.best = Best(step, loss, stage, here)
