"""A run folder may come from anybody: what is in it is refused in a sentence, or is as it was."""

import json
import os
import random
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from pofx.cli import main
from pofx.errors import UserError
from pofx.training import checkpoint, regular
from pofx.training.claim import claimed
from pofx.training.distributed import World
from pofx.training.fit import Interrupted, fit, resume
from pofx.training.folder import RunError, new_folder, read, sealed

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

SMALL = {"latent": 2, "hidden": (8,), "batch_size": 16, "quiet": True, "save_every": 2}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "run"
    return fit("vae", "two-moons", out=out, steps=4, **SMALL)


@pytest.fixture
def run(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def test_damaged_and_hostile_folders_are_refused_or_as_they_were():
    import hostile

    counts, wrong = hostile.trial(12, 7)
    assert not wrong
    assert counts["cases"] == 12
    assert counts["sample refused"]
    assert counts["sample done"]


def put(kind: str, path: Path, outside: Path) -> None:
    """Something else in the place of a file or a folder."""
    import hostile

    if kind == "huge":
        with path.open("wb") as f:
            f.truncate(4 << 40)
    else:
        hostile.put(path, kind, outside)


@pytest.mark.parametrize("kind", ["link", "device", "pipe", "socket", "huge"])
@pytest.mark.parametrize(
    "name",
    ["run.json", ".lock", "metrics.jsonl", "evaluation.json", "checkpoints", "samples"],
)
def test_what_is_no_file_of_the_run_is_refused(kind, name, run, tmp_path):
    outside = tmp_path / "mine"
    folder = name in ("checkpoints", "samples")
    if folder:
        outside.mkdir()
        (outside / "00000001").mkdir()
        (run / name).rename(tmp_path / "moved") if (run / name).exists() else None
    else:
        outside.write_text("mine\n")
        (run / name).unlink(missing_ok=True)
    put(kind, run / name, outside)
    words = "must be a (regular file|folder)|must have at most"
    for opened in (read, lambda path: resume(path, steps=6, quiet=True)):
        with pytest.raises(UserError, match=words) as caught:
            opened(run)
        assert "\n" not in str(caught.value)
    assert (outside / "00000001").is_dir() if folder else outside.read_text() == "mine\n"


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_a_second_name_of_what_is_written_in_place_is_refused(name, run, tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    (run / name).unlink()
    os.link(tmp_path / "mine", run / name)
    with pytest.raises(regular.StrangeFile, match="no second name"):
        resume(run, steps=6, quiet=True)
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_a_runs_folder_may_itself_be_a_link(run, tmp_path):
    (tmp_path / "short").symlink_to(run)
    assert resume(tmp_path / "short", steps=6, quiet=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "new").symlink_to(tmp_path / "empty")
    fit("vae", "two-moons", out=tmp_path / "new", steps=1, **SMALL)
    assert (tmp_path / "empty" / "run.json").exists()


def forged(run: Path, change) -> None:
    """Every checkpoint with other tensors and numbers, and hashes that agree."""
    import hostile

    for folder in checkpoint.checkpoints(run / "checkpoints"):
        state, numbers = folder / "state.safetensors", folder / "numbers.json"
        tensors, values = load_tensors(state.read_bytes()), json.loads(numbers.read_text())
        change(tensors, values)
        state.write_bytes(save_tensors(tensors))
        numbers.write_text(json.dumps(values))
        hostile._described_anew(folder)


MOMENT = "optimizer.model.exp_avg"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t, n: t.update({MOMENT: t[MOMENT][:1].clone()}), r"exp_avg' is float32 of shape"),
        (lambda t, n: t.update({MOMENT: t[MOMENT].repeat(9)}), r"exp_avg' is float32 of shape"),
        (lambda t, n: t.update({MOMENT: t[MOMENT].half()}), "exp_avg' is float16"),
        (lambda t, n: t.pop(MOMENT), "exp_avg' is missing"),
        (lambda t, n: t.update(more=torch.zeros(1)), "'more' is one too many"),
        (lambda t, n: t.update({MOMENT: t[MOMENT] / 0}), "exp_avg' is NaN or infinite"),
        (lambda t, n: t.update({f"{MOMENT}_sq": t[MOMENT] - 1}), "'exp_avg_sq' must be at least 0"),
        (lambda t, n: n.update(elapsed=float("nan")), "'elapsed' must be a number of seconds"),
        (lambda t, n: n.update(elapsed=-1), "'elapsed' must be a number of seconds"),
        (lambda t, n: n.update(lr_scale=-1.0), "'lr_scale' must be a number above 0"),
        (lambda t, n: n.update(lr_scale=1e300), "'lr_scale' must be a number above 0"),
        (lambda t, n: n.update(skipped="x"), "'skipped' must be a whole number"),
        (lambda t, n: n.update(metrics=-1), "'metrics' must be a whole number"),
        (lambda t, n: n.update(step=True), "'step' must be a whole number"),
        (lambda t, n: n.update(step=1), "'step' must be"),
        (lambda t, n: n.pop("step"), "numbers must be step"),
    ],
)
def test_what_does_not_fit_a_training_is_refused_before_it_is_used(change, match, run):
    forged(run, change)
    with pytest.raises(checkpoint.CheckpointError, match=match):
        resume(run, steps=6, quiet=True)


