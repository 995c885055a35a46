"""Data of any kind, each described by a DataSpec.

`load` takes whatever the user has and returns a `Dataset`; nothing here is imported before it is
asked for, so that `pofx --help` stays quick. `batches` and `write` are modules that can be called:
each is named after the one function that it is about.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pofx.data.batches import batches
    from pofx.data.dataset import Dataset, Split
    from pofx.data.limits import DataError
    from pofx.data.schema import Schema
    from pofx.data.source import load
    from pofx.data.write import write

__all__ = ["DataError", "Dataset", "Schema", "Split", "batches", "load", "write"]

_HOMES = {
    "load": "source",
    "Dataset": "dataset",
    "Split": "dataset",
    "Schema": "schema",
    "DataError": "limits",
}
_VERBS = ("batches", "write")


class Verb(ModuleType):
    """A module that is called as the function of its own name.

    Importing a submodule binds its name in the package, over any function of that name; so the
    module itself answers.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module's function."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def __getattr__(name: str) -> Any:
    """Imports a public name from its own file when it is first asked for."""
    if name in _VERBS:
        return import_module(f"pofx.data.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'pofx.data' has no attribute '{name}'")
    return getattr(import_module(f"pofx.data.{_HOMES[name]}"), name)
