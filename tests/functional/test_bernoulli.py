"""Log-probabilities of zeros and ones, and their derivatives."""

import pytest
import torch
import torch.nn.functional as F

from pofx.functional.bernoulli import log_prob


@pytest.mark.parametrize("given", [True, False])
def test_log_probabilities_and_two_derivatives_are_those_of_float64(given):
    torch.manual_seed(0)
    logits = (8 * torch.randn(6, 40)).requires_grad_()
    x = (torch.rand(6, 40) < 0.5).float() if given else None
    weight = torch.randn(6)

    def derivatives(f, logits):
        value = f(logits)
        (first,) = torch.autograd.grad((value * weight.to(value)).sum(), logits, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), logits)
        return value, first, second

    def true(logits):
        values = torch.zeros_like(logits) if x is None else x.to(logits)
        return -F.binary_cross_entropy_with_logits(logits, values, reduction="none").sum(1)

    found = derivatives(lambda v: log_prob(v, x), logits)
    for a, b in zip(
        found, derivatives(true, logits.detach().double().requires_grad_()), strict=True
    ):
        assert torch.allclose(a.double(), b, rtol=1e-5, atol=1e-5)
    (plain,) = torch.autograd.grad((log_prob(logits, x) * weight).sum(), logits)
    assert torch.allclose(plain, found[1], rtol=1e-6, atol=1e-7)


def test_log_probabilities_under_transforms_and_of_values_with_a_gradient():
    torch.manual_seed(0)
    logits, x = torch.randn(3, 5), torch.rand(3, 5)
    slope = torch.func.vmap(torch.func.grad(lambda v, x: log_prob(v[None], x[None]).sum()))
    assert torch.allclose(slope(logits, x), x - logits.sigmoid(), atol=1e-6)
    x.requires_grad_()
    (of_x,) = torch.autograd.grad(log_prob(logits, x).sum(), x)
    assert torch.equal(of_x, logits)
