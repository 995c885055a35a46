"""Figures of the source: what there is to read, and where it branches.

    python benchmarks/house.py [FOLDER]

Code lines are neither blank nor comment nor docstring. Branches are `if` statements and conditional
expressions. A leaf is a file that defines a recipe. Wordings are the texts of recipes' arguments,
which are told once where groups carry them.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_IGNORED = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass
class Figures:
    """Counts of one file, or of several."""

    files: int = 0
    lines: int = 0
    code: int = 0
    docstring: int = 0
    statements: int = 0
    branches: int = 0
    functions: list[int] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[object, ...]:
        return tuple(vars(self).values())


def documented(tree: ast.AST) -> set[int]:
    """The lines of docstrings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            if isinstance(first.value.value, str):
                found |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return found


def figures(path: Path) -> Figures:
    """Those of one file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    told = documented(tree)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _IGNORED:
            code |= set(range(token.start[0], token.end[0] + 1))
    nodes = list(ast.walk(tree))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    marks = ("# fmt: skip", "# noqa", "# type: ignore")
    return Figures(
        files=1,
        lines=source.count("\n"),
        code=len(code - told),
        docstring=len(told),
        statements=sum(isinstance(n, ast.stmt) for n in nodes),
        branches=sum(isinstance(n, ast.If | ast.IfExp) for n in nodes),
        functions=[(n.end_lineno or 0) - n.lineno + 1 for n in functions],
        marks=Counter({m: source.count(m) for m in marks}),
    )


def row(name: str, f: Figures) -> str:
    """One line of the table."""
    per = 1000 * f.branches / max(f.code, 1)
    return (
        f"{name:22} {f.files:5} {f.lines:7,} {f.code:7,} {f.docstring:7,} {f.statements:7,} "
        f"{f.branches:6} {per:6.1f}"
    )


def wordings(leaves: list[Path]) -> Counter[str]:
    """The texts of the arguments of recipes, and how often each one stands."""
    found: Counter[str] = Counter()
    for path in leaves:
        function = next(
            n
            for n in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(n, ast.FunctionDef) and n.name == "recipe"
        )
        text = ast.get_docstring(function) or ""
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
        items = re.findall(r"^ {4}\w+: ((?:.|\n {5,})*)", section[1] if section else "", re.M)
        found.update(" ".join(item.split()) for item in items)
    return found


def main() -> None:
    """Prints the tables."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "src/pofx")
    paths = sorted(root.rglob("*.py"))
    each = {p: figures(p) for p in paths}
    folders: dict[str, Figures] = {}
    for path, found in each.items():
        parts = path.relative_to(root).parts
        name = parts[0] if len(parts) > 1 else "."
        folders[name] = folders.get(name, Figures()) + found
    total = sum(each.values(), Figures())
    print(f"{'folder':22} files   lines    code docstr.  statem.  branch  /kcode")
    for name, found in [*folders.items(), ("all", total)]:
        print(row(name, found))
    leaves = [p for p in paths if "\ndef recipe(" in p.read_text(encoding="utf-8")]
    code = [each[p].code for p in leaves]
    text = wordings(leaves)
    print(f"leaves: {len(leaves)}, median {statistics.median(code):.0f} code lines, {sum(code):,}")
    print(f"arguments: {text.total()} told in {len(text)} wordings")
    lengths = sorted(total.functions)
    p95 = lengths[int(0.95 * len(lengths))]
    print(f"functions: median {statistics.median(lengths):.0f}, 95% {p95}, longest {lengths[-1]}")
    print(", ".join(f"{mark}: {n}" for mark, n in total.marks.items()))


if __name__ == "__main__":
    main()
