"""Draws of 0 and 1 against their probabilities, and where they come from."""

import math

import torch

from pofx.functional.bernoulli import draw
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
