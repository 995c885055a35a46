"""Plants each bug of `bugs.py` in a copy of the repository, and says which tests see it.

    python tests/planted/run.py                      # all, to the screen
    python tests/planted/run.py 12 30-40             # some, by number
    python tests/planted/run.py --out table.md       # and the table to a file (.md, .json)
    python tests/planted/run.py --check              # only: does every snippet occur once?

A bug is killed by a test that fails, and passes on the sound code. One that outlives its tests, or
the time limit, survives. The sources are never changed in place.
"""

import argparse
import json
import math
import os
import re
import resource
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from bugs import BUGS, KINDS, Bug

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "pyproject.toml", "README.md")
LATE = "the time was up"
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass
class Verdict:
    """What became of a bug: the test that killed it, or why it lives."""

    number: int
    file: str
    kind: str
    killed: bool
    by: str
    seconds: float


def planted(bug: Bug) -> str:
    """The faulty text of the bug's file."""
    source = (ROOT / "src" / "pofx" / bug.file).read_text(encoding="utf-8")
    count = source.count(bug.find)
    if count != 1:
        raise SystemExit(f"{bug.file}: the snippet {bug.find!r} occurs {count} times, and not once")
    if bug.find == bug.replace or bug.kind not in KINDS:
        raise SystemExit(f"{bug.file}: {bug.find!r} changes nothing, or is of no kind")
    faulty = source.replace(bug.find, bug.replace)
    compile(faulty, bug.file, "exec")
    return faulty


def tried(number: int, bug: Bug, limit: float, broken: tuple[str, ...] = ()) -> Verdict:
    """Runs the bug's tests, cheapest first, until one fails; `broken` are left out."""
    faulty, before = planted(bug), _spent()
    first, *rest = bug.tests
    groups = (f"src/pofx/{bug.file} {first}", *rest)
    with _copied() as folder:
        path = Path(folder, "src", "pofx", bug.file)
        path.write_text(faulty, encoding="utf-8")
        for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
            cached.unlink()
        for group in groups:
            left = limit - (_spent() - before)
            by = _failing(group, Path(folder), left, broken) if left > 0 else [LATE]
            if by:
                break
    killed = bool(by) and by != [LATE]
    why = by[0] if by else "every test passed"
    return Verdict(number, bug.file, bug.kind, killed, why, round(_spent() - before, 1))


def broken_anyway(verdicts: list[Verdict]) -> set[str]:
    """Of the tests that killed, those that fail on the sound code too: what they say is nothing."""
    names = {v.by for v in verdicts if v.killed}
    with _copied() as folder:
        group = " ".join(map(shlex.quote, sorted(names)))
        return set(_failing(group, Path(folder), 600.0, at_first=False)) if names else set()


def _failing(
    group: str,
    folder: Path,
    limit: float,
    without: tuple[str, ...] = (),
    *,
    at_first: bool = True,
) -> list[str]:
    """The tests of a group that fail: the first alone, or all."""
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", *(f"--deselect={t}" for t in without)]
    command = [*options, *(["-x"] if at_first else []), *shlex.split(group)]
    status = _forked(lambda: pytest.main(command), folder, math.ceil(limit))
    said = (folder / "said").read_text(encoding="utf-8")
    found = FAILED.findall(said)
    if status < 0 and not found:  # by the signal of the limit
        return [LATE]
    if status not in (0, 1, 5) or (status == 1 and not found):
        raise SystemExit(f"pytest {group} could not be run:\n{said[-3000:]}")
    return found


def _forked(call: Callable[[], int], folder: Path, seconds: int) -> int:
    """Calls in a process of its own that knows the copy alone; torch is there already."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.path.insert(0, str(folder / "src"))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with Path("said").open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        os._exit(int(call()))


@contextmanager
def _copied() -> Iterator[str]:
    """A copy of what the tests need, for as long as it is open."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for name in COPIED:
            _copy(ROOT / name, Path(folder) / name)
        yield folder


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _spent() -> float:
    """CPU-seconds of the tests so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(verdicts: list[Verdict]) -> str:
    """A table in Markdown, survivors in bold."""
    killed, total = sum(v.killed for v in verdicts), sum(v.seconds for v in verdicts)
    lines = [
        f"{killed} of {len(verdicts)} bugs were killed, in {total:,.0f} CPU-seconds.", "",
        "| | file | kind | killed by | CPU-s |", "|--:|---|---|---|--:|",
    ]  # fmt: skip
    for v in verdicts:
        by = f"`{v.by}`" if v.killed else f"**lives**: {v.by}"
        by = by.replace("|", "\\|")
        lines.append(f"| {v.number} | `{v.file}` | {v.kind} | {by} | {v.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def numbers(words: list[str]) -> list[int]:
    """`["3", "5-7"]` is 3, 5, 6, 7; nothing is all."""
    found: list[int] = []
    for word in words or [f"1-{len(BUGS)}"]:
        first, _, last = word.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> None:
    """Says of each bug whether it was killed, as it goes; fails if one lives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", help="such as 3 or 5-7; all if there are none")
    parser.add_argument("--limit", type=float, default=300.0, help="CPU-seconds for a bug")
    parser.add_argument("--out", type=Path, help="a .md or .json of the verdicts")
    parser.add_argument("--check", action="store_true", help="only whether snippets occur once")
    told = parser.parse_args()
    torch.set_num_threads(1)
    for bug in BUGS:
        planted(bug)
    if told.check:
        print(f"{len(BUGS)} bugs, each of a snippet that occurs once")
        return
    verdicts: list[Verdict] = []
    for number in numbers(told.numbers):
        verdicts.append(tried(number, BUGS[number - 1], told.limit))
        _say(verdicts, len(verdicts) - 1, told.out)
    for test in broken_anyway(verdicts):
        print(f"{test} fails on the sound code too: what it killed is tried without it")
        for i, v in enumerate(verdicts):
            if v.by == test:
                verdicts[i] = tried(v.number, BUGS[v.number - 1], told.limit, (test,))
                _say(verdicts, i, told.out)
    print(table(verdicts).splitlines()[0])
    sys.exit(not all(v.killed for v in verdicts))


def _say(verdicts: list[Verdict], place: int, out: Path | None) -> None:
    """Says one verdict, and writes all there are so far."""
    v = verdicts[place]
    print(f"{v.number:3} {'killed' if v.killed else 'LIVES '} {v.file} {v.by}", flush=True)
    if out is not None:
        as_json = out.suffix == ".json"
        text = json.dumps([asdict(v) for v in verdicts], indent=1) if as_json else table(verdicts)
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
