"""Who may import whom: an import that goes up fails here."""

import ast
from pathlib import Path

import pytest

import pofx

ROOT = Path(pofx.__file__).parent
ZERO = [
    "typing", "errors", "spec", "batch", "capabilities", "objective", "parameters", "recipe",
    "tables",
]  # fmt: skip
ONE = ["functional", "distributions", "solvers", "mcmc"]
FAMILIES = ["classical", "ae", "vae", "vq", "gan", "autoregressive", "flow", "ebm", "diffusion"]
FIVE = ["training", "data", "evaluation", "catalogue", "signatures"]
FLOOR = {
    **dict.fromkeys(ZERO, 0),
    **dict.fromkeys(ONE, 1),
    "nn": 2,
    **dict.fromkeys(FAMILIES, 3),
    **dict.fromkeys(["consistency", "hybrids"], 4),
    **dict.fromkeys(FIVE, 5),
    **dict.fromkeys(["arguments", "opened", "run", "cli", "__init__", "__main__"], 6),
}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "pofx"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        found |= {n.split(".")[1] for n in names if n and n.startswith("pofx.")}
    return found - {"__version__"}


def allowed(source: str, target: str) -> bool:
    if source == target or FLOOR[source] == 6:
        return True
    if FLOOR[source] == 5:
        return FLOOR[target] in (0, 1, 2, 5)
    return FLOOR[target] < FLOOR[source] or FLOOR[source] == FLOOR[target] in (0, 1)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    for target in imports(path):
        assert allowed(room(path), target), f"{path.relative_to(ROOT)} imports {target}"


def test_every_file_has_a_floor_a_name_that_says_something_and_a_bounded_length() -> None:
    empty = {"utils", "util", "misc", "common", "helpers", "helper", "base", "config", "manager"}
    for path in FILES:
        assert room(path) in FLOOR, path
        assert path.stem not in empty, path
        assert len(path.read_text().splitlines()) <= 600, path


def test_an_upward_import_is_seen() -> None:
    assert not allowed("training", "vae")
    assert not allowed("vae", "gan")
    assert not allowed("functional", "nn")
    assert not allowed("nn", "training")
    assert allowed("training", "functional")


FORBIDDEN = ("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_loaded_can_run_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {a.name.split(".")[0] for a in node.names} & set(FORBIDDEN)
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "yaml.load", "os.system"), called
            assert not called.endswith("extractall")
            for k in node.keywords:
                assert (k.arg, ast.unparse(k.value)) not in [
                    ("allow_pickle", "True"),
                    ("shell", "True"),
                ]
