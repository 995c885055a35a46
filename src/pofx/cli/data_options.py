"""The flags that say how to read data, shared by `pofx train` and `pofx data`."""

from __future__ import annotations

import math
from typing import Any

import click


class _Size(click.ParamType):
    """One side, or height and width."""

    name = "SIZE or HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            sides = [int(v) for v in str(value).lower().split("x")]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2) or min(sides) < 1:
            self.fail(f"{value!r} is not a size, such as 32 or 32x48", param, ctx)
        return sides[0] if len(sides) == 1 else tuple(sides)


class Seed(click.ParamType):
    """A whole number of 64 bits, which is what torch takes."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            seed = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if not -(1 << 63) <= seed < 1 << 63:
            self.fail(f"{value} is not a whole number of 64 bits", param, ctx)
        return seed


class FiniteRange(click.FloatRange):
    """A number of a range, which NaN and infinity are in none of."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def data_options() -> list[click.Option]:
    """The flags, new ones at each call."""
    return [
        click.Option(
            ["--binarize"],
            type=click.Choice(["threshold", "sample", "dynamic"]),
            help="Make pixels 0 or 1: by half of the range, one draw, or a new draw each time.",
        ),
        click.Option(
            ["--dequantize"],
            is_flag=True,
            help="Spread each byte over its cell: a density on [-1, 1].",
        ),
        click.Option(
            ["--resize"], type=_Size(), help="Side, or height x width, to bring images to."
        ),
        click.Option(
            ["--classes", "--only-class"], help="Keep only these classes, separated by commas."
        ),
        click.Option(["--label"], help="The column of a table that names each row's class."),
        click.Option(["--limit"], type=click.IntRange(min=1), help="Use at most so many examples."),
        click.Option(
            ["--length"], type=click.IntRange(min=2), help="Tokens in a sequence of a text; 64."
        ),
        click.Option(
            ["--tokens"],
            type=click.Choice(["characters", "bytes", "bpe"]),
            help="What a text is cut into; characters by default.",
        ),
        click.Option(
            ["--standardize/--no-standardize"],
            default=True,
            show_default=True,
            help="Give numeric columns mean 0 and standard deviation 1.",
        ),
    ]


def split_data_options(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the data flags out of `values`, as arguments of `pofx.data.load`."""
    names = (
        "binarize", "dequantize", "resize", "classes", "label", "limit", "standardize", "length",
        "tokens",
    )  # fmt: skip
    given = {k: values.pop(k) for k in names}
    return {
        k: v for k, v in given.items() if (v is not None and v is not False) or k == "standardize"
    }
