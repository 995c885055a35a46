"""catalogue: finds recipes by their files, describes them without importing them, and builds them.

A recipe is a file of a family's folder that defines `recipe`. Its name is the file's, in kebab
case; its signature is its configuration. Describing reads the source, so that a list or a help page
costs no import of torch.
"""

from __future__ import annotations

import ast
import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pofx.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from pofx.recipe import Former, Recipe
    from pofx.spec import DataSpec

ROOT = Path(__file__).parent
_NOT_FAMILIES = {
    "functional",
    "distributions",
    "solvers",
    "mcmc",
    "nn",
    "training",
    "data",
    "evaluation",
    "cli",
}


class CatalogueError(UserError):
    """No such recipe, or an argument that it does not take."""


@dataclass(frozen=True)
class Parameter:
    """A keyword argument of a recipe, as its signature declares it.

    Args:
        name: as in Python.
        type: `int`, `float`, `bool`, `str`, or `ints` for a tuple of integers.
        default: its value.
        meaning: from the docstring.
        choices: the values it may take, if it is a `Literal`.
        optional: whether None is allowed.
        checked: the smallest number that the recipe itself says it takes; None where it does not
            say.
    """

    name: str
    type: str
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    checked: float | None = None

    @property
    def least(self) -> int | None:
        """The smallest whole number that it may be, or have among its numbers; None for any."""
        if self.type == "ints" or self.name == "batch_size":
            return 1
        counts = self.type == "int" and (self.default is None or self.default >= 0)
        return 0 if counts else None

    @property
    def default_text(self) -> str:
        """The default as one would type it; empty where there is none, which the meaning tells.

        >>> Parameter("hidden", "ints", (256, 256), "widths.").default_text
        '256,256'
        """
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default)) or "none"
        plain = isinstance(self.default, bool | str)
        return str(self.default).lower() if plain else f"{self.default:.12g}"

    @property
    def range_text(self) -> str:
        """The numbers that it may be, in words; empty where that is not known.

        >>> Parameter("latent", "int", 32, "numbers in a code.", checked=1).range_text
        'at least 1'
        """
        if self.name == "lr":
            return "above 0"
        least = self.checked if self.checked is not None else self.least or None
        return "" if least is None else f"at least {least:g}"


@dataclass(frozen=True)
class Entry:
    """A recipe, described.

    Args:
        name: in kebab case.
        family: the folder of its file.
        module: the file, as Python imports it.
        title: of its paper, with authors and year.
        use: a clause that says what it is good for.
        description: the rest of its docstring, with formulas in LaTeX.
        parameters: its arguments.
    """

    name: str
    family: str
    module: str
    title: str
    use: str
    description: str
    parameters: tuple[Parameter, ...]

    @property
    def paper(self) -> str:
        """Who wrote the paper, and when."""
        match = re.search(r"\(([^()]+, \d{4})\)\.?$", self.title)
        return match[1] if match else ""


