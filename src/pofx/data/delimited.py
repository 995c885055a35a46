"""Records of a delimited text file, streamed, each with the number of its line.

What a permissive parser would pass on in silence is refused here by line: ragged rows, NUL
characters, text that is not UTF-8, fields of more than a megabyte, more than ten thousand columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pofx.data import limits
from pofx.data.limits import DataError

DELIMITERS = ("\t", ";", "|", ",")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SAMPLE = 64
_LINE = 16 * limits.FIELD_BYTES

Record = tuple[int, list[str]]


def read_records(name: str, source: Path | bytes, delimiter: str | None = None) -> Iterator[Record]:
    """Yields `(line number, fields)`, the fields without surrounding blanks; blank lines are passed
    over.

    Args:
        name: how to name the file to the user.
        source: the file, or its content.
        delimiter: what separates fields; found out when None.

    Raises:
        DataError: names the line that cannot be read, and why.
    """
    delimiter = delimiter or find_delimiter(name, source)
    with _opened(source) as file:
        try:
            yield from _records(name, file, delimiter)
        except UnicodeDecodeError as e:
            line, byte = _not_utf8(source)
            raise DataError(
                f"{name}: line {line} is not UTF-8 text (byte 0x{byte:02x}): save the file as "
                "UTF-8."
            ) from e


@contextmanager
def _opened(source: Path | bytes) -> Iterator[TextIO]:
    if isinstance(source, bytes):
        yield io.TextIOWrapper(io.BytesIO(source), "utf-8-sig", newline="")
        return
    with source.open(encoding="utf-8-sig", newline="") as file:
        yield file


def _not_utf8(source: Path | bytes) -> tuple[int, int]:
    """The number of the first line that is not UTF-8, and its first byte that is not."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as e:
                return number, line[e.start]
    return 1, 0


def _records(name: str, file: TextIO, delimiter: str, most: int | None = None) -> Iterator[Record]:
    previous = csv.field_size_limit(limits.FIELD_BYTES)
    reader = csv.reader(_lines(name, file), delimiter=delimiter, skipinitialspace=True, strict=True)
    width, first = 0, 0
    try:
        for row in reader:
            if not row or (len(row) == 1 and width != 1 and not row[0].strip()):
                continue
            if not width:
                width, first = len(row), reader.line_num
                _check_width(name, width)
            if len(row) != width and most is None:
                raise DataError(
                    f"{name}: line {reader.line_num} has {len(row)} fields where line {first} has "
                    f"{width}: mend or remove that line."
                )
            yield reader.line_num, [f.strip() for f in row]
            if most is not None and reader.line_num >= most:
                return
    except csv.Error as e:
        raise DataError(
            f"{name}: line {reader.line_num} cannot be read, as {_why(e)}: mend or remove it."
        ) from e
    finally:
        csv.field_size_limit(previous)


def _lines(name: str, file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(_LINE):
        number += 1
        if len(line) == _LINE and not line.endswith(("\n", "\r")):
            raise DataError(
                f"{name}: line {number} is longer than {limits.size(_LINE)}: mend or remove it."
            )
        if "\0" in line:
            raise DataError(
                f"{name}: line {number} holds a NUL character, so this is no text table: save it "
                "as UTF-8 text."
            )
        yield line


def _check_width(name: str, width: int) -> None:
    if width > limits.COLUMNS:
        raise DataError(
            f"{name} has {width:,} columns, more than {limits.COLUMNS:,}: leave some out, or save "
            "it as a .npy file."
        )


def _why(error: csv.Error) -> str:
    if "field larger" in str(error):
        return f"a field is larger than {limits.size(limits.FIELD_BYTES)}"
    return "a quote is opened and not closed" if "end of data" in str(error) else str(error)


def find_delimiter(name: str, source: Path | bytes) -> str:
    """The tab of a `.tsv`. Otherwise, of the delimiters that cut the first lines into the same
    number of fields each, the one with the largest share of numbers, which may have a decimal
    comma, then the most fields, then the rarer one in texts; a comma if none does.
    """
    if isinstance(source, Path) and source.suffix.lower() == ".tsv":
        return "\t"
    merit: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        with _opened(source) as file:
            try:
                rows = [r for _, r in _records(name, file, delimiter, most=_SAMPLE)]
            except (DataError, UnicodeDecodeError):
                continue
        if len({len(r) for r in rows}) == 1 < len(rows[0]):
            cells = [c for r in rows for c in r]
            numbers = sum(bool(NUMBER.fullmatch(c) or DECIMAL_COMMA.fullmatch(c)) for c in cells)
            merit[delimiter] = (numbers / len(cells), len(rows[0]))
    return max(merit, key=lambda d: merit[d], default=",")
