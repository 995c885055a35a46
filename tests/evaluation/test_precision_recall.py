import pytest
import torch

from pofx.errors import UserError
from pofx.evaluation.precision_recall import (
    expected_coverage,
    neighbour_distance,
    precision_recall,
)


def plain(real, fake, k):
    """The definitions, by full distance matrices."""
    exact = "donot_use_mm_for_euclid_dist"
    within_real = torch.cdist(real, real, compute_mode=exact).sort(1).values[:, k]
    within_fake = torch.cdist(fake, fake, compute_mode=exact).sort(1).values[:, k]
    d = torch.cdist(real, fake, compute_mode=exact)  # (reals, fakes)
    in_real, in_fake = d <= within_real[:, None], d <= within_fake[None, :]
    return (
        float(in_real.any(0).double().mean()),
        float(in_fake.any(1).double().mean()),
        float(in_real.sum(0).double().mean() / k),
        float(in_real.any(1).double().mean()),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definitions_in_blocks(k):
    real = torch.randn(310, 4, dtype=torch.float64)
    fake = torch.randn(170, 4, dtype=torch.float64) * 0.7 + 0.3
    found = precision_recall(real, fake, k=k, block=64)
    assert found == pytest.approx(plain(real, fake, k), abs=1e-12)


def test_by_hand():
    """Reals at 0, 1, 2, 3 have balls of radius 1; fakes at 0.5, 0.6, 10 of radius .1, .1, 9.4."""
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[0.5], [0.6], [10.0]])
    found = precision_recall(real, fake, k=1)
    assert found.precision == pytest.approx(2 / 3)  # 10 lies in no ball
    assert found.recall == pytest.approx(3 / 4)  # of 1, 2 and 3, which the ball of 10 reaches
    assert found.density == pytest.approx((2 + 2 + 0) / 3)
    assert found.coverage == pytest.approx(1 / 2)  # the balls of 0 and 1


def test_precision_is_of_the_fakes():
    """A collapsed sampler is precise and covers nothing; a swap would say the reverse."""
    real = torch.randn(1000, 2)
    collapsed = real[:1] + 1e-4 * torch.randn(1000, 2)
    found = precision_recall(real, collapsed, k=3)
    assert found.precision > 0.99
    assert found.recall < 0.01
    assert found.coverage < 0.01
    scattered = precision_recall(real, 20 * torch.randn(1000, 2), k=3)
    assert scattered.precision < 0.1
    assert scattered.recall > 0.9


@pytest.mark.parametrize(
    ("d", "k", "expected"), [(2, 3, 0.98), (2, 5, 0.996), (64, 3, 0.63), (64, 5, 0.72)]
)
def test_equal_distributions_do_not_score_one(d, k, expected):
    """REFERENCES 13, n = 1,000, within .02."""
    found = torch.tensor(
        [precision_recall(*torch.randn(2, 1000, d), k=k)[:2] for _ in range(4)]
    ).mean(0)
    assert found.tolist() == pytest.approx([expected, expected], abs=0.02)


@pytest.mark.parametrize(("k", "expected"), [(3, 0.8754), (5, 0.9690)])
def test_coverage_and_density_of_equal_distributions(k, expected):
    """REFERENCES 13: coverage by formula; density 1 within .05 in two dimensions."""
    assert expected_coverage(1000, 1000, k) == pytest.approx(expected, abs=1e-4)
    found = [precision_recall(*torch.randn(2, 1000, 2), k=k) for _ in range(4)]
    assert sum(f.coverage for f in found) / 4 == pytest.approx(expected, abs=0.015)
    assert sum(f.density for f in found) / 4 == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("a", "precision", "density"), [(0.25, 0.74, 0.75), (0.5, 0.495, 0.509)])
def test_shifted_uniforms(a, precision, density):
    """REFERENCES 13: U[0, 1] against U[a, 1 + a], n = 4,000, k = 3."""
    found = precision_recall(torch.rand(4000, 1), torch.rand(4000, 1) + a, k=3)
    assert found.precision == pytest.approx(precision, abs=0.03)
    assert found.recall == pytest.approx(precision, abs=0.03)
    assert found.density == pytest.approx(density, abs=0.04)


def test_neighbours_leave_the_row_itself_out():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert neighbour_distance(x, 1).tolist() == [1.0, 1.0, 4.0]
    assert neighbour_distance(x, 2, block=2).tolist() == [9.0, 4.0, 9.0]


def test_too_few_rows():
    with pytest.raises(UserError, match="more than 5 rows"):
        precision_recall(torch.zeros(5, 2), torch.zeros(9, 2), k=5)
