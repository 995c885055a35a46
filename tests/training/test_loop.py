"""One step of the loop by hand: what is clipped, weighed and drawn, and by whom."""

import pytest
import torch
from torch import nn

from pofx.batch import Batch
from pofx.data import load
from pofx.objective import LossObjective
from pofx.recipe import SGD, Recipe
from pofx.training.distributed import World
from pofx.training.loop import Options, Training
from pofx.training.validation import validation_loss


class Plane(nn.Module):
    """A "density" whose log is the product with its weights: all is known of its slope."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def log_prob(self, x, cond=None):
        return x @ self.weight


class Falls(LossObjective):
    """The mean of `x @ w`, whose gradient is the mean of x; it logs one draw for each example."""

    def __init__(self):
        super().__init__()
        self.model = Plane()
        self.drawn = []

    def loss(self, batch):
        self.drawn.append(torch.rand(len(batch)))
        return self.model.log_prob(batch.x).mean(), {}


def training(*, clip=None, warmup=0, rank=0, **options):
    objective = Falls()
    recipe = Recipe(
        objective.model, objective, {"model": SGD(0.1)}, batch_size=10, clip=clip, warmup=warmup
    )
    return Training(recipe, options=Options(**options), world=World(rank))


def test_above_the_clip_a_step_is_of_exactly_the_rate_times_the_clip():
    steep = Batch(torch.tensor([[3.0, 4.0]]))
    run = training(clip=0.5)
    for step in (1, 2):
        assert float(run.train_step(steep)["grad_norm"]) == pytest.approx(5.0)
        expected = step * 0.1 * 0.5 * torch.tensor([-0.6, -0.8])
        assert torch.allclose(run.model.weight, expected, atol=1e-7)
    run.train_step(Batch(torch.tensor([[0.3, 0.4]])))
    expected += torch.tensor([-0.03, -0.04])  # at the clip nothing is taken away
    assert torch.allclose(run.model.weight, expected, atol=1e-7)


def test_parts_of_unequal_size_weigh_as_many_examples_as_they_hold():
    """10 in 3 parts are 4, 4 and 2."""
    x = torch.randn(10, 2)
    run = training(accumulate=3)
    run.train_step(Batch(x))
    assert [len(drawn) for drawn in run.objective.drawn] == [4, 4, 2]
    assert torch.allclose(run.model.weight, -0.1 * x.mean(0), atol=1e-7)
    now = run.model.weight.detach().clone()
    metrics = run.train_step(Batch(x))
    assert float(metrics["loss"]) == pytest.approx(float((x @ now).mean()), abs=1e-7)


def test_no_two_processes_or_steps_draw_the_same_noise():
    seen = []
    for rank in range(3):
        run = training(rank=rank)
        for _ in range(2):
            run.train_step(Batch(torch.zeros(4, 2)))
        seen += run.objective.drawn
    assert len({tuple(drawn.tolist()) for drawn in seen}) == 6


def test_with_keyed_noise_two_processes_draw_what_one_does():
    parts = []
    for rank in range(2):
        run = training(rank=rank, keyed_noise=True)
        run.train_step(Batch(torch.zeros(5, 2)))
        parts += run.objective.drawn
    run = training(keyed_noise=True)
    run.train_step(Batch(torch.zeros(10, 2)))
    assert torch.equal(torch.cat(parts), run.objective.drawn[0])


def test_a_warm_up_rises_from_its_first_step_on():
    run = training(warmup=4)
    moved = []
    for _ in range(5):
        before = run.model.weight.detach().clone()
        run.train_step(Batch(torch.ones(1, 2)))
        moved.append(float((before - run.model.weight.detach())[0]))
    assert moved == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1], abs=1e-7)


@pytest.mark.parametrize("n", [250, 40])
def test_the_last_block_of_validation_counts(n):
    data = load(torch.randn(10 * n, 2) + 1, standardize=False)
    run = training()
    run.model.weight.data.copy_(torch.tensor([2.0, -0.5]))
    x, _ = data.valid.values(slice(0, len(data.valid)))
    assert len(x) == n
    expected = -float((x @ run.model.weight.detach()).mean())
    found = validation_loss(run, data.valid, data.spec)
    assert found.loss == pytest.approx(expected, rel=1e-5)
