"""A prior of codes with a decoder: codes come back to the units that the decoder knows."""

import torch
from torch import nn

from pofx.hybrids.two_stage import TwoStage


class Ones:
    """A prior that draws ones, or the class of each where it is told."""

    def __init__(self, *, conditional=False):
        self.conditional = conditional

    def sample(self, n, cond=None):
        assert (cond is not None) == self.conditional
        return torch.ones(n, 2) if cond is None else cond[:, None].expand(n, 2).float()


class Twice(nn.Module):
    """A decoder that doubles a code, and adds the class of each where it heeds one."""

    def __init__(self, *, conditional=False):
        super().__init__()
        self.conditional = conditional

    def encode(self, x, cond=None):
        return x / 2

    def decode(self, z, cond=None):
        assert (cond is not None) == self.conditional
        return 2 * z if cond is None else 2 * z + cond[:, None]


MEAN, STD = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5])


def test_codes_are_multiplied_by_their_spread_and_then_moved_to_their_mean():
    model = TwoStage(Ones(), Twice(), MEAN, STD)
    assert not model.conditional
    expected = 2 * (STD + MEAN)
    assert torch.equal(model.sample(3), expected.expand(3, 2))
    assert torch.equal(model.sample(3, torch.arange(3)), expected.expand(3, 2))


def test_each_is_told_the_class_that_heeds_it():
    cond = torch.tensor([0, 2, 1])
    prior = TwoStage(Ones(conditional=True), Twice(), MEAN, STD)
    assert torch.equal(prior.sample(3, cond), 2 * (cond[:, None] * STD + MEAN))
    decoder = TwoStage(Ones(), Twice(conditional=True), MEAN, STD)
    assert torch.equal(decoder.sample(3, cond), 2 * (STD + MEAN) + cond[:, None])
    assert prior.conditional
    assert decoder.conditional
