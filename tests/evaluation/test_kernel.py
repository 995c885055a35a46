import pytest
import torch

from pofx.errors import UserError
from pofx.evaluation.kernel import kernel_distance, kernel_distance_by_subsets


def plain(a, b):
    """The definition, over all pairs."""
    d, n, m = a.shape[1], len(a), len(b)
    aa, bb, ab = ((p @ q.T / d + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    own_a = (aa.sum() - aa.trace()) / (n * (n - 1))
    own_b = (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(own_a + own_b - 2 * ab.mean())


def test_equals_the_definition_over_several_blocks():
    a = torch.randn(600, 5, dtype=torch.float64)
    b = torch.randn(500, 5, dtype=torch.float64) + 0.2
    assert kernel_distance(a, b).value == pytest.approx(plain(a, b), rel=1e-10)
    assert kernel_distance(a.float(), b.float()).value == pytest.approx(plain(a, b), rel=1e-3)
    whole = kernel_distance_by_subsets(a[:500], b, subsets=2, size=500)
    assert whole.value == pytest.approx(plain(a[:500], b), rel=1e-10)
    assert whole.stderr < 1e-12


def expected_kernel(a, b, c, d):
    """E k(x, y) for x ~ N(m, I), y ~ N(l, I) with a = |m|^2, b = |l|^2, c = m . l."""
    second = d + a + b + c**2
    third = c**3 + 3 * c * (a + b) + (3 * d + 6) * c
    return 1 + 3 * c / d + 3 * second / d**2 + third / d**3


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_unbiased_and_its_standard_error_is_that_of_repetition(shift):
    """REFERENCES 13: the mean is 0 for equal distributions; single values may be negative."""
    d, s = 8, 8 * shift**2
    truth = expected_kernel(0, 0, 0, d) + expected_kernel(s, s, s, d)
    truth -= 2 * expected_kernel(0, s, 0, d)
    found = []
    for seed in range(150):
        g = torch.Generator().manual_seed(seed)
        a, b = torch.randn(100, d, generator=g), torch.randn(120, d, generator=g) + shift
        found.append(kernel_distance(a, b))
    values = torch.tensor([f.value for f in found])
    spread = float(values.std())
    assert abs(float(values.mean()) - truth) < 3 * spread / 150**0.5
    assert bool((values < 0).any()) == (shift == 0)
    stated = torch.tensor([f.stderr for f in found]).square().mean().sqrt()
    assert float(stated) == pytest.approx(spread, rel=0.25)


def test_it_is_the_same_either_way_round():
    a, b = torch.randn(40, 3).double(), 2 * torch.randn(95, 3).double() + 1
    there, back = kernel_distance(a, b), kernel_distance(b, a)
    assert there.value == pytest.approx(back.value, rel=1e-10)
    assert there.stderr == pytest.approx(back.stderr, rel=1e-10)


def test_subsets_agree_with_all_pairs():
    a, b = torch.randn(800, 6), torch.randn(800, 6) * 1.3
    all_pairs = kernel_distance(a, b)
    subsets = kernel_distance_by_subsets(a, b, subsets=40, size=200)
    assert abs(subsets.value - all_pairs.value) < 4 * (subsets.stderr + 0.2 * all_pairs.stderr)
    again = kernel_distance_by_subsets(a, b, subsets=40, size=200)
    assert again == subsets


def test_widths_must_agree():
    with pytest.raises(UserError, match="equal width"):
        kernel_distance(torch.zeros(5, 3), torch.zeros(5, 4))
