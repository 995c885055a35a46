"""Defaults that follow how many examples there are; without a count they are what they were."""

from dataclasses import replace

import pytest

from pofx import catalogue
from pofx.spec import Binary, DataSpec, Real

BITS = DataSpec((6,), Binary())


def decay(name: str, count: int | None, **arguments) -> float:
    recipe = catalogue.build(name, replace(BITS, count=count), **arguments)
    return recipe.optimizers["model"].weight_decay


@pytest.mark.parametrize(
    ("count", "made", "nade"), [(50, 240.0, 80.0), (400, 30.0, 10.0), (60_000, 1.0, 0.1)]
)
def test_weights_decay_faster_where_examples_are_few(count, made, nade):
    assert decay("made", count) == made
    assert decay("nade", count) == nade
    assert decay("made", count, weight_decay=0.5) == 0.5


@pytest.mark.parametrize(
    ("count", "bipartite", "any_two"),
    [(50, 1.6, 6.4), (400, 0.025, 0.1), (60_000, 0, 0), (None, 0, 0)],
)
def test_weights_between_units_decay_where_examples_are_few(count, bipartite, any_two):
    spec = replace(BITS, count=count)
    rbm, boltzmann = (catalogue.build(n, spec, hidden=3).objective for n in ("rbm", "boltzmann"))
    dbn = catalogue.build("dbn", spec, hidden=(3, 3)).objective
    assert rbm.weight_decay == pytest.approx(bipartite)
    assert dbn.stages[1].weight_decay == pytest.approx(bipartite)
    assert boltzmann.weight_decay == pytest.approx(any_two)
    given = catalogue.build("rbm", spec, hidden=3, weight_decay=0.0).objective
    assert given.weight_decay == 0


@pytest.mark.parametrize("name", ["made", "nade"])
@pytest.mark.parametrize(("count", "few"), [(999, True), (1000, False), (None, False)])
def test_what_has_no_count_is_built_as_ever(name, count, few):
    model = catalogue.build(name, replace(BITS, count=count)).model
    assert (model.marginals is not None) == few
    assert any(k.startswith("marginals") for k in model.state_dict()) == few


def test_a_count_says_nothing_of_what_an_example_is():
    spec, known = DataSpec((2,), Real()), DataSpec((2,), Real(), count=7)
    assert spec == known
    assert hash(spec) == hash(known)
    assert DataSpec.from_json(known.to_json()).count == 7
    assert "count" not in spec.to_json()
    assert DataSpec.from_json(spec.to_json()).count is None
