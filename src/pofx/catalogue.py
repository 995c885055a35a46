"""catalogue: finds recipes by their files, describes them without importing them, and builds them.

A recipe is a file of a family's folder that defines `recipe`. Its name is the file's, in kebab
case; its signature is its configuration. Describing reads the source, so that a list or a help page
costs no import of torch.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pofx.errors import RecipeError, UserError, did_you_mean
from pofx.parameters import GROUPS, Follows, settled
from pofx.signatures import ROOT, Parameter, Source, flat_name

if TYPE_CHECKING:
    from pofx.recipe import Former, Recipe
    from pofx.spec import DataSpec

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
            if "\ndef recipe(" in path.read_text(encoding="utf-8"):
                entry = _describe(folder.name, path.stem, Source(path))
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
    """Builds the recipe of that name for this data.

    Args:
        name: in kebab case.
        spec: of the data.
        arguments: the recipe's own, flat; a field of a group replaces that of the recipe's group.

    Raises:
        CatalogueError: there is no such recipe, or it does not take an argument.
        RecipeError: it cannot serve this data, or a value is of another type or out of its range.
    """
    values, recipe = settings(name, spec, **arguments), _function(name)
    keywords: dict[str, Any] = {}
    for argument in _keywords(name):
        if _is_group(argument.default):
            group = type(argument.default)
            own = {f: values[flat_name(argument.name, f)] for f in vars(argument.default)}
            keywords[argument.name] = group(**own)
        else:
            keywords[argument.name] = values[argument.name]
    if not values.get("conditional", True):
        spec = replace(spec, cond=None)
    try:
        return recipe(spec, **keywords)
    except RecipeError as error:
        raise type(error)(f"{name}: {error}") from error


def json_schema(name: str) -> dict[str, Any]:
    """Returns a JSON Schema of a recipe's keyword arguments.

    >>> json_schema("ngram")["properties"]["order"]["maximum"]
    64
    """
    entry = describe(name)
    return {
        "title": name,
        "description": entry.title,
        "type": "object",
        "properties": {p.name: p.json_schema for p in entry.parameters},
        "additionalProperties": False,
    }


def settings(name: str, spec: DataSpec, **arguments: Any) -> dict[str, Any]:
    """Returns the value of each of a recipe's parameters, for its data: what was given, or the
    default. Arguments and errors are those of `build`.
    """
    known = {p.name: p for p in describe(name).parameters}
    given = {}
    for key, value in arguments.items():
        if key not in known:
            raise CatalogueError(
                f"recipe '{name}' takes no argument '{key}'; {did_you_mean(key, known)}"
            )
        if value is None and isinstance(known[key].default, Follows):
            continue
        if (problem := known[key].problem(value)) is not None:
            raise RecipeError(f"{name}: {known[key].flag} {problem}.")
        given[key] = tuple(value) if isinstance(value, list) else value
    if given.get("conditional") and spec.cond is None:
        raise RecipeError(
            f"{name}: --conditional must have data with classes (got none): leave it out, or name "
            "the column of a table that holds them with --label."
        )
    values = settled(_defaults(name), given, spec)
    if "conditional" in values:
        values["conditional"] &= spec.cond is not None
    return values


def _function(name: str) -> Any:
    return importlib.import_module(describe(name).module).recipe


def _keywords(name: str) -> list[inspect.Parameter]:
    arguments = inspect.signature(_function(name)).parameters.values()
    return [a for a in arguments if a.kind is inspect.Parameter.KEYWORD_ONLY]


def _is_group(default: Any) -> bool:
    return type(default) in GROUPS.values()


def _defaults(name: str) -> dict[str, Any]:
    """The defaults of all parameters, flat."""
    found: dict[str, Any] = {}
    for argument in _keywords(name):
        if _is_group(argument.default):
            found |= {flat_name(argument.name, k): v for k, v in vars(argument.default).items()}
        else:
            found[argument.name] = argument.default
    return found


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


def _describe(family: str, stem: str, source: Source) -> Entry:
    first, _, rest = source.docstring.partition("\n")
    use = re.match(r"\s*Good for: ([^\n]+)\.\n", rest)
    return Entry(
        name=stem.replace("_", "-"),
        family=family,
        module=f"pofx.{family}.{stem}",
        title=first.partition(": ")[2].strip() or first,
        use=use[1] if use else "",
        description=rest[use.end() if use else 0 :].strip(),
        parameters=source.parameters("recipe"),
    )
