"""The logit of what is bounded: it comes back, and its Jacobian is the derivative."""

import torch

from pofx.functional.unbound import bound, unbound

C = torch.tensor([0.0, 0.95, 1 - 1e-5], dtype=torch.float64)


def test_it_comes_back_and_what_is_real_passes():
    x = 2 * torch.rand(100, 3, dtype=torch.float64) - 1
    x[:, 0] *= 30
    x[0, 1:], x[1, 1:] = -1, 1
    y, ladj = unbound(x, C)
    assert y.isfinite().all()
    assert ladj.isfinite().all()
    assert torch.allclose(bound(y, C), x, atol=1e-9)
    assert torch.equal(y[:, 0], x[:, 0])
    assert not ladj[:, 0].any()


def test_the_jacobian_is_the_derivative_and_gradients_are_finite():
    x = (1.8 * torch.rand(50, 3, dtype=torch.float64) - 0.9).requires_grad_()
    y, ladj = unbound(x, C)
    (slope,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert torch.allclose(slope.log(), ladj)
    (bend,) = torch.autograd.grad(ladj.sum(), x)
    assert bend.isfinite().all()
    z = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    (back,) = torch.autograd.grad(bound(z, C).sum(), z)
    assert back.isfinite().all()
