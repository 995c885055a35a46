"""Parameters that are declared once: their types, ranges, rules and schemas."""

import contextlib
import json
from typing import Annotated, Literal

import pytest

from pofx import catalogue
from pofx.errors import RecipeError
from pofx.parameters import (
    GROUPS,
    Count,
    Follows,
    Range,
    Training,
    above,
    at_least,
    between,
    follows,
    settled,
)
from pofx.signatures import ROOT, Source, argument_meanings, kind_of
from pofx.spec import Binary, Bytes, DataSpec

RECIPES = list(catalogue.entries())
IMAGES = DataSpec((1, 8, 8), Bytes(17), count=2000)
LIKE = {"integer": int, "number": float, "boolean": bool, "string": str}


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_has_help_a_type_and_a_default_that_may_be(name):
    for p in catalogue.describe(name).parameters:
        assert p.meaning.endswith("."), f"{name} {p.flag} needs a sentence"
        if not isinstance(p.default, Follows):
            assert p.problem(p.default) is None
        whole = p.type in ("int", "ints")
        assert not whole or p.range.least > float("-inf"), f"{name} {p.flag} needs a range"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_its_source_says(name):
    """What is read without an import is what is imported."""
    read = {p.name: p.default for p in catalogue.describe(name).parameters}
    imported = catalogue._defaults(name)
    assert list(read) == list(imported)
    for key, value in imported.items():
        if isinstance(value, Follows):
            assert read[key].words == value.words
        else:
            assert read[key] == value


@pytest.mark.parametrize("name", RECIPES)
def test_a_json_schema_can_be_written_and_says_as_much(name):
    schema = json.loads(json.dumps(catalogue.json_schema(name)))
    for p in catalogue.describe(name).parameters:
        found = schema["properties"][p.name]
        one = found.get("items", found)
        assert one["type"] in LIKE
        assert one.get("enum", []) == list(p.choices)


def test_settings_hold_every_value_and_build_the_same_recipe():
    for spec in (IMAGES, DataSpec((6,), Binary(), count=400)):
        for name in ("vae", "realnvp", "ddpm", "gan", "wavenet"):
            try:
                full = catalogue.settings(name, spec, batch_size=7)
                recipe, again = (
                    catalogue.build(name, spec, **a) for a in ({"batch_size": 7}, full)
                )
            except RecipeError:
                continue
            assert full.keys() == {p.name for p in catalogue.describe(name).parameters}
            assert not any(isinstance(v, Follows) for v in full.values())
            assert (recipe.batch_size, recipe.steps, recipe.optimizers) == (
                again.batch_size,
                again.steps,
                again.optimizers,
            )
            shapes = [[tuple(q.shape) for q in r.model.parameters()] for r in (recipe, again)]
            assert shapes[0] == shapes[1]
            assert catalogue.settings(name, spec, **full) == full


def test_rules_follow_what_they_name():
    large, small = DataSpec((1, 28, 28), Bytes()), DataSpec((1, 8, 8), Bytes())
    found = [catalogue.settings("vae", spec)["network"] for spec in (large, small, DataSpec((3,)))]
    assert found == ["resnet", "conv", "mlp"]
    assert catalogue.settings("vae", small, channels=0)["network"] == "mlp"
    assert catalogue.settings("ddpm", large)["patch"] == 2
    assert catalogue.settings("ddpm", small, network="dit")["patch"] == 2
    assert settled({"a": follows("b", lambda b: b), "b": follows("1", lambda: 1)}, {}, None) == {
        "a": 1,
        "b": 1,
    }


def test_one_field_of_a_group_leaves_the_others():
    adam = catalogue.build("gan", IMAGES, lr=5e-4).optimizers["generator"]
    assert (adam.lr, adam.betas) == (5e-4, (0.0, 0.99))


@pytest.mark.parametrize(
    ("interval", "words", "inside", "outside"),
    [
        (at_least(1), "at least 1", 1, 0.5),
        (above(0), "above 0", 0.1, 0),
        (between(0, 1), "from 0 to 1", 1, 1.1),
        (between(0, 1, without=")"), "at least 0 and below 1", 0, 1),
        (between(0, 1, without="()"), "above 0 and below 1", 0.5, 0),
        (Range(most=3), "at most 3", 3, 4),
        (Range(), "", -1e9, None),
    ],
)
def test_ranges(interval, words, inside, outside):
    assert interval.words == words
    assert interval.holds(inside)
    assert outside is None or not interval.holds(outside)


def test_types_are_taken_apart():
    kind = kind_of(Annotated[Literal["a", "b"] | None, "which."])
    assert (kind.type, kind.choices, kind.optional, kind.help) == (
        "str",
        ("a", "b"),
        True,
        "which.",
    )
    assert kind_of(Annotated[Annotated[tuple[int, ...], at_least(2)], "sizes."]).range.least == 2
    assert kind_of(Count).type == "int"
    assert kind_of(dict[str, int]) is None


def test_groups_tell_each_of_their_fields_once():
    for group in GROUPS.values():
        lines = "\n".join(x.removeprefix("    ") for x in group.__doc__.splitlines())
        assert argument_meanings(lines).keys() == group.__dataclass_fields__.keys()
    assert Source(ROOT / "flow" / "maf.py").parameters("recipe")[-1].group == "training"
    with pytest.raises(TypeError):
        Training(lr=1e-3, batch_size=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lr": 0.0}, r"vae: --lr must be above 0 \(got 0\.0\): give a larger one\."),
        ({"hidden": (8, 0)}, r"vae: --hidden must be at least 1 \(got 8,0\)"),
        ({"latent": 2.5}, r"--latent must be a whole number \(got 2\.5\)"),
        ({"latent": True}, r"--latent must be a whole number \(got True\)"),
        ({"network": "cnn"}, r"--network must be one of mlp, conv, resnet \(got 'cnn'\)"),
        ({"beta": float("nan")}, r"--beta must be a finite number \(got nan\)"),
        ({"pixel_noise": 1}, r"--pixel-noise must be true or false \(got 1\)"),
    ],
)
def test_a_value_that_cannot_be_is_one_sentence(arguments, said):
    with pytest.raises(RecipeError, match=said):
        catalogue.build("vae", IMAGES, **arguments)


@pytest.mark.parametrize("name", RECIPES)
def test_no_widths_are_a_model_or_a_sentence(name):
    """Where networks may be without hidden layers they are, and elsewhere that is said."""
    for spec in (IMAGES, DataSpec((6,), Binary(), count=400)):
        for p in catalogue.describe(name).parameters:
            if p.type == "ints":
                with contextlib.suppress(RecipeError):
                    catalogue.build(name, spec, **{p.name: ()})
