"""signatures: what a function's parameters may be, read from its source without importing it.

A list or a help page of recipes then costs no import of torch. Annotations are evaluated among the
types of `pofx.parameters` and the aliases of the file; defaults are literals, groups of literals,
rules (`follows`), or names of such in this file or in one that it imports from.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pofx import parameters
from pofx.parameters import BARE, GROUPS, Follows, Range

ROOT = Path(__file__).parent
_MOST = 2**31 - 1
"""The largest whole number that a parameter takes."""
_KINDS = {int: "int", float: "float", bool: "bool", str: "str"}
_JSON = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
_PLAIN = {kind.__name__: kind for kind in _KINDS}
_RANGES: dict[str, Callable[..., Range]] = {
    "at_least": parameters.at_least, "above": parameters.above, "between": parameters.between,
}  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "ints": (tuple, list),
    "floats": (tuple, list),
}
_WORDS = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "str": "a word",
    "ints": "whole numbers separated by commas, such as 64,64",
    "floats": "numbers separated by commas, such as 0.2,0.8",
}


@dataclass(frozen=True)
class Parameter:
    """A keyword argument, as a signature declares it.

    Args:
        name: as in Python, where it is called flat.
        type: `int`, `float`, `bool`, `str`, or `ints` and `floats` for tuples.
        default: its value, or the rule that it follows.
        meaning: one clause.
        choices: the values of a `Literal`.
        optional: whether None is allowed.
        range: of its value, or of each of its numbers.
        group: the argument of the function that it is a field of, if it is one.
    """

    name: str
    type: str
    default: Any
    meaning: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False
    range: Range = field(default_factory=Range)
    group: str = ""

    @property
    def flag(self) -> str:
        """The parameter on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as one would type it, or its rule in words; empty if there is none.

        >>> Parameter("hidden", "ints", (256, 256)).default_text
        '256,256'
        """
        if isinstance(self.default, Follows):
            return self.default.words
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(f"{v:g}" for v in self.default) or "none"
        plain = isinstance(self.default, bool | str)
        return str(self.default).lower() if plain else f"{self.default:.12g}"

    @property
    def json_schema(self) -> dict[str, Any]:
        """The parameter as a JSON Schema, for forms and services.

        >>> Parameter("lr", "float", 1e-3, "learning rate.", range=Range(0, open="(")).json_schema
        {'description': 'learning rate.', 'type': 'number', 'exclusiveMinimum': 0, 'default': 0.001}
        """
        one: dict[str, Any] = {"type": _JSON[self.type.removesuffix("s")]}
        if self.choices:
            one["enum"] = list(self.choices)
        ends = (("least", "(", "inimum"), ("most", ")", "aximum"))
        for end, mark, word in ends:
            value = getattr(self.range, end)
            if math.isfinite(value):
                one[f"exclusiveM{word}" if mark in self.range.open else f"m{word}"] = value
        many = self.type in ("ints", "floats")
        shape = {"type": "array", "items": one} if many else one
        if isinstance(self.default, Follows):
            return {"description": f"{self.meaning} Default: {self.default.words}.", **shape}
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        return {"description": self.meaning, **shape, "default": default}

    def problem(self, value: Any) -> str | None:
        """Returns what is wrong with a value, as the end of a sentence; None if nothing is.

        >>> Parameter("hidden", "ints", (256,), range=Range(1)).problem((0,))
        'must be at least 1 (got 0): give a larger one'
        """
        if value is None and self.optional:
            return None
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)} (got {value!r}): choose one of them"
        numbers = value if self.type in ("ints", "floats") else (value,)
        whole = self.type in ("int", "ints")
        if not isinstance(value, _TYPES[self.type]) or not all(
            self._is_one(v, whole=whole) for v in numbers
        ):
            return f"must be {_WORDS[self.type]} (got {value!r}): give another value"
        return None if self.type in ("bool", "str") else self._out_of_range(numbers, whole=whole)

    def _is_one(self, v: Any, *, whole: bool) -> bool:
        if self.type in ("bool", "str"):
            return True
        kind = int if whole else int | float
        return isinstance(v, kind) and not isinstance(v, bool) and (whole or math.isfinite(v))

    def _out_of_range(self, numbers: tuple[float, ...], *, whole: bool) -> str | None:
        for v in numbers:
            if not self.range.holds(v):
                cure = "larger" if v <= self.range.least else "smaller"
                got = ",".join(map(repr, numbers))
                return f"must be {self.range.words} (got {got}): give a {cure} one"
            if whole and v > _MOST:
                return f"must be at most {_MOST:,} (got {v:,}): give a smaller one"
        return None


class Kind(NamedTuple):
    """A type, taken apart."""

    type: str
    choices: tuple[str, ...]
    optional: bool
    range: Range
    help: str


def kind_of(annotation: Any) -> Kind | None:
    """Takes a type apart; None if no parameter can be of it.

    >>> kind_of(parameters.Count | None)
    Kind(type='int', choices=(), optional=True, range=Range(least=1, most=inf, open=''), help='')
    """
    if get_origin(annotation) in (Union, UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        found = kind_of(inner[0]) if len(inner) == 1 else None
        return found and found._replace(optional=True)
    if get_origin(annotation) is Annotated:
        base, *notes = get_args(annotation)
        found = kind_of(base)
        if found is None:
            return None
        ranges = [n for n in notes if isinstance(n, Range)]
        texts = [n for n in notes if isinstance(n, str)]
        return found._replace(range=[found.range, *ranges][-1], help=[found.help, *texts][-1])
    if get_origin(annotation) is Literal:
        return Kind("str", get_args(annotation), False, Range(), "")
    if get_origin(annotation) is tuple:
        of = kind_of(get_args(annotation)[0])
        return of and of._replace(type=f"{of.type}s")
    plain = _KINDS.get(annotation) if isinstance(annotation, type) else None
    return None if plain is None else Kind(plain, (), False, Range(), "")


def of_function(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword arguments of a function in memory, those that are of a parameter's type.

    >>> def draw(n: int, *, steps: parameters.Count | None = None, noise: object = None): ...
    >>> [(p.name, p.range.words) for p in of_function(draw).values()]
    [('steps', 'at least 1')]
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # of a model of the user's own
        return {}
    meanings, found = argument_meanings(inspect.getdoc(function) or ""), {}
    for name, argument in inspect.signature(function).parameters.items():
        kind = kind_of(hints.get(name))
        if argument.kind is inspect.Parameter.KEYWORD_ONLY and kind is not None:
            meaning = meanings.get(name, kind.help)
            found[name] = Parameter(name, kind.type, argument.default, meaning, *kind[1:4])
    return found


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


class Source:
    """A file of the package, as far as its top level says.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.tree = _parsed(path)
        self.docstring = ast.get_docstring(self.tree) or ""

    def function(self, name: str) -> ast.FunctionDef | None:
        """The function of that name."""
        found = (n for n in self.tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
        return next(found, None)

    def parameters(self, name: str) -> tuple[Parameter, ...]:
        """The keyword arguments of a function, groups taken apart."""
        function = self.function(name)
        assert function is not None
        meanings = argument_meanings(ast.get_docstring(function) or "")
        arguments = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        return tuple(
            parameter
            for argument, default in arguments
            for parameter in self._declared(argument, default, meanings.get(argument.arg, ""))
        )

    def _declared(
        self, argument: ast.arg, default: ast.expr | None, meaning: str
    ) -> Iterator[Parameter]:
        assert argument.annotation is not None
        assert default is not None
        name, annotation = argument.arg, self._type(argument.annotation)
        value = self._value(default)
        if annotation in GROUPS.values():
            yield from _fields(name, annotation, value)
            return
        kind = kind_of(annotation)
        assert kind is not None, f"{name} cannot be of type {annotation}"
        yield Parameter(name, kind.type, value, meaning or kind.help, *kind[1:4])

    def _type(self, node: ast.expr) -> Any:
        """The type that an annotation names."""
        match node:
            case ast.Constant(value=None):
                return None
            case ast.Name(id=name):
                return self._named(name)
            case ast.BinOp(left=left, right=right):
                assert self._type(right) is None
                return self._type(left) | None
            case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
                return Literal[ast.literal_eval(values)]
            case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[of, *_])):
                return tuple[self._type(of), ...]  # type: ignore[misc]
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[of, *notes])):
                return Annotated[(self._type(of), *map(self._note, notes))]
        raise AssertionError(f"a parameter cannot be of type {ast.unparse(node)}")

    def _named(self, name: str) -> Any:
        """The type of that name: one of `parameters`, of Python, or of this file or another."""
        if name in _PLAIN or name in vars(parameters):
            return _PLAIN.get(name) or vars(parameters)[name]
        here, there = self.assigned(name), self.imported(name)
        if here is not None:
            return self._type(here)
        assert there is not None, f"nothing is called {name}"
        return there._named(name)

    def _note(self, node: ast.expr) -> Any:
        """A range, such as `between(0, 1)`, or a text."""
        if not isinstance(node, ast.Call):
            return ast.literal_eval(node)
        assert isinstance(node.func, ast.Name)
        named = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
        return _RANGES[node.func.id](*map(ast.literal_eval, node.args), **named)

    def assigned(self, name: str) -> ast.expr | None:
        """What the name is set to at the top level of the file."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if name in [t.id for t in targets if isinstance(t, ast.Name)]:
                    return node.value
        return None

    def imported(self, name: str) -> Source | None:
        """The file of the package that the name is imported from."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and name in [a.name for a in node.names]:
                module = (node.module or "").removeprefix("pofx.").replace(".", "/")
                return Source(ROOT / f"{module}.py")
        return None

    def _value(self, node: ast.expr) -> Any:
        """The value of a default; of a group, a mapping of its fields; of a rule, its words."""
        if isinstance(node, ast.Name):
            here = self.assigned(node.id)
            if here is not None:
                return self._value(here)
            source = self.imported(node.id)
            assert source is not None, f"nothing in this file is called {node.id}"
            return source._value(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "follows":
                return Follows(ast.literal_eval(node.args[0]), _no_rule)
            return {k.arg: self._value(k.value) for k in node.keywords}
        return ast.literal_eval(node)


def _no_rule() -> None:
    raise AssertionError("a rule that was read from a source cannot be followed")


def _fields(argument: str, group: type, given: Mapping[str, Any]) -> Iterator[Parameter]:
    """The parameters that a group carries."""
    meanings = argument_meanings(_dedented(group.__doc__ or ""))
    types = get_type_hints(group, include_extras=True)
    for f in fields(group):
        kind = kind_of(types[f.name])
        assert kind is not None
        assert f.name in given or f.default is not MISSING, f"{argument} gives no {f.name}"
        value = given.get(f.name, f.default)
        name = flat_name(argument, f.name)
        yield Parameter(name, kind.type, value, meanings[f.name], *kind[1:4], group=argument)


def flat_name(argument: str, name: str) -> str:
    """Returns what a field of a group is called flat.

    >>> flat_name("training", "lr"), flat_name("critic", "channels")
    ('lr', 'critic_channels')
    """
    return name if argument in BARE else f"{argument}_{name}"


def _dedented(docstring: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in docstring.splitlines())


def argument_meanings(docstring: str) -> dict[str, str]:
    """The text of each parameter in the `Args:` section of a docstring without indentation."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    items = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}
