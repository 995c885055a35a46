"""The loop's own arithmetic: averages, micro-batches, clipping, warm-up, against closed forms."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pofx.batch import Batch
from pofx.objective import LossObjective, Metrics
from pofx.recipe import SGD, Recipe
from pofx.training.ema import EMA
from pofx.training.loop import Budget, Options, Training, train


class Line(LossObjective):
    """A point w, pulled with force `slope . mean(x)`: `d loss / d w = slope * mean(x)`."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.model = nn.Linear(1, 2, bias=False)
        nn.init.zeros_(self.model.weight)
        self.slope = slope
        self.seen: list[tuple[int, float]] = []

    def loss(self, batch: Batch) -> tuple[torch.Tensor, Metrics]:
        self.seen.append((len(batch), batch.progress))
        mean = batch.x.mean()
        return self.slope * mean * self.model.weight.sum(), {"mean": mean}


def training(objective=None, *, lr=0.5, options=Options(), **recipe):  # noqa: B008, frozen
    objective = objective or Line()
    built = Recipe(objective.model, objective, {"model": SGD(lr)}, batch_size=10, **recipe)
    return Training(built, options=options)


def test_micro_batches_of_unequal_size_weigh_by_their_size():
    """Ten examples in three parts are 4, 4 and 2, and each example counts a tenth."""
    x = torch.arange(10.0)[:, None] ** 2
    whole, parts = training(), training(options=Options(accumulate=3))
    metrics = [t.train_step(Batch(x, progress=0.25)) for t in (whole, parts)]
    assert [n for n, _ in parts.objective.seen] == [4, 4, 2]
    assert {p for _, p in parts.objective.seen} == {0.25}, "parts of a step share its progress"
    expected = torch.full((2, 1), -0.5 * 28.5)  # lr times the mean of the squares
    for t, said in zip((whole, parts), metrics, strict=True):
        assert torch.allclose(t.model.weight, expected)
        assert float(said["mean"]) == pytest.approx(28.5)


@pytest.mark.parametrize(("slope", "moved"), [(1e-3, 0.5 * 2**0.5 * 1e-3), (40.0, 0.5 * 3.0)])
def test_a_gradient_is_clipped_before_the_step(slope, moved):
    """Below the clip a step is the learning rate times the gradient's norm, sqrt(2) times the
    slope; above it, the learning rate times the clip.
    """
    t = training(Line(slope), options=Options(clip=3.0))
    said = t.train_step(Batch(torch.ones(4, 1)))
    assert float(t.model.weight.norm()) == pytest.approx(moved, rel=1e-5)
    assert float(said["grad_norm"]) == pytest.approx(2**0.5 * slope, rel=1e-5), "as it was"


def test_an_average_moves_by_its_half_life_and_faster_at_first():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = EMA(model, half_life=2.0)
    with torch.no_grad():
        model.weight.fill_(1.0)
    expected = 0.0
    for step in range(1, 40):
        decay = min(0.5**0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        ema.update(step)
        assert float(ema.model.weight) == pytest.approx(expected, rel=1e-5)
    far = EMA(model, half_life=2.0)
    with torch.no_grad():
        model.weight.zero_()
    far.update(1000)
    far.update(1001)
    assert float(far.model.weight) == pytest.approx(0.5, rel=1e-6), "half of it after a half-life"


def test_an_average_has_the_buffers_of_now_and_weights_of_its_own():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, half_life=10.0)
    with torch.no_grad():
        model.running_mean.fill_(3.0)
        model.weight.fill_(5.0)
    averaged = ema.synchronised()
    assert averaged.running_mean.tolist() == [3.0, 3.0]
    assert averaged.weight.tolist() == [1.0, 1.0]
    assert not any(p.requires_grad for p in averaged.parameters())


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
