"""Draws of 0 and 1 against their probabilities, and where they come from."""

import math

import pytest
import torch
import torch.nn.functional as F

from pofx.functional.bernoulli import draw, log_prob
from pofx.functional.random import noise, streams_of


def test_shares_are_the_probabilities_down_to_rare_ones():
    torch.manual_seed(0)
    n = 1 << 20
    for p in (0.0, 2.0**-16, 0.1, 0.5, 0.999, 1.0):
        drawn = draw(torch.full((n + 1,), p))
        assert set(drawn.unique().tolist()) <= {0.0, 1.0}
        error = math.sqrt(p * (1 - p) / n)
        assert abs(float(drawn.double().mean()) - p) <= 4.5 * error


def test_neighbors_and_draws_are_independent():
    torch.manual_seed(1)
    a, b = draw(torch.full((1 << 18,), 0.5)), draw(torch.full((1 << 18,), 0.5))
    for x, y in ((a, b), (a[1:], a[:-1]), (a[2:], a[:-2])):
        assert abs(float((x == y).double().mean()) - 0.5) < 4.5 * 0.5 / 2**9


def test_torchs_seed_fixes_them():
    def drawn():
        torch.manual_seed(3)
        return draw(torch.full((100, 100), 0.3)), draw(torch.full((100, 100), 0.3))

    first, second = drawn(), drawn()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(*first)


def test_a_few_numbers_keyed_ones_and_those_of_former_runs_are_torchs():
    few, p = torch.full((10,), 0.3), torch.full((100, 100), 0.3)
    for block, like in ((None, few), (lambda: streams_of(1), p)):
        torch.manual_seed(5)
        true = (torch.rand_like(like) < like).float()
        torch.manual_seed(5)
        if block is None:
            found = draw(like.clone())
        else:
            with block():
                found = draw(like.clone())
        assert torch.equal(found, true)
    with noise(0, 100):
        true = (torch.rand_like(p) < p).float()
    with noise(0, 100):
        assert torch.equal(draw(p.clone()), true)


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
