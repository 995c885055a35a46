"""Calls from Python with values of other types, ranges, shapes and kinds: each is one sentence."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import pofx
from pofx.errors import UserError
from pofx.training.loop import Options

NAN, INF = float("nan"), float("inf")
SMALL = {"latent": 2, "hidden": (8,), "batch_size": 16, "steps": 1, "quiet": True}
X = torch.zeros(2, 2)

FITTING = [
    *({"recipe": r} for r in (None, 5, b"vae", "vea", "")),
    *({"data": d} for d in (None, 5, "", "none", [], [[1.0, 2.0]], {}, object(), np.zeros(0))),
    {"data": np.array(["a", "b"])},
    {"data": np.zeros((9, 2), complex)},
    {"data": np.full((9, 2), NAN)},
    *({"out": o} for o in (5, b"r", "", ["r"])),
    *({"steps": s} for s in (0, -1, 1.5, "5", True, NAN)),
    *({"steps": None, "minutes": m} for m in (0, -1, NAN, INF, "x", True, [1])),
    {"minutes": 1},
    *({"options": o} for o in (None, {}, 5)),
    *({"device": d} for d in (5, None, "", "gpu9", "cuda:99")),
    *({"threads": t} for t in (0, -1, 1.5, "2", 10**9, True)),
    *({"save_every": s} for s in (0, -1, 1.5, True)),
    *({"sample_every": s} for s in (0, "x", [])),
    *({"keep": k} for k in ("all", None, 5, [])),
    *({"data_options": o} for o in (5, [], "limit", {"x": 1}, {1: 2})),
    *({"data_options": {"limit": v}} for v in ("a", -1, 1.5, True, [])),
    *({"data_options": {"resize": v}} for v in ("x", 0, 1.5, (1,), (1, "x"))),
    *({"data_options": {"binarize": v}} for v in ("x", 5, True, [])),
    *({"data_options": {"classes": v}} for v in (5, [], 1.5)),
    *({"data_options": {"length": v}} for v in ("x", 0, 1.5)),
    *({"data_options": {"label": v}} for v in (5, [])),
    *({"data_options": {"standardize": v}} for v in ("no", 5)),
    {"data_options": {"seed": "x"}},
    {"command": 5},
    {"foo": 1},
    *({"latent": v} for v in ("x", -1, 1.5, True, None, [2])),
    *({"hidden": v} for v in (5, (0,), "ab", (1.5,), ("x",), None)),
    *({"lr": v} for v in (NAN, INF, "x", -1, 0, None)),
    *({"batch_size": v} for v in (0, 1.5, "x", -1)),
    *({"seed": v} for v in ("x", 1.5, 2**64, None, [1])),
]


def named(value: object) -> str:
    """A name that is the same in every process: without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:60]


@pytest.mark.parametrize("call", FITTING, ids=named)
def test_fit(call):
    given = {"recipe": "vae", "data": "two-moons", "out": "r", **SMALL, **call}
    with pytest.raises(UserError) as caught:
        pofx.fit(**given)
    assert "\n" not in str(caught.value)
    assert not Path("r").exists()


@pytest.mark.parametrize(
    "call",
    [
        *({"accumulate": v} for v in (0, -1, 1.5, "2", None)),
        *({"precision": v} for v in ("float16", 5, None)),
        *({"on_nonfinite": v} for v in ("hope", None)),
        *({"seed": v} for v in (1.5, "x", 2**64, None)),
        *({"keyed_noise": v} for v in ("yes", 1, None)),
    ],
    ids=named,
)
def test_options(call):
    (name,) = call
    with pytest.raises(UserError, match=rf"--{name.replace('_', '-')} must be .* \(got .*\): give"):
        Options(**call)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pofx.fit("vae", "two-moons", out=tmp_path_factory.mktemp("wrong") / "run", **SMALL)


