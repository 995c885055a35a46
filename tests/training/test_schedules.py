"""Schedules of the loop: warm-up and progress, against closed forms."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pofx.batch import Batch
from pofx.objective import LossObjective, Metrics
from pofx.recipe import SGD, Recipe
from pofx.training.loop import Budget, Training, train


class Line(LossObjective):
    """A point that is pulled by the mean of its examples; it notes the progress that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 2, bias=False)
        self.seen: list[float] = []

    def loss(self, batch: Batch) -> tuple[torch.Tensor, Metrics]:
        self.seen.append(batch.progress)
        return batch.x.mean() * self.model.weight.sum(), {}


def training(*, lr: float = 0.5, **recipe) -> Training:
    objective = Line()
    return Training(Recipe(objective.model, objective, {"model": SGD(lr)}, batch_size=10, **recipe))


def rates(share: float | None, steps: int) -> list[float]:
    t = training(warmup=100, warmup_share=share, lr=1.0)

    def data() -> Iterator[Batch]:
        while True:
            yield Batch(torch.zeros(4, 1))

    found = []
    for _ in train(t, data(), Budget(steps=steps)):
        found.append(t.optimizers["model"].param_groups[0]["lr"])
    return found


def test_a_warm_up_ends_with_a_share_of_a_short_budget():
    assert rates(0.1, 40)[:6] == pytest.approx([0.01, 0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates(None, 40)[-1] == pytest.approx(0.4), "as runs of format 1 go on"
    assert rates(0.1, 2000)[98:102] == pytest.approx([0.99, 1.0, 1.0, 1.0])


def test_progress_is_the_share_of_either_budget() -> None:
    assert [Budget(steps=40).progress(n, 0.0) for n in (0, 10, 40)] == [0.0, 0.25, 1.0]
    assert [Budget(minutes=2.0).progress(7, s) for s in (0.0, 30.0, 120.0)] == [0.0, 0.25, 1.0]
