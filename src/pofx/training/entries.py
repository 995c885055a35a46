"""entries: what each entry of `run.json` may be.

A run folder may have been edited or damaged, and what it says decides what is built, drawn and
trained: each value is held against its type and its range before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from pofx.errors import UserError

_LARGEST = (1 << 63) - 1
_ELEMENTS = 1 << 31
_TEXT = 1 << 20
_SHOWN = 60


class EntryError(UserError):
    """A value is of another type than it should be, or out of its range."""


class Rule(NamedTuple):
    """What a value must be, in words, and whether one is."""

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int = _LARGEST) -> Rule:
    """A whole number of a range."""
    words = f"a whole number from {least:,}" + ("" if most == _LARGEST else f" to {most:,}")
    return Rule(words, lambda v: _is_whole(v) and least <= v <= most)


def one_of(*values: str | None) -> Rule:
    """One of a few words."""
    return Rule(f"one of {', '.join(map(str, values))}", lambda v: v in values and _is_plain(v))


def maybe(rule: Rule) -> Rule:
    """What a rule allows, or nothing."""
    return Rule(f"{rule.words}, or none", lambda v: v is None or rule.holds(v))


def listed(rule: Rule, least: int = 0) -> Rule:
    """A list of what a rule allows."""
    return Rule(
        f"a list, each {rule.words}",
        lambda v: isinstance(v, list | tuple) and len(v) >= least and all(map(rule.holds, v)),
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) < math.inf


def _finite(value: Any) -> bool:
    try:
        return _is_finite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


COUNT = whole(1)
SEED = whole(-(1 << 63))
NUMBER = Rule("a finite number", _finite)
POSITIVE = Rule("a positive number", lambda v: _finite(v) and v > 0)
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("a text", lambda v: isinstance(v, str) and len(v) <= _TEXT)
WORD = Rule("a name", lambda v: isinstance(v, str) and 0 < len(v) <= _TEXT and "\0" not in v)
TABLE = Rule("a set of named values", lambda v: isinstance(v, dict))
_SIZE = whole(1, 1 << 20)

JOB = {
    "format": COUNT,
    "recipe": WORD,
    "arguments": TABLE,
    "source": TABLE,
    "spec": TABLE,
    "schema": TABLE,
    "fingerprint": TEXT,
    "options": TABLE,
    "steps": maybe(COUNT),
    "minutes": maybe(POSITIVE),
    "device": WORD,
    "threads": maybe(whole(1, 1024)),
    "save_every": maybe(COUNT),
    "sample_every": maybe(COUNT),
    "keep": one_of("last", "best"),
    "command": TEXT,
    "versions": TABLE,
}
OPTIONS = {
    "seed": SEED,
    "accumulate": COUNT,
    "precision": one_of("float32", "bfloat16"),
    "clip": maybe(POSITIVE),
    "on_nonfinite": one_of("stop", "skip", "rollback"),
    "keyed_noise": FLAG,
}
SOURCE = {
    "source": WORD,
    "seed": SEED,
    "binarize": one_of(None, "threshold", "sample", "dynamic"),
    "dequantize": FLAG,
    "resize": Rule(
        "a side, or height and width", lambda v: v is None or _SIZE.holds(v) or _is_size(v)
    ),
    "classes": maybe(listed(TEXT)),
    "standardize": FLAG,
    "limit": maybe(COUNT),
    "length": maybe(COUNT),
    "tokens": one_of(None, "characters", "bytes", "bpe"),
    "label": maybe(TEXT),
}
_NAMES = listed(Rule("a name or a number", lambda v: TEXT.holds(v) or _is_whole(v)), 1)
LOADING = {
    **{k: v for k, v in SOURCE.items() if k != "source"},
    "classes": maybe(Rule("names", lambda v: TEXT.holds(v) or _NAMES.holds(v))),
}
"""What a user may give to have data loaded; names of classes may be a list, or between commas."""
_LEVELS = whole(1, 1 << 24)
_SUPPORTS: dict[str, dict[str, Rule]] = {
    "real": {},
    "binary": {},
    "interval": {"levels": _LEVELS},
    "bytes": {"levels": _LEVELS},
    "categorical": {"levels": _LEVELS},
}
_SPEC = {
    "shape": listed(whole(1, _ELEMENTS)),
    "support": TABLE,
    "log_scale": NUMBER,
}
_CLASSES = {"classes": whole(0, 1 << 20), "class_names": listed(TEXT)}
"""How a spec said that its condition is a class in runs of format 2 and before."""
_SCHEMA = {
    "spec": TABLE,
    "columns": listed(TABLE),
    "header": FLAG,
    "delimiter": Rule("one character", lambda v: isinstance(v, str) and len(v) == 1),
    "mode": Rule("the mode of an image", lambda v: isinstance(v, str) and len(v) <= 8),
    "levels": whole(0, 1 << 24),
    "mean": listed(NUMBER, 1),
    "std": listed(POSITIVE, 1),
    "integer": FLAG,
    "low": NUMBER,
    "high": NUMBER,
    "tokens": maybe(TABLE),
    "label": maybe(
        Rule(
            "a name and a place",
            lambda v: isinstance(v, list) and len(v) == 2 and TEXT.holds(v[0]) and _is_whole(v[1]),
        )
    ),
}
_COLUMN = {
    "name": TEXT,
    "kind": one_of("float", "int", "binary", "category"),
    "mean": NUMBER,
    "std": POSITIVE,
    "low": NUMBER,
    "high": NUMBER,
    "decimals": maybe(whole(-400, 400)),
    "categories": listed(TEXT),
    "missing": FLAG,
}
_TOKENS = {
    "kind": one_of("characters", "bytes", "bpe"),
    "characters": TEXT,
    "tokenizer": Rule("a text", lambda v: isinstance(v, str)),
}


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str = "") -> None:
    """Holds the values that have a rule against it.

    Args:
        values: by name; what is not there is not missed.
        rules: likewise.
        where: comes before the names.

    Raises:
        EntryError: names the first that breaks its rule.
    """
    for name, rule in rules.items():
        if name in values and not rule.holds(values[name]):
            raise EntryError(f"'{where}{name}' must be {rule.words} (got {shown(values[name])})")


def check_given(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Holds what a user gave against the rules of its flags.

    Raises:
        EntryError: a sentence that names the flag.
    """
    for name, value in values.items():
        if name in rules and not rules[name].holds(value):
            raise EntryError(
                f"--{name.replace('_', '-')} must be {rules[name].words} (got {shown(value)}): "
                "give another."
            )


