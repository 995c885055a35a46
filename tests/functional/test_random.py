"""Keyed noise: the right law, and a value for each example that nothing around it changes."""

import math

import pytest
import torch

from pofx.errors import UserError
from pofx.functional.draw import check_finite, draw
from pofx.functional.random import noise

N = 200_000


def moments(x):
    return x.mean().item(), x.var().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_are_normal(dtype):
    with noise(1, N):
        x = torch.randn(N, dtype=dtype)
        y = torch.randn_like(x)
    mean, var = moments(x)
    assert abs(mean) < 5 / N**0.5
    assert abs(var - 1) < 5 * (2 / N) ** 0.5
    for cut in (1.0, 2.0, 3.0):
        p = math.erfc(cut / 2**0.5)
        assert abs((x.abs() > cut).double().mean().item() - p) < 5 * (p / N) ** 0.5
    assert abs((x * y).mean().item()) < 5 / N**0.5
    assert abs((x[1:] * x[:-1]).mean().item()) < 5 / N**0.5
    ranks = torch.distributions.Normal(0.0, 1.0).cdf(x.double()).sort().values
    grid = (torch.arange(N, dtype=torch.float64) + 0.5) / N
    assert (ranks - grid).abs().max() < 0.0060, "Dvoretzky-Kiefer-Wolfowitz at 1e-6"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_are_uniform_and_open(dtype):
    with noise(2, N):
        u = torch.rand(N, dtype=dtype)
    assert 0 < u.min()
    assert u.max() < 1
    assert (u.double().sort().values - (torch.arange(N) + 0.5) / N).abs().max() < 0.0060


def test_each_function_has_its_law():
    with noise(3, N):
        ones = torch.bernoulli(torch.full((N,), 0.3))
        faces = torch.randint(2, 8, (N,))
        picks = torch.multinomial(torch.tensor([0.2, 0.5, 0.3]), N, replacement=True)
        rows = torch.multinomial(torch.tensor([[0.2, 0.8]]).expand(N, 2), 1)
        waits = torch.empty(N).exponential_(2.0)
        wide = torch.empty(N).uniform_(-3, 1)
        normal = torch.empty(N).normal_(5, 2)
        fair = torch.empty(N).bernoulli_(0.25)
    close = 5 / N**0.5
    assert abs(ones.mean() - 0.3) < close
    assert faces.min() == 2
    assert faces.max() == 7
    assert abs(faces.double().mean() - 4.5) < 2 * close
    assert (picks.bincount() / N - torch.tensor([0.2, 0.5, 0.3])).abs().max() < close
    assert rows.shape == (N, 1)
    assert abs(rows.double().mean() - 0.8) < close
    assert abs(waits.mean() - 0.5) < close
    assert abs(wide.mean() + 1) < 2 * close
    assert abs(normal.std() - 2) < 2 * close
    assert abs(fair.mean() - 0.25) < close


def test_seeds_examples_and_draws_differ():
    with noise(0, 3):
        a, b = torch.randn(3, 4), torch.randn(3, 4)
    with noise(1, 3):
        c = torch.randn(3, 4)
    values = torch.cat([a, b, c]).flatten()
    assert len(values.unique()) == len(values)


@pytest.mark.parametrize("split", [1, 3, 4, 8, 16])
def test_an_example_does_not_depend_on_its_batch(split):
    def drawn(first, n):
        with noise(7, n, first=first):
            return torch.cat(
                [torch.randn(n, 3), torch.rand(n, 2), torch.randint(9, (n, 2)).float()], 1
            )

    parts = torch.cat([drawn(i, min(split, 16 - i)) for i in range(0, 16, split)])
    assert torch.equal(parts, drawn(0, 16))


class Walk(torch.nn.Module):
    """A chain that draws many times, and a layer that computes."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 4)

    def sample(self, n, cond=None):
        x = torch.randn(n, 4)
        for _ in range(5):
            x = self.net(x) + torch.randn_like(x)
        return x


@pytest.mark.parametrize("batch", [1, 3, 4, 8])
def test_samples_do_not_depend_on_the_batch(batch):
    model = Walk()
    assert (draw(model, 16, seed=3, batch=batch) - draw(model, 16, seed=3)).abs().max() < 1e-5
    assert not torch.equal(draw(model, 16, seed=4), draw(model, 16, seed=3))


class Overflows:
    """Of its examples the fourth holds NaN and the fifth infinity, batch after batch."""

    def sample(self, n, cond=None):
        x = torch.ones(n, 2)
        x[3:4, 1], x[4:5, 0] = math.nan, math.inf
        return x


def test_samples_that_are_not_finite_are_refused_where_that_is_asked_for():
    assert draw(Overflows(), 6).isnan().sum() == 1
    assert draw(Overflows(), 6, batch=3, finite=True).equal(torch.ones(6, 2))
    with pytest.raises(UserError, match=r"2 of 6 hold NaN or infinity.*smaller or more steps"):
        draw(Overflows(), 8, batch=6, finite=True)
    for x in (torch.ones(3), torch.arange(3), torch.zeros(0, 2)):
        assert check_finite(x) is x


def test_drawing_leaves_the_global_stream_and_the_mode_alone():
    model = Walk().train()
    state = torch.get_rng_state()
    draw(model, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
