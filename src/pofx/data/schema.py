"""Schema: how an example in the model's values is said in the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pofx.data.tokens import NAMES, Tokens
from pofx.functional.dequantize import indices
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Real
from pofx.tables import Table

Cell = str | int | float


@dataclass(frozen=True)
class Column:
    """One column of the user's table.

    Args:
        name: its name in the header.
        kind: `float`, `int` (whole numbers come back whole), `binary` (the whole numbers 0 and 1)
        or `category`.
        mean: subtracted from a number, the mean of those present in the training rows.
        std: divides a number.
        low: smallest number seen.
        high: largest number seen; numbers that come back are clipped to the range.
        decimals: most digits after the point that were seen, to which numbers are rounded; None for
            as many as single precision carries.
        categories: the distinct values of a category; the empty one stands for a missing cell.
        missing: whether cells are missing. A category has the empty one for them. A number is
            accompanied by a binary column that says so, and where it is missing, its value is a
            draw from N(0, 1), independent of all else: the best density of it costs 1.42 nats on
            average, where a constant would have none that is best.
    """

    name: str
    kind: Literal["float", "int", "binary", "category"]
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0
    decimals: int | None = None
    categories: tuple[str, ...] = ()
    missing: bool = False

    def __repr__(self) -> str:
        return f"Column({self.name!r}, {self.kind}, {self.extent})"

    @property
    def extent(self) -> str:
        """The range of a number, or how many categories there are, in words."""
        if self.kind == "category":
            return f"{sum(map(bool, self.categories)):,} categories"
        return f"{self.low:.6g} to {self.high:.6g}"

    @property
    def supports(self) -> tuple[Real | Binary | Categorical, ...]:
        """The supports of the model's columns that carry this one."""
        if self.kind == "category":
            return (Categorical(len(self.categories)),)
        if self.kind == "binary":
            return (Binary(),)
        return (Real(), Binary()) if self.missing else (Real(),)

    def cells(self, values: np.ndarray) -> list[Cell]:
        """The user's cells of model values of shape `(n, len(supports))`."""
        if self.kind == "category":
            codes = np.rint(values[:, 0]).astype(np.int64).clip(0, len(self.categories) - 1)
            return [self.categories[k] for k in codes]
        if self.kind == "binary":
            return [int(v > 0.5) for v in values[:, 0]]
        numbers = values[:, 0].astype(np.float64) * self.std + self.mean
        cells = [self._cell(v) for v in numbers]
        if not self.missing:
            return cells
        return ["" if m > 0.5 else c for c, m in zip(cells, values[:, 1], strict=True)]

    def _cell(self, value: float) -> Cell:
        if not np.isfinite(value):
            return float(value)
        if self.kind == "int":
            return int(min(max(round(value), self.low), self.high))
        digits = float(f"{value:.7g}") if self.decimals is None else round(value, self.decimals)
        return float(min(max(digits, self.low), self.high)) + 0.0


