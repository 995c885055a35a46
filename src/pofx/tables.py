"""tables: a few rows, as a terminal, a notebook or plain text shows them.

Whatever is said in rows is made once, as a `Table`, and shown by one of three ways.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pofx.errors import printable

if TYPE_CHECKING:
    from rich.table import Table as Terminal

_CELL = 100
"""Columns of a cell in plain text, which has no terminal to wrap it."""


@dataclass(frozen=True, repr=False)
class Table:
    """Cells in rows.

    Args:
        rows: of equally many cells each.
        header: the name of each column; empty for pairs of a name and what it stands for.
        title: shown above.
        notes: sentences that are shown below.
        most: how many rows are shown in a notebook and as plain text.

    >>> print(Table([("name", "digits"), ("examples", "1,797")], title="data"))
    data
    name      digits
    examples  1,797
    """

    rows: Sequence[tuple[str, ...]]
    header: tuple[str, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = ()
    most: int = 50

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [tuple(map(_clipped, row)) for row in self.rows[: self.most]]
        lines = [self.header, *lines] if self.header else lines
        widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join(map(_padded, line, widths)).rstrip() for line in lines)
        return "\n".join([*filter(None, [self.title]), *padded, *self._below()])

    def _repr_html_(self) -> str:
        """The table for a notebook; nothing of a user's can be taken for a tag."""
        first = "th" if not self.header else "td"
        rows = [_html_row(row, first) for row in self.rows[: self.most]]
        if self.header:
            rows.insert(0, _html_row(self.header, "th", "th"))
        above = f"<b>{_escaped(self.title)}</b>" if self.title else ""
        below = "".join(f"<div>{_escaped(note)}</div>" for note in self._below())
        return f"<div>{above}<table>{''.join(rows)}</table>{below}</div>"

    def terminal(self) -> Terminal:
        """The table for `rich`, which wraps cells to the width of a terminal."""
        from rich.table import Table as Terminal
        from rich.text import Text

        title = Text(printable(self.title)) if self.title else None
        table = Terminal(box=None, pad_edge=False, show_header=bool(self.header), title=title)
        for name in self.header or ("",) * len(next(iter(self.rows), ())):
            table.add_column(name)
        for first, *others in self.rows:
            style = "" if self.header else "bold"
            cells = (Text(printable(cell)) for cell in others)
            table.add_row(Text(printable(first), style), *cells)
        return table

    def _below(self) -> list[str]:
        more = len(self.rows) - self.most
        return [*([f"and {more:,} more"] if more > 0 else []), *self.notes]


def _clipped(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _width(text: str) -> int:
    """Columns of a terminal: wide signs take two, and what is set upon another none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _html_row(cells: Sequence[str], first: str, others: str = "td") -> str:
    kinds = [first] + [others] * (len(cells) - 1)
    left = ' style="text-align: left"'
    inner = (f"<{k}{left}>{_escaped(c)}</{k}>" for k, c in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(inner)}</tr>"