@cache
def entries() -> Mapping[str, Entry]:
    """Every recipe by name, in the order of families and names."""
    found = {}
    for folder in sorted(p for p in ROOT.iterdir() if p.is_dir() and p.name not in _NOT_FAMILIES):
        for path in sorted(folder.glob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "\ndef recipe(" in source:
                entry = _describe(folder.name, path.stem, source)
                found[entry.name] = entry
    return found


def describe(name: str) -> Entry:
    """The entry of one recipe.

    Raises:
        CatalogueError: there is none of that name, or it is no name.
    """
    known = entries()
    if not isinstance(name, str):
        raise CatalogueError(_no_name(name))
    if name not in known:
        raise CatalogueError(f"there is no recipe '{name}'; {did_you_mean(name, known)}")
    return known[name]


def _no_name(given: Any) -> str:
    """A sentence for what stands in the place of a recipe's name."""
    kind = given if isinstance(given, type) else type(given)
    got = f"the class {kind.__name__}" if kind is given else f"an object of type {kind.__name__}"
    bases = {f"{base.__module__}.{base.__name__}" for base in kind.__mro__}
    if "pofx.recipe.Recipe" in bases:
        cure = "give its name and its arguments, as in pofx.fit('vae', data='digits', latent=8)."
    elif "torch.nn.modules.module.Module" in bases or any(hasattr(given, m) for m in _MODEL):
        model = f"{kind.__name__}(...)" if kind is given else "model"
        cure = (
            "to train a model of your own, give it an objective and a `recipe` in one file, as "
            f"CONTRIBUTING.md says; `pofx.check_model({model}, spec)` and "
            f"`pofx.evaluate({model}, dataset)` take it as it is."
        )
    else:
        cure = "give the name first and then the data, as in pofx.fit('vae', data='digits')."
    return f"the recipe must be a name such as 'vae' (got {got}): {cure}"


_MODEL = ("log_prob", "elbo", "energy", "sample")


def build(name: str, spec: DataSpec, **arguments: Any) -> Recipe:
    """The recipe of that name for this data.

    Raises:
        CatalogueError: no such recipe, an argument that it does not take, or a value of another
            type.
        RecipeError: it cannot serve this data.
    """
    entry = describe(name)
    known = {p.name: p for p in entry.parameters}
    for key, value in arguments.items():
        if key not in known:
            raise CatalogueError(
                f"recipe '{name}' takes no argument '{key}'; {did_you_mean(key, known)}"
            )
        _check(name, known[key], value)
    module = importlib.import_module(entry.module)
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return module.recipe(spec, **lists)


def former(name: str) -> Mapping[str, Former]:
    """Which of a recipe's arguments counted steps in runs of format 1."""
    module = importlib.import_module(describe(name).module)
    return vars(module).get("FORMER", {})


def citation(name: str) -> str:
    """BibTeX for a recipe, from the first line of its file."""
    entry = describe(name)
    match = re.match(r"(?P<title>.+) \((?P<authors>.+), (?P<year>\d{4})\)\.?$", entry.title)
    if match is None:
        raise CatalogueError(f"recipe '{name}' names no paper.")
    url = re.search(r"https?://\S+", entry.description)
    authors = match["authors"].replace(" et al.", " and others")
    lines = [
        f"@misc{{{re.sub('[^a-z0-9]', '', name)}{match['year']},",
        f"  title = {{{match['title']}}},",
        f"  author = {{{authors}}},",
        f"  year = {{{match['year']}}},",
        *([f"  url = {{{url[0].rstrip('.')}}},"] if url else []),
        "}",
    ]
    return "\n".join(lines)


def _check(recipe: str, parameter: Parameter, value: Any) -> None:
    if value is None and parameter.optional:
        return
    flag = parameter.name.replace("_", "-")
    if parameter.choices and value not in parameter.choices:
        raise CatalogueError(
            f"recipe '{recipe}': --{flag} is one of {', '.join(parameter.choices)}, and {value!r} "
            "came; "
            f"{did_you_mean(str(value), parameter.choices)}"
        )
    mistaken = isinstance(value, bool) and parameter.type != "bool"
    endless = isinstance(value, float) and not math.isfinite(value)
    mixed = parameter.type == "ints" and not _are_whole(value)
    if not isinstance(value, _TYPES[parameter.type]) or mistaken or endless or mixed:
        raise CatalogueError(
            f"recipe '{recipe}': --{flag} takes {_NAMES[parameter.type]}, and {value!r} came."
        )
    _check_range(recipe, flag, parameter, value)


def _are_whole(values: Any) -> bool:
    listed = isinstance(values, tuple | list)
    return listed and all(isinstance(v, int) and not isinstance(v, bool) for v in values)


def _check_range(recipe: str, flag: str, parameter: Parameter, value: Any) -> None:
    smallest = min(value, default=1) if parameter.type == "ints" else value
    if parameter.least is not None and smallest < parameter.least:
        raise CatalogueError(
            f"recipe '{recipe}': --{flag} is at least {parameter.least}, and {value!r} came."
        )
    largest = max(value, default=0) if parameter.type == "ints" else value
    if parameter.type in ("int", "ints") and largest > _MOST:
        raise CatalogueError(
            f"recipe '{recipe}': --{flag} must be at most {_MOST:,} (got {largest:,}): lower it."
        )
    if parameter.name == "lr" and value <= 0:
        raise CatalogueError(f"recipe '{recipe}': --lr is a positive number, and {value!r} came.")


_MOST = 2**31 - 1
"""The largest whole number that a recipe takes."""
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "ints": (tuple, list),
}  # fmt: skip
_NAMES = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word",
    "ints": "whole numbers separated by commas",
}  # fmt: skip


def _describe(family: str, stem: str, source: str) -> Entry:
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree) or ""
    first, _, rest = docstring.partition("\n")
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "recipe")
    meanings = argument_meanings(ast.get_docstring(function) or "")
    checked = _checked(function)
    use = re.match(r"\s*Good for: ([^\n]+)\.\n", rest)
    aliases = {
        n.targets[0].id: ast.unparse(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    parameters = tuple(
        _parameter(a, d, meanings.get(a.arg, ""), aliases, checked.get(a.arg))
        for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    )
    return Entry(
        name=stem.replace("_", "-"),
        family=family,
        module=f"pofx.{family}.{stem}",
        title=first.partition(": ")[2].strip() or first,
        use=use[1] if use else "",
        description=rest[use.end() if use else 0 :].strip(),
        parameters=parameters,
    )


def _checked(function: ast.FunctionDef) -> dict[str, float]:
    """The smallest numbers that a recipe's own calls of `check_at_least` let pass."""
    found: dict[str, float] = {}
    for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
        if ast.unparse(call.func) == "check_at_least" and isinstance(call.args[1], ast.Constant):
            found |= {k.arg: float(str(call.args[1].value)) for k in call.keywords if k.arg}
    return found


def _parameter(
    argument: ast.arg,
    default: ast.expr | None,
    meaning: str,
    aliases: Mapping[str, str],
    checked: float | None,
) -> Parameter:
    assert argument.annotation is not None
    assert default is not None
    annotation = ast.unparse(argument.annotation)
    optional = annotation.endswith("| None")
    annotation = annotation.removesuffix("| None").strip()
    annotation = aliases.get(annotation, annotation)
    choices: tuple[str, ...] = ()
    if annotation.startswith("Literal["):
        choices = ast.literal_eval(
            annotation.removeprefix("Literal").replace("[", "(").replace("]", ",)")
        )
        annotation = "str"
    kind = "ints" if annotation.startswith("tuple[") else annotation
    assert kind in _TYPES, f"a recipe's parameter cannot be of type {annotation}"
    value = ast.literal_eval(default)
    return Parameter(argument.arg, kind, value, meaning, choices, optional, checked)


def argument_meanings(docstring: str) -> dict[str, str]:
    """The text of each parameter in the `Args:` section of a docstring without indentation."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    items = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}
