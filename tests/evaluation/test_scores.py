"""Inception score, energy and sliced distances, modes, disentanglement."""

import math

import pytest
import torch

from pofx.evaluation.disentanglement import mutual_information_gap, total_correlation
from pofx.evaluation.inception_score import inception_score
from pofx.evaluation.modes import mode_coverage
from pofx.evaluation.two_sample import energy_distance, sliced_wasserstein


def test_inception_score_of_known_answers():
    """REFERENCES 13: K sure and even classes give K, a constant 1, ten classes at .9 5.79955."""
    sure = 1000 * torch.eye(7, dtype=torch.float64).repeat(3, 1)
    assert inception_score(sure).value == pytest.approx(7, abs=1e-9)
    assert inception_score(torch.ones(20, 7)).value == pytest.approx(1, abs=1e-9)
    p = torch.full((10, 10), 0.1 / 9, dtype=torch.float64).fill_diagonal_(0.9)
    assert inception_score(p.log()).value == pytest.approx(5.79955, abs=1e-5)
    halves = inception_score(torch.cat([p.log(), p.log()]), splits=2)
    assert halves.value == pytest.approx(5.79955, abs=1e-5)
    assert halves.std == pytest.approx(0, abs=1e-12)


def test_energy_distance_equals_the_definition_and_is_unbiased():
    a, b = torch.randn(700, 3, dtype=torch.float64), torch.randn(600, 3, dtype=torch.float64) + 1
    across = torch.cdist(a, b).mean()
    within = [torch.cdist(t, t).sum() / (len(t) * (len(t) - 1)) for t in (a, b)]
    assert energy_distance(a, b) == pytest.approx(float(2 * across - sum(within)), rel=1e-9)
    equal = torch.tensor([energy_distance(*torch.randn(2, 60, 2)) for _ in range(150)])
    assert abs(float(equal.mean())) < 4 * float(equal.std()) / 150**0.5
    assert (equal < 0).any()


def test_energy_distance_of_two_points():
    a, b = torch.zeros(4, 2), torch.tensor([[3.0, 4.0]]).repeat(5, 1)
    assert energy_distance(a, b) == pytest.approx(10.0)


def test_sliced_wasserstein():
    line, moved = torch.randn(500, 1), torch.randn(500, 1) * 2 + 1
    sorted_difference = (line.sort(0).values - moved.sort(0).values).square().mean().sqrt()
    assert sliced_wasserstein(line, moved) == pytest.approx(float(sorted_difference), rel=1e-5)
    cloud = torch.randn(300, 6)
    shift = torch.tensor([3.0, 4.0, 0, 0, 0, 0])
    assert sliced_wasserstein(cloud, cloud + shift, slices=4000) == pytest.approx(5.0, rel=0.05)
    assert sliced_wasserstein(cloud, cloud.repeat(3, 1)) == pytest.approx(0, abs=1e-6)


GRID = torch.cartesian_prod(torch.arange(-4.0, 5, 2), torch.arange(-4.0, 5, 2))


def test_an_ideal_sampler_of_a_known_mixture():
    """REFERENCES 5a: within three standard deviations lie 1 - exp(-4.5) = 98.889 %."""
    which = torch.arange(50_000) % 25
    found = mode_coverage(GRID[which] + 0.05 * torch.randn(50_000, 2), GRID, 0.05)
    assert found.modes == 25
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert found.reverse_kl == pytest.approx(0, abs=1e-3)


def test_modes_that_are_missed_uneven_or_between():
    halves = mode_coverage(GRID[[0, 0, 0, 1]], GRID, 0.05)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert (halves.modes, halves.high_quality) == (2, 1.0)
    assert halves.reverse_kl == pytest.approx(math.log(25) - entropy)
    between = mode_coverage(torch.ones(8, 2), GRID, 0.05)
    assert (between.modes, between.high_quality) == (0, 0.0)
    assert between.reverse_kl == pytest.approx(math.log(25))


def test_disentanglement():
    """REFERENCES 13: a one-to-one code has a gap of 1; a normal with correlation .5, .143841."""
    factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    assert mutual_information_gap(factors.float(), factors) == pytest.approx(1, abs=1e-12)
    assert mutual_information_gap(factors.flip(1) * -3.0, factors) == pytest.approx(1, abs=1e-12)
    twice = torch.cat([factors, factors], 1).float()
    assert mutual_information_gap(twice, factors) == pytest.approx(0, abs=1e-12)
    alone = mutual_information_gap(factors[:, :1].float(), factors)
    assert alone == pytest.approx(0.5, abs=1e-12)
    s = torch.tensor([[4.0, 1.5], [1.5, 2.25]])
    assert total_correlation(s) == pytest.approx(-math.log(1 - 0.25) / 2, abs=1e-6)
    assert total_correlation(s) == pytest.approx(0.143841, abs=1e-6)


def test_codes_at_uneven_places_and_constant_factors():
    """A code that tells a factor without error has the gap 1, wherever its values lie."""
    factor = torch.arange(4).repeat(50)
    places = torch.tensor([0.0, 1e-6, 1.0, 1000.0], dtype=torch.float64)
    code = places[factor][:, None]
    noisy = code + 1e-8 * torch.rand(200, 1, dtype=torch.float64)
    for codes in (code, noisy):
        assert mutual_information_gap(codes, factor[:, None]) == pytest.approx(1, abs=1e-9)
    many = torch.arange(50).repeat(20)
    assert mutual_information_gap(many[:, None] ** 3.0, many[:, None]) == pytest.approx(1)
    beside = torch.stack([factor, torch.full_like(factor, 7)], 1)
    assert mutual_information_gap(code, beside) == pytest.approx(1, abs=1e-9)
    # half of the examples of two levels in one place: I = log 2 - log(2) / 2 of H = log 2
    halves = torch.tensor([0, 0, 1, 1]).repeat(50)
    told = torch.tensor([0.0, 0.1, 0.1, 0.5]).repeat(50)[:, None]
    assert mutual_information_gap(told, halves[:, None]) == pytest.approx(0.5, abs=1e-9)


def test_an_uninformative_code_has_no_gap():
    factor = torch.arange(4).repeat(1000)
    gap = mutual_information_gap(torch.randn(4000, 1), factor[:, None])
    assert 0 <= gap < 0.02  # (20 - 1) (4 - 1) / (2 n) nats of log 4, by chance