def test_a_metrics_position_beyond_the_file_leaves_the_file_as_it_is(run):
    forged(run, lambda t, n: n.update(metrics=1 << 60))
    before = (run / "metrics.jsonl").read_bytes()
    resume(run, steps=6, quiet=True)
    assert (run / "metrics.jsonl").read_bytes().startswith(before)
    assert b"\0" not in (run / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
        lambda folder: (folder / "manifest.json").write_text('{"a":' * 500 + "1" + "}" * 500),
        lambda folder: (folder / "state.safetensors").write_bytes(b""),
        lambda folder: put("pipe", folder / "more", folder) or (folder / "numbers.json").unlink(),
        lambda folder: (folder.rename(folder.parent / "x"), folder.symlink_to("/dev")),
    ],
)
def test_a_damaged_newest_checkpoint_is_told_of_even_when_quiet(damage, run, capfd):
    newest = checkpoint.checkpoints(run / "checkpoints")[-1]
    damage(newest)
    resume(run, steps=6, quiet=True)
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert str(newest) in said
    assert "Falling back to an older checkpoint" in said


def test_weights_that_are_not_finite_or_of_another_recipe_are_refused(run):
    import pofx

    path = run / "model.safetensors"
    tensors, metadata = checkpoint.load_model(path)
    for change, match in (
        (lambda t, m: t.update({k: v / 0 for k, v in t.items()}), "NaN or infinite"),
        (lambda t, m: t.update({k: v.double() for k, v in t.items()}), "is float64"),
        (lambda t, m: t.popitem(), "is missing"),
        (lambda t, m: t.update(more=torch.zeros(1)), "one too many"),
        (lambda t, m: m.update(recipe="gan"), "of another"),
        (lambda t, m: m.update(step="-1"), "damaged"),
    ):
        found, said = dict(tensors), dict(metadata)
        change(found, said)
        said["sha256"] = checkpoint.model_hash(found)
        path.write_bytes(save_tensors(found, said))
        with pytest.raises(UserError, match=match):
            pofx.load(run).sample(2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "names an entry twice"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_that_is_deep_or_double_is_none(text, match):
    with pytest.raises(ValueError, match=match):
        regular.parse(text)


def test_an_edited_run_says_what_to_do(run):
    job = json.loads((run / "run.json").read_text())
    job["arguments"]["latent"] = 3
    (run / "run.json").write_text(json.dumps(job))
    with pytest.raises(RunError, match=r"was changed .* `pofx resume .* --steps`"):
        read(run)
    (run / "run.json").write_text(json.dumps(sealed(job)))
    assert read(run).arguments["latent"] == 3


# -- one folder, one run --------------------------------------------------------------------------


def taken(out: str | None, *, again: bool):
    def choose() -> Path:
        return new_folder(out, "vae", "digits")

    return claimed(choose, again=again, here=World(), spare=Interrupted)


def test_two_runs_of_one_default_name_have_two_numbers():
    with taken(None, again=True) as first, taken(None, again=True) as second:
        assert [first.name, second.name] == ["vae-digits", "vae-digits-2"]


def test_what_is_trained_between_a_look_and_a_lock_is_not_written_over(monkeypatch, tmp_path):
    """The check finds the folder free; by the time of the lock another run has come and gone."""
    real = checkpoint.lock

    def slow(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("theirs")
        return real(folder)

    monkeypatch.setattr("pofx.training.claim.lock", slow)
    with pytest.raises(RunError, match="holds a run already"):
        with taken("out", again=False):
            pass
    assert Path("out/run.json").read_text() == "theirs"


def test_a_lock_that_was_removed_is_taken_anew(tmp_path):
    with checkpoint.lock(tmp_path):
        (tmp_path / ".lock").unlink()
        with checkpoint.lock(tmp_path):
            with pytest.raises(UserError, match="is being trained by process"):
                with checkpoint.lock(tmp_path):
                    pass


@pytest.mark.parametrize("before", [False, True])
def test_a_run_that_never_took_a_step_leaves_its_name_free(before, monkeypatch):
    if before:
        Path("r").mkdir()

    def refused(*_, **__):
        Path("r/samples").mkdir()
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("pofx.training.fit.batches", refused)
        with pytest.raises(MemoryError):
            fit("vae", "two-moons", out="r", steps=2, **SMALL)
    assert Path("r").exists() == before
    assert not before or not any(Path("r").iterdir())
    fit("vae", "two-moons", out="r", steps=2, **SMALL)


def test_leftovers_of_a_killed_process_are_swept_and_those_of_a_living_one_are_not(run):
    from pofx.data.whole import complete

    left = [".model.safetensors.1f.tmp", ".run.json.2e.tmp", ".abc.part", "samples/.d.part"]
    (run / "samples").mkdir(exist_ok=True)
    for name in left:
        (run / name).write_text("half")
    (run / ".folder.part").mkdir()
    (run / "checkpoints/.tmp-00000009").mkdir()
    with complete(run / "drawn.csv", "w") as file:
        resume(run, steps=6, quiet=True)
        file.write("whole")
    assert (run / "drawn.csv").read_text() == "whole"
    assert not [p for p in run.rglob(".*") if p.name != ".lock"]


def test_a_picture_that_a_kill_prevented_is_drawn_by_the_next_resume(run):
    (drawn,) = (run / "samples").glob("000004.*")
    content = drawn.read_bytes()
    drawn.unlink()
    resume(run, quiet=True)
    assert drawn.read_bytes() == content


# -- a disk that refuses --------------------------------------------------------------------------


def ended(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code or 0


@pytest.fixture
def small_files():
    """No file may grow: what `RLIMIT_FSIZE` does to a write is what a full disk does."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def told(capsys) -> tuple[str, str]:
    out, err = capsys.readouterr()
    *warnings, last = err.splitlines()
    assert all(w.startswith("warning: ") for w in warnings), err
    assert last.startswith("pofx: ")
    return out, last


def test_a_disk_that_is_full_ends_training_in_a_sentence(small_files, capsys):
    small_files(3000)
    assert ended("train", "vae", "--data", "two-moons", "--hidden", 8, "--steps", 30, "--quiet",
                 "--out", "r", "--save-every", 1) == 2  # fmt: skip
    _, err = told(capsys)
    assert "File too large" in err


@pytest.mark.parametrize("verb", ["evaluate", "anomaly", "encode", "sample", "resume"])
def test_a_disk_that_is_full_costs_no_verb_more_than_its_file(verb, run, small_files, capsys):
    before = {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file() and p.stat().st_size}
    more = {"evaluate": ["-n", 20, "--features", "raw"], "resume": ["--steps", 6, "--quiet"]}
    small_files(0)
    assert ended(verb, run, *more.get(verb, [])) == 2
    out, err = told(capsys)
    assert "File too large" in err
    assert {"evaluate": "frechet", "anomaly": "threshold"}.get(verb, "") in out.lower()
    kept = {p: p.read_bytes() for p in before if p.name != ".lock"}
    assert kept == {p: c for p, c in before.items() if p.name != ".lock"}


def test_a_report_that_cannot_be_written_is_kept_by_its_error(run, monkeypatch):
    import pofx
    from pofx.run import Unwritten

    opened = pofx.load(run)
    with pytest.raises(Unwritten, match="--out") as caught:
        opened.evaluate(n=20, features="raw", out=run / "run.json" / "x.json")
    assert caught.value.report.metrics
    opened.evaluate(n=20, features="raw", out="elsewhere.json")
    assert json.loads(Path("elsewhere.json").read_text())["recipe"] == "vae"


# -- words ----------------------------------------------------------------------------------------


def test_names_that_a_terminal_would_obey_do_not_reach_it(capsys):
    name = "\x1b[31mred\a\u202e"
    rows = "\n".join(f"{random.Random(i).random()},{i % 7}" for i in range(60))
    Path(f"{name}.csv").write_text(f"{name},b\n{rows}\n")
    small = ["--latent", 2, "--hidden", 8, "--steps", 2, "--batch-size", 16]
    assert ended("train", "vae", "--data", f"{name}.csv", *small) == 0
    (run,) = Path("runs").iterdir()
    for arguments in (["evaluate", run, "-n", 20, "--features", "raw"], ["sample", run],
                      ["anomaly", run], ["runs"], ["data", f"{name}.csv"]):  # fmt: skip
        assert ended(*arguments) == 0
    assert ended("sample", f"{name}/none") == 2
    out, err = capsys.readouterr()
    assert "red" in out
    assert not {"\x1b", "\a", "\u202e", "\r"} & set(out + err)
    with pytest.raises(UserError) as caught:
        read(f"{name}/none")
    assert "\x1b" not in str(caught.value)


def test_cells_that_are_formulas_are_escaped_on_demand(capsys):
    pets = ["=1+1", "@cat", "dog", "+x", "-y", "-5"]
    rows = "\n".join(f"{random.Random(i).random():.2f},{pets[i % 6]}" for i in range(60))
    Path("pets.csv").write_text(f"age,=pet\n{rows}\n")
    assert ended("train", "gmm", "--data", "pets.csv", "--out", "r", "--quiet",
                 "--components", 1) == 0  # fmt: skip
    for flag, first in (
        ([], pets),
        (["--escape-formulas"], ["'=1+1", "'@cat", "dog", "'+x", "'-y"]),
    ):
        assert ended("sample", "r", "-n", 40, "--out", "x.csv", *flag) == 0
        header, *cells = Path("x.csv").read_text().splitlines()
        assert {c.split(",")[1] for c in cells} <= {*first, "-5"}
        assert header.split(",")[1] == ("'=pet" if flag else "=pet")
    assert ended("sample", "r", "--out", "x.npy", "--escape-formulas") == 2
    assert "leave that out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["complete", "--fraction", "nan"], "nan is not a finite number"),
        (["edit", "--strength", "nan"], "nan is not a finite number"),
        (["traverse", "--reach", "inf"], "inf is not a finite number"),
        (["traverse", "--reach", "nan"], "nan is not a finite number"),
        (["anomaly", "--quantile", "nan"], "nan is not a finite number"),
    ],
)
def test_numbers_that_are_none(arguments, words, run, capsys):
    verb, *options = arguments
    assert ended(verb, run, *options) == 2
    assert words in told(capsys)[1]


def test_a_prior_is_trained_on_codes_of_its_run(run, capsys):
    import pofx

    assert ended("encode", run, "--out", "codes.npz") == 0
    assert ended("train", "ppca", "--data", "codes.npz", "--out", "prior", "--quiet") == 0
    assert ended("train", "ppca", "--data", "two-moons", "--out", "other", "--quiet") == 0
    assert ended("sample", run, "--prior", "prior", "--out", "x.csv") == 0
    capsys.readouterr()
    assert ended("sample", run, "--prior", "other") == 2
    assert "trained on codes of" in told(capsys)[1]
    resume(run, steps=6, quiet=True)  # which moves the codes
    with pytest.raises(UserError, match=r"codes of another model .* `pofx encode"):
        pofx.load(run).sample(2, prior=pofx.load("prior"))


def test_arrays_of_many_axes_are_written_as_arrays(capsys):
    x = torch.rand(40, 2, 3, 2, 2)
    run = fit("vae", x, out="r", steps=1, **SMALL)
    assert ended("sample", run, "-n", 3) == 0
    assert capsys.readouterr().out.strip().endswith(".npz")
    assert ended("sample", run, "--out", "x.csv") == 2
    assert "these data are arrays: write a .npz" in told(capsys)[1]
