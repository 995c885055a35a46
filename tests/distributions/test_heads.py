"""Every likelihood sums or integrates to one, and its samples follow it."""

import pytest
import torch

from pofx.distributions.heads import head
from pofx.distributions.logistic import discretized_logistic_log_prob
from pofx.functional.dequantize import values
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real

DISCRETE = [Binary(), Bytes(2), Bytes(17), Bytes(256), Categorical(5)]


@pytest.mark.parametrize("support", DISCRETE, ids=str)
def test_masses_sum_to_one(support):
    h = head(DataSpec((1,), support)).double()
    parameters = 3 * torch.randn(20, h.channels, dtype=torch.float64)
    levels = values(torch.arange(support.levels), support).double()
    total = sum(h.log_prob(parameters, v.expand(20, 1)).exp() for v in levels)
    assert torch.allclose(total, torch.ones(20, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("support", DISCRETE, ids=str)
def test_samples_follow_the_masses(support):
    h = head(DataSpec((1,), support))
    n = 40_000
    parameters = torch.randn(1, h.channels).expand(n, -1)
    x = h.sample(parameters)
    for k in range(min(support.levels, 5)):
        v = values(torch.tensor(k), support)
        p = h.log_prob(parameters[:1], v.expand(1, 1)).exp().item()
        seen = (x == v).float().mean().item()
        assert abs(seen - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1e-4


def test_a_far_mean_and_a_narrow_scale_stay_finite():
    grid = values(torch.arange(256), Bytes(256))
    for mean in (-300.0, 0.0, 300.0):
        for log_scale in (-7.0, 3.0):
            log_prob = discretized_logistic_log_prob(
                grid, grid * 0 + mean, grid * 0 + log_scale, 256
            )
            assert log_prob.isfinite().all()


@pytest.mark.parametrize("support", [Real(), Interval()], ids=str)
def test_the_gaussian_is_a_density_with_a_learned_variance(support):
    h = head(DataSpec((1,), support)).double()
    with torch.no_grad():
        h.log_sigma.fill_(-0.5)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    mass = torch.trapezoid(h.log_prob(torch.zeros_like(grid) + 0.2, grid).exp(), grid[:, 0])
    assert abs(mass.item() - 1) < 1e-9
    assert h.log_sigma.requires_grad


def test_a_table_is_the_sum_of_its_columns():
    columns = (Real(), Categorical(4), Binary())
    h = head(DataSpec((3,), Mixed(columns)))
    parameters = torch.randn(6, h.channels)
    x = h.sample(parameters)
    parts = torch.zeros(6)
    for i, (column, own) in enumerate(zip(columns, parameters.split(h.widths, 1), strict=True)):
        parts += head(DataSpec((1,), column)).log_prob(own, x[:, i : i + 1])
    assert torch.allclose(h.log_prob(parameters, x), parts, atol=1e-6)
    assert h.mean(parameters).shape == x.shape
