"""Averages of weights: how fast they forget, early and late."""

import math

import pytest
from torch import nn

from pofx.training.ema import EMA


def average(half_life):
    """Of a weight that was 1 and is 0 ever since."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    ema = EMA(model, half_life)
    nn.init.zeros_(model.weight)
    return ema


def test_late_it_forgets_a_half_in_each_half_life():
    ema = average(20.0)
    for step in range(100_000, 100_020):
        ema.update(step)
    assert float(ema.model.weight) == pytest.approx(0.5)
    for step in range(100_020, 100_060):
        ema.update(step)
    assert float(ema.model.weight) == pytest.approx(0.125)


@pytest.mark.parametrize("n", [1, 5, 60])
def test_early_it_forgets_the_start_however_long_its_half_life(n):
    """The product of (1 + t) / (10 + t) up to n is (n + 1)! 10! / (n + 10)!."""
    ema = average(1e9)
    for step in range(1, n + 1):
        ema.update(step)
    expected = math.factorial(10) / math.perm(n + 10, 9)
    assert float(ema.model.weight) == pytest.approx(expected, rel=1e-9)


def test_a_short_half_life_is_kept_from_the_start():
    ema = average(1.0)
    for step in range(8, 12):  # where (1 + t) / (10 + t) is one half, and above
        ema.update(step)
    assert float(ema.model.weight) == pytest.approx(0.5**4)


def test_no_average_is_taken_of_what_no_gradient_moves():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, 10.0)
    model.running_mean.fill_(3.0)
    ema.update(1)
    assert float(ema.model.running_mean[0]) == 0.0
    assert ema.synchronised().running_mean.tolist() == [3.0, 3.0]
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert not ema.model.training
