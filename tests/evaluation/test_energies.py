"""Energies of samples beside those of data."""

import math

import pytest
import torch

from pofx.data.source import load
from pofx.ebm.harmonium import SmallHarmonium
from pofx.ebm.units import Bits
from pofx.evaluation.energies import energy_gap
from pofx.evaluation.evaluate import evaluate


def pit(depth: float) -> SmallHarmonium:
    """A machine whose visible units, independent coins, are all on together in a valley."""
    rbm = SmallHarmonium(Bits((8,)), 1, sweeps=20)
    with torch.no_grad():
        rbm.weight.fill_(depth)
        rbm.hidden_bias.fill_(-6 * depth)
    return rbm


def test_samples_of_the_model_itself_have_no_gap():
    rbm = pit(1.0)
    torch.manual_seed(0)
    x = rbm.sample(3000)
    gap, words = energy_gap(rbm, x[:1000], x[1000:2000], x[2000:])
    assert abs(gap.value) < 0.3
    assert abs(gap.floor) < 0.3
    assert not words


def test_a_valley_without_data_is_named_with_its_cure():
    rbm = pit(4.0)
    torch.manual_seed(0)
    x = (torch.rand(400, 8) < 0.3).float()
    fake = rbm.sample(200)
    gap, (said,) = energy_gap(rbm, x[:200], fake, x[200:])
    assert gap.value > 5
    assert abs(gap.floor) < 0.5
    assert "Spurious valleys" in said
    assert "--k" in said


def test_an_evaluation_says_it():
    torch.manual_seed(0)
    data = load((torch.rand(600, 8) < 0.3).to(torch.uint8).numpy())
    report = evaluate(pit(4.0), data)
    assert report.metrics["energy_gap"].value > 5
    assert any("Spurious valleys" in w for w in report.warnings)


class TwoSided(torch.nn.Module):
    """N(0, I), whose constant is told wrongly from above."""

    def __init__(self, above):
        super().__init__()
        self.above = above

    def energy(self, x, cond=None):
        return x.square().sum(1) / 2

    def log_partition(self):
        return math.log(2 * math.pi), 0.01

    def log_partition_above(self):
        return math.log(2 * math.pi) + self.above, 0.01

    def sample(self, n, cond=None):
        return torch.randn(n, 2)


@pytest.mark.parametrize(("above", "told"), [(0.5, False), (40.0, True), (-40.0, True)])
def test_a_constant_whose_sides_disagree_is_told_of(above, told):
    torch.manual_seed(0)
    data = load(torch.randn(300, 2).numpy())
    report = evaluate(TwoSided(above), data, n=50)
    said = [w for w in report.warnings if "Log Z from below and from above" in w]
    assert bool(said) == told
    assert abs(report.likelihood.gap - above) < 1e-9
    assert not told or "40.0 nats apart" in said[0]