@dataclass(frozen=True)
class Schema:
    """How to turn model values into what the user gave, and back into a file of the same kind.

    Args:
        spec: the data's spec.
        columns: a table's columns; empty for anything else.
        header: whether the table began with their names.
        delimiter: what separated its fields.
        mode: the images' mode, such as `L` or `RGBA`; empty where there is none.
        levels: how many levels the bytes had that were dequantised; 0 where that was not asked for.
        mean: what was subtracted from real values: one number, or one for each element.
        std: what divided them.
        integer: whether the user's array held whole numbers.
        low: smallest value of the training examples, in the user's units.
        high: their largest value.
        tokens: how the text was cut, where examples are sequences of one.
        label: the name of the table's column that held the labels, and its place.
    """

    spec: DataSpec
    columns: tuple[Column, ...] = ()
    header: bool = False
    delimiter: str = ","
    mode: str = ""
    levels: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    integer: bool = False
    low: float = 0.0
    high: float = 1.0
    tokens: Tokens | None = None
    label: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return f"Schema({self.what})"

    def _repr_html_(self) -> str:
        return self.overview()._repr_html_()

    def overview(self) -> Table:
        """Columns of the user's table with their values; of anything else, what an example is."""
        if not self.columns:
            return Table([("what", self.what), ("spec", str(self.spec))])
        rows = [(c.name, c.kind, "yes" if c.missing else "", c.extent) for c in self.columns]
        return Table(rows, ("column", "type", "missing", "values"), title=self.what)

    @property
    def what(self) -> str:
        """A few words for what one example is."""
        shape = self.spec.shape
        if self.tokens is not None:
            return f"text in sequences of {shape[0]} {NAMES[self.tokens.kind]}"
        if self.columns:
            return f"table of {len(self.columns)} columns"
        if self.spec.is_image:
            names = {
                "1": "black and white",
                "L": "grey",
                "LA": "grey with alpha",
                "": f"{shape[0]}-channel",
            }
            color = names.get(self.mode, self.mode)
            return f"{color} images of {shape[1]}x{shape[2]} (height x width)"
        return f"vectors of {shape[0]}" if len(shape) == 1 else f"arrays of {shape}"

    @property
    def suffix(self) -> str:
        """The kind of file that says most of a few examples."""
        if self.tokens is not None:
            return ".txt"
        if len(self.spec.shape) not in (1, 3):
            return ".npz"
        return ".png" if self.spec.is_image or self.spec.shape == (2,) else ".csv"

    @property
    def names(self) -> list[str]:
        """The names of the user's columns."""
        return [c.name for c in self.columns] or [f"x{i}" for i in range(self.spec.size)]

    def native(self, x: Tensor) -> np.ndarray:
        """The array that the user would have given: bytes as levels, numbers in his own units."""
        values = x.detach().cpu()
        support = self.spec.support
        if isinstance(support, Bytes | Binary):
            k = indices(values, support).clamp(0, support.levels - 1)
            return k.numpy().astype(np.uint8 if support.levels <= 256 else np.int64)
        if self.levels:
            k = ((values + 1) * (self.levels / 2)).floor().clamp(0, self.levels - 1)
            return k.numpy().astype(np.uint8)
        mean, std = (_event(v, self.spec.shape) for v in (self.mean, self.std))
        native = values.double().numpy() * std + mean
        return np.rint(native).astype(np.int64) if self.integer else native.astype(np.float32)

    def given(self, x: Tensor) -> Tensor:
        """Tells which elements of examples are the user's, bool of the shape of `x`: all but the
        draws that stand for missing numbers.
        """
        known, place = torch.ones_like(x, dtype=torch.bool), 0
        for column in self.columns:
            width = len(column.supports)
            if column.missing and width == 2:
                known[:, place] = x[:, place + 1] < 0.5
            place += width
        return known

    def texts(self, x: Tensor) -> list[str]:
        """The examples of `x` as texts."""
        assert self.tokens is not None
        index = indices(x.detach().cpu(), self.spec.support).clamp(0, self.tokens.levels - 1)
        return [self.tokens.decode(row) for row in index.numpy()]

    def rows(self, x: Tensor) -> list[list[Cell]]:
        """The examples of `x`, `(n, d)`, as rows in the user's own columns; a missing cell is
        empty.

        >>> import torch
        >>> pet = Column("pet", "category", categories=("cat", "dog"))
        >>> age = Column("age", "int", mean=4.0, std=2.0, low=1, high=9)
        >>> from pofx.spec import Mixed
        >>> s = Schema(DataSpec((2,), Mixed((Categorical(2), Real()))), (pet, age))
        >>> s.rows(torch.tensor([[1.0, 0.5], [0.0, 99.0]]))
        [['dog', 5], ['cat', 9]]
        """
        if not self.columns:
            return self.native(x).reshape(len(x), -1).tolist()
        values, first, cells = x.detach().cpu().double().numpy(), 0, []
        for column in self.columns:
            width = len(column.supports)
            cells.append(column.cells(values[:, first : first + width]))
            first += width
        return [list(row) for row in zip(*cells, strict=True)]

    def table(self, x: Tensor, cond: Tensor | None = None) -> tuple[list[str], list[list[Cell]]]:
        """Names and rows of the user's own columns, that of the labels among them where `cond`
        has one for each example.
        """
        names, rows = list(self.names), self.rows(x)
        if self.label is not None and cond is not None:
            name, place = self.label
            names.insert(place, name)
            for row, k in zip(rows, cond.tolist(), strict=True):
                row.insert(place, self.spec.class_names[k])
        return names, rows

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON values."""
        d = {name: getattr(self, name) for name in _PLAIN}
        return {
            **d,
            "spec": self.spec.to_json(),
            "columns": [{**asdict(c), "categories": list(c.categories)} for c in self.columns],
            "mean": list(self.mean),
            "std": list(self.std),
            "tokens": None if self.tokens is None else self.tokens.to_json(),
            "label": None if self.label is None else list(self.label),
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Schema:
        """The schema that `to_json` described."""
        columns = [{**c, "categories": tuple(c["categories"])} for c in d["columns"]]
        return cls(
            DataSpec.from_json(d["spec"]),
            tuple(Column(**c) for c in columns),
            mean=tuple(d["mean"]),
            std=tuple(d["std"]),
            tokens=Tokens.from_json(d["tokens"]) if d.get("tokens") else None,
            label=tuple(d["label"]) if d.get("label") else None,
            **{name: d[name] for name in _PLAIN},
        )


_PLAIN = ("header", "delimiter", "mode", "levels", "integer", "low", "high")


def _event(values: Sequence[float], shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    return array if array.size == 1 else array.reshape(shape)


def table_spec(columns: Sequence[Column]) -> tuple[tuple[Any, ...], float]:
    """The supports of a table's model columns, and the sum of the log standard deviations of its
    numbers.
    """
    supports = tuple(s for c in columns for s in c.supports)
    log_scale = sum(float(np.log(c.std)) for c in columns if c.kind in ("float", "int"))
    return supports, log_scale
