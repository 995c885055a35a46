"""Recipes can be run by shapes alone, and take then what they take in earnest."""

import pytest
from zoo import SPECS, build, examples

from pofx.batch import Batch
from pofx.training.dry_run import META, DryRun, Meter, take_step, without_numbers


def height(name: str, kind: str, *, dry: bool) -> int:
    with DryRun() if dry else Meter():
        recipe = build(name, kind)
    if dry:
        without_numbers(recipe.objective)
    x, cond = examples(SPECS[kind], 24)
    with DryRun() if dry else Meter() as meter:
        take_step(recipe.objective, Batch(x.to(META) if dry else x, cond))
    return meter.peak


CASES = [
    ("vae", "grey"), ("nade", "bits"), ("realnvp", "grey"), ("gan", "vector"), ("gpt", "grey"),
    ("ddpm", "vector"), ("rbm", "bits"), ("deep-energy", "vector"), ("iaf", "vector"),
    ("made", "table"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_shapes_alone_find_what_a_real_step_takes(name, kind):
    assert height(name, kind, dry=True) == pytest.approx(height(name, kind, dry=False), rel=0.2)
