"""Arguments that no recipe can serve: one sentence, before anything is written."""

from pathlib import Path

import pytest
import torch

from pofx import catalogue
from pofx.errors import UserError
from pofx.recipe import Adam
from pofx.spec import Binary, DataSpec
from pofx.training.fit import fit
from pofx.training.loop import NonFinite

REFUSED = [
    ("gan", {"beta1": 1.0}, r"--beta1 must be at least 0 and below 1 \(got 1\.0\)"),
    ("wgan-gp", {"beta1": -0.1}, r"--beta1 must be at least 0 and below 1 \(got -0\.1\)"),
    ("wgan-gp", {"beta2": 1.5}, r"--beta2 must be at least 0 and below 1 \(got 1\.5\)"),
    ("gpt", {"weight_decay": -1.0}, r"--weight-decay must be at least 0 \(got -1\.0\)"),
    ("ladder-vae", {"width": 0}, r"--width must be at least 1 \(got 0\)"),
    ("gan", {"latent": 0}, r"--latent must be at least 1 \(got 0\)"),
    ("wgan-gp", {"latent": 0}, r"--latent must be at least 1 \(got 0\)"),
    ("maf", {"hidden": ()}, "--hidden must be one width or more"),
    ("iaf", {"hidden": ()}, "--hidden must be one width or more"),
    ("ffjord", {"hidden": ()}, "--hidden must be one width or more"),
    ("vae", {"hidden": [64, "x"]}, r"--hidden must be whole numbers .*\[64, 'x'\]"),
    ("vae", {"hidden": [True]}, r"--hidden must be whole numbers .*\[True\]"),
]


@pytest.mark.parametrize(("name", "arguments", "match"), REFUSED)
def test_a_value_that_cannot_be_is_named(name, arguments, match):
    with pytest.raises(UserError, match=match):
        catalogue.build(name, DataSpec((4,), Binary()), **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"steps": "5"}, "--steps is a whole number from 1, and '5' came"),
        ({"steps": 2.5}, r"--steps is a whole number from 1, and 2\.5 came"),
        ({"minutes": "5"}, "--minutes is a positive number, and '5' came"),
        ({"save_every": 0}, "--save-every is a whole number from 1, and 0 came"),
        ({"threads": "2"}, "--threads is a whole number from 1, and '2' came"),
    ],
)
def test_a_budget_and_counts_are_numbers(arguments, match):
    with pytest.raises(UserError, match=match):
        fit("vae", **arguments)
    assert not Path("runs").exists()


def test_averages_without_memory_and_long_ones_are_served():
    parameter = torch.nn.Parameter(torch.ones(1))
    Adam(0.1, (0.0, 0.9999)).build([parameter])


@pytest.mark.parametrize("name", ["maf", "residual-flow"])
def test_a_step_that_is_far_too_long_is_told_of(name):
    with pytest.raises(NonFinite, match=r"loss of player 'model' .* at step 2"):
        fit(name, "two-moons", lr=1e30, steps=3, layers=1, hidden=(4,), quiet=True)
