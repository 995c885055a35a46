"""Chains whose mixing is known, judged by an evaluation."""

from itertools import islice, repeat

import torch

from pofx.capabilities import Walks
from pofx.data.source import load
from pofx.ebm.harmonium import Harmonium, SmallHarmonium
from pofx.ebm.units import Bits
from pofx.evaluation.chains import judge_chains
from pofx.evaluation.evaluate import evaluate
from pofx.mcmc.chains import Chains
from pofx.mcmc.langevin import langevin
from pofx.mcmc.mala import mala


class Walker:
    """Chains of N(0, I), or of two far modes."""

    def __init__(self, kernel, steps=400, apart=0.0):
        self.kernel, self.steps, self.apart = kernel, steps, apart

    def energy(self, x):
        far = x.sign() * self.apart
        return (x - far).square().sum(1) / 2

    def walk(self, n):
        start = torch.randn(n, 2) * (1 + self.apart)
        return islice(self.kernel(self, start), self.steps)


def by_langevin(model, start):
    return langevin(lambda x: x.sign() * model.apart - x, start, 0.5)


def by_mala(model, start):
    return mala(model.energy, start, 0.5)


def test_sound_chains_are_sound_and_their_draws_are_counted():
    """An autoregression with rho = 3/4: a seventh of the 64 chains' 200 steps."""
    metrics, words = judge_chains(Walker(by_langevin))
    assert metrics["r_hat"].value < 1.05
    assert 1000 < metrics["effective_draws"].value < 2300
    assert "acceptance" not in metrics
    assert not words


def test_refusals_are_counted_where_there_are_any():
    metrics, _ = judge_chains(Walker(by_mala))
    assert 0.5 < metrics["acceptance"].value < 1


def test_chains_that_stay_where_they_began_are_told_of():
    metrics, (said,) = judge_chains(Walker(by_langevin, apart=5.0))
    assert metrics["r_hat"].value > 2
    assert metrics["effective_draws"].value < 200
    assert "had not forgotten their start" in said
    assert said.endswith("let chains go further.")


def test_the_options_that_let_chains_go_further_are_named():
    far = Harmonium(Bits((8,)), 20, sweeps=40)
    torch.nn.init.constant_(far.weight, 4.0)
    torch.nn.init.constant_(far.visible.bias, -40.0)
    torch.nn.init.constant_(far.hidden_bias, -16.0)
    _, (said,) = judge_chains(far)
    assert said.endswith("let chains go further: sample with more --sweeps or --tempering.")


def test_too_few_steps_and_what_never_moves_say_nothing():
    assert judge_chains(Walker(by_langevin, steps=5)) == ({}, [])
    assert judge_chains(Walker(lambda model, start: repeat(Chains(0 * start)), 20)) == ({}, [])


def test_an_evaluation_of_a_harmonium_says_it_the_same_for_the_same_seed():
    torch.manual_seed(0)
    rbm = SmallHarmonium(Bits((8,)), 3, sweeps=60)
    assert isinstance(rbm, Walks)
    data = load((torch.rand(300, 8) < 0.3).to(torch.uint8).numpy())
    once, again = (evaluate(rbm, data, seed=3).metrics for _ in range(2))
    assert once["r_hat"] == again["r_hat"]
    assert once["r_hat"].value < 1.1
    assert 500 < once["effective_draws"].value