CALLS = [
    *(("sample", (n,), {}) for n in (0, -1, 1.5, "2", None, True, [2], NAN)),
    *(("sample", (2,), {"batch": b}) for b in (0, -1, 1.5, "x", None)),
    *(("sample", (2,), {"seed": s}) for s in (1.5, "x", None, 2**64)),
    *(("sample", (2,), {"cond": c}) for c in (1, "x", [1, 2])),
    *(("sample", (2,), {"prior": p}) for p in (5, "run", object())),
    *(("sample", (2,), {"worse": p}) for p in (5, "run")),
    ("sample", (2,), {"stop": 5}),
    ("sample", (2,), {"foo": 1}),
    ("sample", (2,), {"prompt": 5}),
    *(("save", (x, "x.csv"), {}) for x in (None, 5, X.numpy(), torch.zeros(2, 3), X[0], "x")),
    *(("save", (X, path), {}) for path in (None, 5, "", "x.jpg", b"x.csv")),
    ("save", (X, "x.csv"), {"cond": 5}),
    ("save", (X, "x.npz"), {"cond": torch.zeros(3)}),
    *(("evaluate", (), {"n": n}) for n in (0, -1, 1.5, "x", True)),
    *(("evaluate", (), {"features": f}) for f in ("x", 5, [])),
    *(("evaluate", (), {"split": s}) for s in ("x", 5, None)),
    *(("evaluate", (), {"seed": s}) for s in ("x", 1.5)),
    *(("evaluate", (), {"prior": p}) for p in (5, "run")),
    *(("evaluate", (), {"out": o}) for o in (5, b"x")),
    ("evaluate", (), {"weights": 5, "features": "inception"}),
    ("evaluate", (), {"foo": 5}),
    *(("encode", (source,), {}) for source in (5, "none", object(), torch.zeros(2, 9))),
    *(("encode", (), {"limit": v}) for v in (0, -1, 1.5, "x", True)),
    *(("encode", (), {"seed": v}) for v in ("x", 1.5)),
    *(("decode", (z,), {}) for z in (None, 5, X.numpy(), torch.zeros(2, 3), torch.zeros(2), "x")),
    *(("decode", (z,), {}) for z in (X / 0, X.to(torch.complex64), X[:0])),
    ("decode", (X,), {"cond": 1}),
    ("decode", (X,), {"seed": "x"}),
    *(("interpolate", (0, last), {}) for last in (-1, 10**9, "x", 1.5, None)),
    *(("interpolate", (0, 1), {"steps": s}) for s in (1, -1, 1.5, "x", True)),
    *(("interpolate", (0, 1), {"curve": c}) for c in ("x", 5, None)),
    *(("traverse", (example,), {}) for example in (-1, 10**9, "x", 1.5)),
    *(("traverse", (), {"dimensions": d}) for d in ([99], ["x"], 5, [], [-1], [0.5])),
    *(("traverse", (), {"reach": r}) for r in (0, -1, INF, NAN, "x", None, True)),
    *(("traverse", (), {"steps": s}) for s in (1, 1.5, "x")),
    *(("anomaly", (), {"quantile": q}) for q in (0, 1, NAN, "x", -1, None)),
    *(("anomaly", (), {"score": s}) for s in ("x", 5)),
    ("anomaly", (), {"normal": 5}),
    ("anomaly", (5,), {}),
    ("anomaly", (), {"seed": "x"}),
    ("examples", (5,), {}),
    *(("complete", (X, torch.ones(2).bool()), {"seed": s}) for s in (1.5,)),
    *(("resume", (), {"steps": s}) for s in (0, -1, 1.5, "x", True)),
    *(("resume", (), {"minutes": m}) for m in (0, NAN, "x")),
    ("resume", (), {"steps": 3, "minutes": 1}),
    ("with_prior", (5,), {}),
]


@pytest.mark.parametrize(("method", "arguments", "options"), CALLS, ids=named)
def test_run(method, arguments, options, run):
    with pytest.raises(UserError) as caught:
        getattr(run, method)(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("path", [None, 5, b"run", "", "none", ["run"], "\0", "x" * 5000])
def test_load_and_resume(path):
    for opened in (pofx.load, pofx.resume):
        with pytest.raises(UserError, match="run"):
            opened(path)


@pytest.mark.parametrize("device", [5, None, "", "gpu9", "cuda:99"])
def test_devices(device, run):
    with pytest.raises(UserError, match="--device"):
        pofx.load(run.path, device=device)


def test_whole_numbers_of_numpy_and_devices_of_torch_are_taken():
    run = pofx.fit(
        "vae", "two-moons", device=torch.device("cpu"), seed=np.int64(3),
        **{**SMALL, "steps": np.int64(2), "latent": np.int64(2)},
    )  # fmt: skip
    assert run.step == 2
    assert run.job.options["seed"] == 3