def shown(value: object) -> str:
    """A value in a sentence, however long it is."""
    text = repr(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def check_job(content: Mapping[str, Any]) -> None:
    """Holds all entries of a `run.json` against their rules, and one against the other.

    Raises:
        EntryError: names the first that is not as it must be.
    """
    check(content, JOB)
    check(content["options"], OPTIONS, "options ")
    check(content["source"], SOURCE, "source ")
    if not content["source"].get("source"):
        raise EntryError("'source' must name data")
    for name, version in content["versions"].items():
        check({name: version}, {name: TEXT}, "versions ")
    if content["steps"] is not None and content["minutes"] is not None:
        raise EntryError("'steps' and 'minutes' must not both be given")
    _check_spec(content["spec"])
    if not content["spec"]["shape"]:
        raise EntryError("'spec shape' must have an axis")
    _check_schema(content["schema"], content["spec"])


def _check_spec(spec: Mapping[str, Any]) -> None:
    _all(spec, _SPEC, "spec ")
    check(spec, {"count": maybe(whole(1, 1 << 48))}, "spec ")
    if "classes" in spec:
        _all(spec, _CLASSES, "spec ")
        names, count = spec["class_names"], spec["classes"]
        if len(names) not in (0, count) or len(set(names)) < len(names):
            raise EntryError("'spec class_names' must name each class once")
    elif "cond" not in spec:
        raise EntryError("'spec' must have the entry 'cond'")
    elif spec["cond"] is not None:
        check(spec, {"cond": TABLE}, "spec ")
        if spec["cond"].get("cond") is not None:
            raise EntryError("'spec cond' must have no condition of its own")
        _check_spec(spec["cond"])
    shape = spec["shape"]
    if math.prod(shape) > _ELEMENTS:
        raise EntryError(f"'spec shape' must have at most {_ELEMENTS:,} elements (got {shape})")
    support = spec["support"]
    mixed = support.get("name") == "mixed"
    if mixed:
        _all(support, {"columns": listed(TABLE, 1)}, "spec support ")
        if shape != [len(support["columns"])]:
            raise EntryError("'spec support' must have one column for each element")
    for one in support["columns"] if mixed else [support]:
        _check_support(one)


def _check_support(support: Mapping[str, Any]) -> None:
    name = support.get("name")
    if not isinstance(name, str) or name not in _SUPPORTS:
        raise EntryError(f"'spec support' must be of a known name (got {shown(name)})")
    _all(support, _SUPPORTS[name], "spec support ")
    if names := support.get("names"):
        check(support, {"names": listed(TEXT)}, "spec support ")
        if len(names) != support["levels"] or len(set(names)) < len(names):
            raise EntryError("'spec support names' must name each level once")


def _check_schema(schema: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    _all(schema, {k: v for k, v in _SCHEMA.items() if k not in ("tokens", "label")}, "schema ")
    check(schema, _SCHEMA, "schema ")
    # a schema does not know how many examples there were
    described = {k: v for k, v in spec.items() if k != "count"}
    if schema["spec"] != described:
        raise EntryError("'schema spec' must be the spec")
    for name in ("mean", "std"):
        if len(schema[name]) not in (1, math.prod(spec["shape"])):
            raise EntryError(f"'schema {name}' must have one number, or one for each element")
    for column in schema["columns"]:
        _all(column, {"name": TEXT, "kind": _COLUMN["kind"]}, "schema columns ")
        check(column, _COLUMN, "schema columns ")
        if len(set(column.get("categories", []))) < len(column.get("categories", [])):
            raise EntryError("'schema columns categories' must name each category once")
    if schema.get("tokens"):
        _all(schema["tokens"], _TOKENS, "schema tokens ")


def _all(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str) -> None:
    """All of the rules' values, none of which may be missing."""
    for name in rules:
        if name not in values:
            raise EntryError(f"'{where}{name}' must be given")
    check(values, rules, where)


def _is_size(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_SIZE.holds, value))
