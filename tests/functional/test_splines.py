"""Rational-quadratic splines: they come back, their Jacobian is the derivative, and outside they
are the identity.
"""

import math

import pytest
import torch

from pofx.functional.splines import LEAST, inverse_spline, spline


def case(bins=8, scale=2.0, n=400):
    torch.manual_seed(0)
    x = torch.linspace(-4, 4, n, dtype=torch.float64).expand(3, n)
    return x, scale * torch.randn(3 * bins - 1, 3, n, dtype=torch.float64)


@pytest.mark.parametrize(("bins", "scale"), [(2, 1.0), (8, 2.0), (20, 2.0)])
def test_it_comes_back_and_the_jacobian_is_the_derivative(bins, scale):
    x, raw = case(bins, scale)
    x = x.clone().requires_grad_()
    y, ladj = spline(x, raw, 3.0)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope.log(), ladj, atol=1e-8, rtol=0)
    assert torch.allclose(inverse_spline(y, raw, 3.0), x, atol=1e-10, rtol=0)


def test_outside_it_is_the_identity_and_zeros_are_too():
    x, raw = case()
    y, ladj = spline(x, raw, 3.0)
    outside = x.abs() >= 3
    assert torch.allclose(y[outside], x[outside], atol=1e-12, rtol=0)
    assert ladj[outside].abs().max() < 1e-10
    y, ladj = spline(x, torch.zeros_like(raw), 3.0)
    assert torch.allclose(y, x, atol=1e-12, rtol=0)
    assert ladj.abs().max() < 1e-12


def test_it_joins_the_identity_with_a_slope_of_one():
    for x in (-3 + 1e-9, 3 - 1e-9):
        x, raw = torch.full((50,), x, dtype=torch.float64), torch.randn(11, 50, dtype=torch.float64)
        assert spline(x, raw, 3.0)[1].abs().max() < 1e-6


def test_it_is_the_function_of_the_paper():
    """Softmax to widths and heights, cumulative sums to knots, softplus to slopes, eq. 4."""
    x, raw = case(bins=4)
    y, _ = spline(x, raw, 3.0)
    shares = [(w * math.log(2)).softmax(0) for w in raw.split([4, 4, 3])[:2]]
    edges = [torch.cat([0 * s[:1], (LEAST + (1 - 4 * LEAST) * s).cumsum(0)]) for s in shares]
    xs, ys = (6 * e - 3 for e in edges)
    one = torch.tensor(1 - LEAST, dtype=torch.float64).expm1().log()
    slopes = torch.ones_like(xs)
    slopes[1:-1] = LEAST + torch.nn.functional.softplus(raw[8:] + one)
    for j in range(3):
        for i in range(0, x.shape[1], 7):
            k = int((xs[1:-1, j, i] <= x[j, i]).sum())
            if x[j, i].abs() >= 3:
                continue
            (x0, x1), (y0, y1), (d0, d1) = (t[k : k + 2, j, i] for t in (xs, ys, slopes))
            s, xi = (y1 - y0) / (x1 - x0), (x[j, i] - x0) / (x1 - x0)
            top = (y1 - y0) * (s * xi**2 + d0 * xi * (1 - xi))
            expected = y0 + top / (s + (d1 + d0 - 2 * s) * xi * (1 - xi))
            assert torch.isclose(y[j, i], expected, atol=1e-11, rtol=0)


def test_gradients_are_those_of_finite_differences():
    x, raw = case(bins=3, n=8)
    x, raw = x.clone().requires_grad_(), raw.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, raw: spline(x, raw, 3.0), (x, raw))
    assert torch.autograd.gradcheck(lambda x, raw: inverse_spline(x, raw, 3.0), (x, raw))


def test_no_number_is_too_large():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.tensor([-1e30, -3.0, 0.0, 3.0, 1e30])
        raw = 1e6 * torch.randn(23, 5)
        raw = raw.to(dtype).requires_grad_()
        y, ladj = spline(x, raw, 3.0)
        (grad,) = torch.autograd.grad(y.sum() + ladj.sum(), raw)
        assert y.isfinite().all()
        assert ladj.isfinite().all()
        assert grad.isfinite().all()
        assert inverse_spline(x, raw, 3.0).isfinite().all()
