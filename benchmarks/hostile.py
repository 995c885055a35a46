"""Damaged and hostile run folders through `sample`, `evaluate` and `resume`: what becomes of each.

    python benchmarks/hostile.py [--cases 400] [--seed 0] [--show]

Bits of `run.json`, weights and checkpoints are flipped, files are cut, entries are edited (and the
hashes made to agree again, as a forger would), moments get another size, and links, pipes, folders
and huge files take the place of files. Each case runs in a child process, so that a crash is seen.
Every verb must refuse in one sentence, or do what it does to the sound run: no traceback, no hang,
no crash, no other samples from a flipped bit, nothing changed beside the run, bounded memory.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from pofx.cli import main
from pofx.training import checkpoint, folder

SECONDS = 60
MEMORY = 6 << 30
GROWTH = 1 << 30
"""Seconds, address space, and growth of resident memory that a case may take."""
VERBS = ("sample", "evaluate", "resume")
SMALL = ["--batch-size", "16", "--steps", "4", "--save-every", "2", "--quiet", "--device", "cpu"]
RUNS = {
    "vae": ["--data", "table.csv", "--latent", "2", "--hidden", "8", "--network", "mlp"],
    "ddpm": ["--data", "two-moons", "--limit", "200", "--hidden", "8", "--blocks", "1"],
    "made": ["--data", "digits", "--limit", "60", "--resize", "4", "--hidden", "8"],
}


class Case(NamedTuple):
    """One way to damage one run; `flip` says that what loads must be as it was."""

    name: str
    run: str
    damage: Callable[[Path, random.Random], None]
    flip: bool


def outcome(arguments: list[str], seconds: int = 0) -> tuple[str, str]:
    """How one command ends, and what it says: done, refused, or the name of what came through."""
    said = io.StringIO()
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main(arguments)
    except SystemExit as ended:
        return ("done" if not ended.code else "refused"), said.getvalue().strip()
    except Overdue:
        return "hung", ""
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return "done", ""


class Overdue(BaseException):
    """A command takes too long; nothing that expects an error may take it for one."""


def _overdue(*_: object) -> None:
    raise Overdue


# -- damage ---------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    -5, -1, 0, 0.5, 1e308, float("nan"), float("inf"), 2**63, 2**70, True, None, "", "x",
    "\x1b[31m", "../../x", [], [-1], ["a", "a"], {}, {"x": 1}, [[[[1]]]],
]  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all entries."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*path, key))


def edited(content: Any, dice: random.Random) -> Any:
    """The content with one entry replaced, or gone."""
    content = copy.deepcopy(content)
    *above, last = dice.choice(list(leaves(content)))
    place = content
    for key in above:
        place = place[key]
    if dice.random() < 0.1:
        del place[last]
    else:
        place[last] = dice.choice([v for v in HOSTILE if v != place[last]])
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """A `run.json` whose hash agrees, where this version has one."""
    seal = getattr(folder, "sealed", None)
    return seal(content) if seal and content.get("format") == folder.FORMAT else content


def edit_job(run: Path, dice: random.Random) -> None:
    path = run / "run.json"
    path.write_text(json.dumps(sealed(edited(json.loads(path.read_text()), dice))))


def edit_budget(run: Path, dice: random.Random) -> None:
    path = run / "run.json"
    job = json.loads(path.read_text())
    key = dice.choice(["steps", "minutes", "save_every", "sample_every", "threads"])
    job[key] = dice.choice([-5, -1, 0, float("nan"), float("-inf"), "x", True, [], {}, -0.5])
    path.write_text(json.dumps(sealed(job)))


def flip(file: str) -> Callable[[Path, random.Random], None]:
    def damage(run: Path, dice: random.Random) -> None:
        path = found(run, file)
        content = bytearray(path.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(content))

    return damage


def cut(file: str) -> Callable[[Path, random.Random], None]:
    def damage(run: Path, dice: random.Random) -> None:
        path = found(run, file)
        content = path.read_bytes()
        path.write_bytes(content[: dice.randrange(len(content))])

    return damage


def found(run: Path, file: str) -> Path:
    """A file of the run; `*` is its newest checkpoint."""
    return max(run.glob(file))


def _changed(tensors: dict[str, torch.Tensor], dice: random.Random) -> None:
    """Makes one tensor another size, type or name, or not finite."""
    name = dice.choice([k for k in sorted(tensors) if "optimizer" in k] or sorted(tensors))
    value, how = tensors[name], dice.randrange(8)
    if how == 0:
        tensors[name] = value.reshape(-1)[:1].clone()
    elif how == 1:
        tensors[name] = value.repeat(*([3] * max(value.ndim, 1)))
    elif how == 2:
        tensors[name] = value.to(torch.float16 if value.is_floating_point() else torch.int8)
    elif how == 3:
        tensors[f"{name}.more"] = tensors.pop(name)
    elif how == 4:
        tensors[name] = torch.full_like(value.float(), float("nan"))
    elif how == 5:
        del tensors[name]
    elif how == 6:
        tensors[f"{name}.more"] = value.clone()
    else:
        tensors[name] = value.reshape(1, *value.shape).clone()


def forge_weights(run: Path, dice: random.Random) -> None:
    path = run / "model.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    tensors = load_tensors(content)
    _changed(tensors, dice)
    metadata["sha256"] = checkpoint.model_hash(tensors)
    path.write_bytes(save_tensors(tensors, metadata))


def forge_state(run: Path, dice: random.Random) -> None:
    for path in run.glob("checkpoints/*/state.safetensors"):
        tensors = load_tensors(path.read_bytes())
        _changed(tensors, dice)
        path.write_bytes(save_tensors(tensors))
        _described_anew(path.parent)


def forge_numbers(run: Path, dice: random.Random) -> None:
    for path in run.glob("checkpoints/*/numbers.json"):
        path.write_text(json.dumps(edited(json.loads(path.read_text()), dice)))
        _described_anew(path.parent)


def forge_manifest(run: Path, dice: random.Random) -> None:
    for path in run.glob("checkpoints/*/manifest.json"):
        manifest = edited(json.loads(path.read_text()), dice)
        _sign(path, manifest)


def _described_anew(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {
            "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
    _sign(path, manifest)


def _sign(path: Path, manifest: dict[str, Any]) -> None:
    manifest.pop("sha256", None)
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**manifest, "sha256": digest}))


def deep(file: str) -> Callable[[Path, random.Random], None]:
    def damage(run: Path, dice: random.Random) -> None:
        n = dice.choice([300, 2_000, 100_000])
        found(run, file).write_text(dice.choice(['{"a":' * n + "1" + "}" * n, "[" * n + "]" * n]))

    return damage


def replace(file: str, kind: str) -> Callable[[Path, random.Random], None]:
    """Puts something else in the place of a file or a folder."""

    def damage(run: Path, dice: random.Random) -> None:
        path = found(run, file) if "*" in file else run / file
        outside = run.parent / "outside"
        if kind == "link" and path.exists() and path.is_file():
            shutil.copy(path, outside / "copy")
        if kind == "folder link" and path.is_dir():
            shutil.copytree(path, outside / "folder", dirs_exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        put(path, kind, outside)

    return damage


def put(path: Path, kind: str, outside: Path) -> None:
    """Something else in the place of a file or a folder of a run.

    Args:
        path: where.
        kind: of it.
        outside: a folder of somebody else's, or, of a link, a file.
    """
    if kind == "link":
        inner = next((p for p in (outside / "copy", outside / "mine.txt") if p.exists()), outside)
        path.symlink_to(inner)
    elif kind == "hard link":
        os.link(outside / "mine.txt", path)
    elif kind == "folder link":
        path.symlink_to(outside / "folder")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "folder":
        (path / "in it").mkdir(parents=True)
    elif kind == "huge":
        with path.open("wb") as f:
            f.truncate(200 << 30)


FILES = (
    "run.json", ".lock", "metrics.jsonl", "model.safetensors", "evaluation.json",
    "checkpoints/*/manifest.json", "checkpoints/*/numbers.json", "checkpoints/*/state.safetensors",
)  # fmt: skip
FOLDERS = ("checkpoints", "samples", "checkpoints/0*")


def cases(count: int, dice: random.Random) -> list[Case]:
    """Every replacement once, and the rest in fixed shares."""
    found = [
        Case(f"{kind}: {file}", dice.choice(sorted(RUNS)), replace(file, kind), False)
        for file in FILES
        for kind in ("link", "hard link", "loop", "device", "pipe", "socket", "folder", "huge")
    ]
    found += [
        Case(f"{kind}: {file}", dice.choice(sorted(RUNS)), replace(file, kind), False)
        for file in FOLDERS
        for kind in ("folder link", "link", "pipe", "device")
    ]
    shares: list[tuple[int, str, Callable[[Path, random.Random], None], bool]] = [
        (22, "flip: run.json", flip("run.json"), True),
        (3, "cut: run.json", cut("run.json"), False),
        (22, "edit: run.json", edit_job, False),
        (8, "edit: budget", edit_budget, False),
        (2, "deep: run.json", deep("run.json"), False),
        (6, "flip: weights", flip("model.safetensors"), True),
        (2, "cut: weights", cut("model.safetensors"), False),
        (6, "forge: weights", forge_weights, False),
        (4, "flip: manifest", flip("checkpoints/*/manifest.json"), True),
        (4, "forge: manifest", forge_manifest, False),
        (2, "deep: manifest", deep("checkpoints/*/manifest.json"), False),
        (8, "forge: numbers", forge_numbers, False),
        (8, "forge: state", forge_state, False),
        (3, "flip: state", flip("checkpoints/*/state.safetensors"), True),
    ]
    left, total = max(count - len(found), 0), sum(s[0] for s in shares)
    for share, name, damage, flipped in shares:
        for _ in range(-(-left * share // total)):
            found.append(Case(name, dice.choice(sorted(RUNS)), damage, flipped))
    dice.shuffle(found)
    return found[:count]


# -- trials ---------------------------------------------------------------------------------------


def make_runs(to: Path) -> None:
    """The sound runs, and their data."""
    os.chdir(to)
    rows = [f"{i % 7}.5,{['cat', 'dog', 'owl'][i % 3]},{(i * i) % 11}" for i in range(60)]
    Path("table.csv").write_text("size,pet,age\n" + "\n".join(rows) + "\n")
    for name, own in RUNS.items():
        assert outcome(["train", name, *own, *SMALL, "--out", f"runs/{name}"])[0] == "done", name


def commands(run: Path, out: Path) -> dict[str, list[str]]:
    common = ["--device", "cpu"]
    return {
        "sample": ["sample", str(run), "-n", "4", "--out", str(out), *common],
        "evaluate": ["evaluate", str(run), "-n", "20", "--features", "raw", *common],
        "resume": ["resume", str(run), "--quiet"],
    }


def snapshot(folder: Path) -> list[tuple[str, int, bytes]]:
    """Names, modes and contents of everything in a folder."""
    return [
        (str(p), p.lstat().st_mode, p.read_bytes() if p.is_file() else b"")
        for p in sorted(folder.rglob("*"))
    ]


class Tried(NamedTuple):
    """What became of a case: how each verb ended and what it said, and what else went wrong."""

    verbs: dict[str, tuple[str, str]]
    faults: list[str]


def tried(case: Case, sound: Path, expected: dict[str, bytes], seed: int) -> Tried:
    """Damages a copy, and runs the verbs on it in a child process."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        run, outside = here / "run", here / "outside"
        shutil.copytree(sound / "runs" / case.run, run)
        outside.mkdir()
        (outside / "mine.txt").write_text("mine\n" * 100)
        case.damage(run, random.Random(seed))
        before = snapshot(outside)
        out = here / ("drawn.csv" if case.run != "made" else "drawn.npz")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _in_child(writer, commands(run, out), out, case, expected)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            if not select.select([pipe], [], [], len(VERBS) * SECONDS + 30)[0]:
                os.kill(child, signal.SIGKILL)
            said = pipe.read()
        _, status, _ = os.wait4(child, 0)
        result = json.loads(said) if said else {"verbs": {}, "faults": []}
        faults = result["faults"]
        if os.WIFSIGNALED(status):
            faults.append(f"crash: signal {os.WTERMSIG(status)}")
        if snapshot(outside) != before:
            faults.append("changed beside the run")
        return Tried(result["verbs"], faults)


