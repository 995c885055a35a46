import math

import pytest
import torch
from scipy.linalg import sqrtm

from pofx.errors import UserError
from pofx.evaluation.blocks import Stopped
from pofx.evaluation.bootstrap import bootstrap
from pofx.evaluation.frechet import (
    expected_bias,
    frechet_distance,
    frechet_from_moments,
    moments,
)


def by_sqrtm(a, b):
    m1, m2, s1, s2 = a.mean(0), b.mean(0), torch.cov(a.T), torch.cov(b.T)
    root = torch.from_numpy(sqrtm((s1 @ s2).numpy()).real)
    return float(((m1 - m2) ** 2).sum() + s1.trace() + s2.trace() - 2 * root.trace())


def correlated(n, d, shift=0.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + shift


def test_two_normal_distributions():
    eye = torch.eye(3, dtype=torch.float64)
    zero, one = torch.zeros(3), torch.ones(3)
    assert frechet_from_moments(zero, eye, one, 4 * eye) == pytest.approx(6.0, abs=1e-12)


@pytest.mark.parametrize("d", [3, 40, 300])
def test_agrees_with_the_matrix_square_root(d):
    a, b = correlated(800, d), correlated(700, d, shift=0.3, seed=1)
    expected = by_sqrtm(a, b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a.float(), b.float()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 500), (500, 30), (39, 41)])
def test_fewer_rows_than_features_and_singular_covariances_agree(n, m):
    a, b = correlated(n, 40), correlated(m, 40, seed=1)
    first, second = moments(a), moments(b)
    by_moments = frechet_from_moments(first.mean, first.covariance, second.mean, second.covariance)
    assert frechet_distance(a, b) == pytest.approx(by_moments, rel=1e-8)


def test_a_feature_that_never_varies():
    a, b = correlated(200, 5), correlated(200, 5, seed=1)
    dead = [torch.cat([t, torch.full((200, 2), c)], 1) for t, c in ((a, 1.0), (b, 1.5))]
    assert frechet_distance(*dead) == pytest.approx(frechet_distance(a, b) + 2 * 0.25, rel=1e-8)


@pytest.mark.parametrize("n", [50, 1000])
def test_a_set_is_at_distance_zero_from_itself(n):
    a = correlated(n, 64).float()
    scale = float(torch.cov(a.T).trace())
    assert abs(frechet_distance(a, a.clone())) < 1e-6 * scale


def test_a_far_centre_costs_no_precision():
    a, b = correlated(3000, 8), correlated(3000, 8, seed=1)
    near = frechet_distance(a, b)
    far = frechet_distance((a + 1000).float(), (b + 1000).float())
    assert far == pytest.approx(near, rel=1e-4)


def test_moments_over_several_blocks():
    x = correlated(9000, 300).float()
    m = moments(x)
    assert torch.allclose(m.covariance, torch.cov(x.double().T), rtol=1e-5, atol=1e-4)
    assert torch.allclose(m.mean, x.double().mean(0), atol=1e-9)


@pytest.mark.parametrize(("d", "n"), [(64, 1000), (16, 500)])
def test_the_bias_of_equal_distributions(d, n):
    """REFERENCES 13: 2 d / n + d (d + 1) / (2 n)."""
    values = []
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        values.append(
            frechet_distance(torch.randn(n, d, generator=g), torch.randn(n, d, generator=g))
        )
    mean = sum(values) / len(values)
    assert expected_bias(n, n, d) == pytest.approx(2 * d / n + d * (d + 1) / (2 * n))
    assert mean == pytest.approx(expected_bias(n, n, d), rel=0.05)


def test_the_bootstrap_interval_covers_the_figures_of_other_samples():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(400, 4, generator=g), torch.randn(400, 4, generator=g) + 0.5
    interval = bootstrap(frechet_distance, a, b, resamples=100)
    others = torch.tensor(
        [
            frechet_distance(
                torch.randn(400, 4, generator=g), torch.randn(400, 4, generator=g) + 0.5
            )
            for _ in range(60)
        ]
    )
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low == pytest.approx(4 * float(others.std()), rel=0.35)


def test_what_cannot_be_compared_is_said_in_one_sentence():
    with pytest.raises(UserError, match=r"equal width \(got \(5, 3\) and \(5, 4\)\)"):
        frechet_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(UserError, match="at least two rows"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))


def test_it_stops_when_asked():
    with pytest.raises(Stopped):
        frechet_distance(torch.randn(10, 2), torch.randn(10, 2), lambda: True)
    assert math.isfinite(frechet_distance(torch.randn(10, 2), torch.randn(10, 2), lambda: False))
