"""Stochastic equations whose laws or paths are known."""

import itertools
import math

import pytest
import torch

from pofx.solvers.sde import euler_maruyama

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_law_of_ornstein_and_uhlenbeck():
    """dx = -a x dt + b dw from 1 has the mean and variance of the recursion that the steps are."""
    a, b, n, steps = 1.3, 0.7, 40_000, 40
    x = euler_maruyama(lambda t, x: -a * x, lambda t, x: b, torch.ones(n), 0.0, 2.0, steps)
    h = 2 / steps
    shrink = 1 - a * h
    mean = shrink**steps
    variance = b**2 * h * (1 - shrink ** (2 * steps)) / (1 - shrink**2)
    assert x.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / n))
    assert x.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    assert (mean, variance) == pytest.approx(
        (math.exp(-2 * a), b**2 / (2 * a) * (1 - math.exp(-4 * a))), abs=0.03
    )


def strong_errors(counts, monkeypatch):
    """Of geometric Brownian motion, on the noise of the finest grid."""
    mu, sigma, n, finest = 0.4, 0.9, 2000, 256
    fine = torch.randn(finest, n) / math.sqrt(finest)
    exact = torch.exp(mu - sigma**2 / 2 + sigma * fine.sum(0))
    errors = []
    for steps in counts:
        parts = iter(fine.reshape(steps, -1, n).sum(1) * math.sqrt(steps))
        monkeypatch.setattr(torch, "randn_like", lambda x, parts=parts: next(parts))
        x = euler_maruyama(
            lambda t, x: mu * x, lambda t, x: sigma * x, torch.ones(n), 0.0, 1.0, steps
        )
        errors.append((x - exact).abs().mean().item())
    return errors


def test_strong_order_of_one_half(monkeypatch):
    errors = strong_errors((16, 64, 256), monkeypatch)
    for a, b in itertools.pairwise(errors):
        assert math.log(a / b) / math.log(4) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.75), (0.75, 0.5)])
def test_a_step_takes_both_slopes_where_it_starts(start, end, monkeypatch):
    """Ito's sum: x + h f(t, x) + sqrt|h| g(t, x) e, with f = t x^2 and g = t x."""
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    x, root = torch.tensor([[2.0], [-0.3]]), 0.5
    found = euler_maruyama(lambda t, x: t * x**2, lambda t, x: t * x, x, start, end, 1)
    assert torch.allclose(found, x + (end - start) * start * x**2 + root * start * x, atol=1e-12)


def test_backwards_in_time_noise_comes_too():
    x = euler_maruyama(
        lambda t, x: x, lambda t, x: torch.ones_like(x), torch.zeros(40_000), 1.0, 0.0, 50
    )
    h = 1 / 50
    variance = h * (1 - (1 - h) ** 100) / (1 - (1 - h) ** 2)
    assert x.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / 40_000))


def test_the_caller_keeps_his_start():
    x = torch.ones(3)
    euler_maruyama(lambda t, x: -x, lambda t, x: 0.5, x, 0.0, 1.0, 3)
    assert torch.equal(x, torch.ones(3))