def _in_child(
    writer: int, todo: dict[str, list[str]], out: Path, case: Case, expected: dict[str, bytes]
) -> None:
    signal.signal(signal.SIGALRM, _overdue)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verbs: dict[str, tuple[str, str]] = {}
    faults: list[str] = []
    for verb, arguments in todo.items():
        verbs[verb] = outcome(arguments, SECONDS)
        if verb == "sample" and verbs[verb][0] == "done" and case.flip:
            if out.read_bytes() != expected[case.run]:
                faults.append("silently other samples")
        out.unlink(missing_ok=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) << 10
    if grown > GROWTH:
        faults.append(f"memory grew by {grown >> 20} MB")
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(json.dumps({"verbs": verbs, "faults": faults}).encode())
    os._exit(0)


def trial(count: int, seed: int, *, show: bool = False) -> tuple[Counter[str], list[str]]:
    """Counts of what became of the cases, and a line for each that went wrong."""
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        sound, here = Path(place), os.getcwd()
        try:
            make_runs(sound)
            expected = {name: drawn(sound, name) for name in RUNS}
            for number, case in enumerate(cases(count, random.Random(seed))):
                result = tried(case, sound, expected, seed + number)
                ends = {how for how, _ in result.verbs.values()}
                bad = sorted(ends - {"done", "refused"}) + result.faults
                counts.update(f"{v} {how}" for v, (how, _) in result.verbs.items())
                counts.update(f"case: {b.split(':')[0].split(' by ')[0]}" for b in bad)
                counts["cases"] += 1
                counts["cases that went wrong"] += bool(bad)
                if bad or show:
                    wrong.append(f"#{number} {case.name} ({case.run}): {bad} {result.verbs}")
        finally:
            os.chdir(here)
    return counts, wrong


def drawn(sound: Path, name: str) -> bytes:
    out = sound / ("drawn.npz" if name == "made" else "drawn.csv")
    assert outcome(commands(sound / "runs" / name, out)["sample"])[0] == "done"
    content = out.read_bytes()
    out.unlink()
    return content


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="every case, not only the wrong ones")
    given = parser.parse_args()
    torch.set_num_threads(1)
    counts, wrong = trial(given.cases, given.seed, show=given.show)
    for line in wrong:
        print(line)
    for name, n in sorted(counts.items()):
        print(f"{n:5d} {name}")
    sys.exit(bool(counts["cases that went wrong"]))
