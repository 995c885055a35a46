"""Bad runs and flags through the real command line: one sentence, and nothing left behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pofx.cli import main
from pofx.training.folder import sealed

SMALL = ["--latent", 2, "--hidden", 8, "--channels", 4, "--batch-size", 16, "--steps", 2, "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of small runs: `plain`, `classes` and `table`."""
    folder = tmp_path_factory.mktemp("runs")
    table = folder / "pets.csv"
    table.write_text("age,pet\n" + "".join(f"{i},{'cat' if i % 3 else 'dog'}\n" for i in range(60)))
    for name, options in (
        ("plain", []), ("classes", ["--conditional"]), ("table", ["--data", table])
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in ["train", "vae", *SMALL, *options, "--out", folder / name]])
        assert not ended.value.code
    return folder


def copied(trained, name):
    """The run, copied to where a case may damage it."""
    shutil.copytree(trained / name, name)
    return Path(name)


SAMPLING = [
    ("plain", ["--foo", 3], "--foo", "it takes none"),
    ("plain", ["--seeed", 3], "--seeed", "did you mean '--seed'"),
    ("plain", ["--seeed=3"], "--seeed", "did you mean '--seed'"),
    ("plain", ["--steps"], "--steps", "in pairs"),
    ("plain", ["more"], "more", "in pairs"),
    ("plain", ["-n", 0], "0", "x>=1"),
    ("plain", ["-n", "many"], "many", "integer"),
    ("plain", ["-n", 10**12], "1,000,000,000,000", "draw fewer"),
    ("plain", ["--batch", -1], "-1", "x>=1"),
    ("plain", ["--seed", "nan"], "nan", "whole number"),
    ("plain", ["--class", 1], "not trained on classes", "takes no class"),
    ("classes", ["--class", "cat"], "'cat'", "choose one of"),
    ("classes", ["--class", 11], "'11'", "did you mean '1'"),
    ("classes", ["--class", -1], "'-1'", "did you mean '1'"),
    ("plain", ["--device", "gpu9"], "gpu9", "use auto or cpu"),
    ("plain", ["--device", "meta"], "meta", "use auto or cpu"),
    ("plain", ["--out", "x.jpg"], "x.jpg", "use .png"),
    ("plain", ["--out", "new/x.csv"], "new/x.csv", "write a .png"),
    ("table", ["--out", "new/x.npz"], "new/x.npz", "write a .csv"),
    ("table", ["--out", "new/x/"], "images, which these data are not", "write a .npz or .csv"),
    ("plain", ["--out", "full"], "full is a folder that is not empty", "choose another"),
    ("plain", ["--out", "full/mine.txt/x.png"], "cannot be written", "choose another"),
    ("plain", ["--out", "n" * 300 + ".png"], "cannot be written", "choose another"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "options", "reason", "remedy"), SAMPLING,
                         ids=[" ".join(map(str, s[1]))[:40] for s in SAMPLING])  # fmt: skip
def test_sampling(run, options, reason, remedy, trained, refused):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    refused(["sample", trained / run, *options], reason, remedy)


MODELS_OWN = [
    ("steps", "abc", "a whole number"), ("steps", "1.5", "a whole number"),
    ("steps", "-5", "from 1 to 100000"), ("steps", "true", "a whole number"),
    ("eta", "nan", "finite number"), ("eta", "x", "finite number"), ("sampler", "3", "a word"),
    ("sampler", "ddmp", "did you mean 'ddim'"), ("steps", "0", "from 1 to 100000"),
    ("eta", "7", "from 0 to 1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddpm") / "run"
    with pytest.raises(SystemExit) as ended:
        main(["train", "ddpm", "--data", "two-moons", "--hidden", "8", "--batch-size", "8",
              "--steps", "1", "--quiet", "--out", str(folder)])  # fmt: skip
    assert not ended.value.code
    return folder


@pytest.mark.parametrize(("name", "value", "remedy"), MODELS_OWN)
def test_a_samplers_own_options(name, value, remedy, diffusion, refused):
    refused(["sample", diffusion, f"--{name}", value], name, remedy)


def rewritten(**changes):
    def damage(run):
        content = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(sealed({**content, **changes})))

    return damage


def edited(run):
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"steps": 2', '"steps": 3'))


def unhashed(run):
    content = json.loads((run / "run.json").read_text())
    content.pop("sha256")
    (run / "run.json").write_text(json.dumps(content))


def filled(file, content):
    return lambda run: (run / file).write_bytes(content)


def flipped(run):
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def unchecked(run):
    shutil.rmtree(run / "checkpoints")


ALL = ("sample", "evaluate", "resume")
BOTH = ("sample", "evaluate")
DAMAGED = [
    ("no run", lambda run: (run / "run.json").unlink(), ALL, "no run in", "pofx runs"),
    ("empty", filled("run.json", b""), ALL, "run.json' is damaged", "restore it"),
    ("text", filled("run.json", b"hello"), ALL, "run.json' is damaged", "restore it"),
    ("not UTF-8", filled("run.json", b"\xff"), ALL, "run.json' is damaged", "restore it"),
    ("a list", filled("run.json", b"[1]"), ALL, "run.json' is damaged", "restore it"),
    ("nested", filled("run.json", b"[" * 100_000), ALL, "run.json' is damaged", "restore it"),
    ("edited", edited, ALL, "must be as pofx wrote it", "resume plain --steps"),
    ("unhashed", unhashed, ALL, "must be as pofx wrote it", "train a new run"),
    ("steps", rewritten(steps=-5), ALL, "'steps' must be a whole number from 1, or none (got -5)",
     "restore it"),
    ("minutes", rewritten(steps=None, minutes=-1), ALL, "positive number, or none (got -1)",
     "restore"),
    ("no number", rewritten(minutes=float("nan")), ALL, "positive number, or none (got nan)",
     "restore"),
    ("threads", rewritten(threads=10**6), ALL, "from 1 to 1,024, or none (got 1000000)", "restore"),
    ("clip", rewritten(options={"clip": -1}), ALL, "'options clip' must be a positive", "restore"),
    ("kept", rewritten(keep="all"), ALL, "'keep' must be one of last, best (got 'all')", "restore"),
    ("long", rewritten(device="x" * 10**6 + "y" * 10**6), ALL, "must be a name (got 'xxx",
     "restore"),
    ("newer", rewritten(format=99), ALL, "newer version", "upgrade"),
    ("unknown recipe", rewritten(recipe="vea"), ALL, "'vea'", "did you mean 'vae'"),
    ("a module", rewritten(recipe="os.system"), ALL, "'os.system'", "choose one of"),
    ("a numbered recipe", rewritten(recipe=5), ALL, "'recipe' must be a name (got 5)",
     "restore it"),
    ("unknown argument", rewritten(arguments={"x": 1}), ALL, "no argument 'x'", "choose one of"),
    ("listed arguments", rewritten(arguments=[1]), ALL, "a set of named values (got [1])",
     "restore"),
    ("no spec", rewritten(spec={}), ALL, "run.json' is damaged", "restore it"),
    ("no schema", rewritten(schema={}), ALL, "run.json' is damaged", "restore it"),
    ("no source", rewritten(source={}), ALL, "'source' must name data", "restore it"),
    ("odd source", rewritten(source={"source": "digits", "x": 1}), ALL, "entry 'x'", "restore it"),
    ("an entry more", rewritten(more=1), ALL, "'more'", "restore it"),
    ("data gone", rewritten(source={"source": "gone.csv"}), ALL[1:], "gone.csv", "give one"),
    ("data changed", rewritten(fingerprint="0"), ALL[1:], "changed since", "restore"),
    ("other widths", rewritten(arguments={"latent": 3}), BOTH, "do not fit recipe", "train it"),
    ("no weights", lambda run: (run / "model.safetensors").unlink(), BOTH, "no weights", "resume"),
    ("empty weights", filled("model.safetensors", b""), BOTH, "damaged", "`pofx resume"),
    ("text weights", filled("model.safetensors", b"hello, world"), BOTH, "damaged", "`pofx resume"),
    ("one bit", flipped, BOTH, "model.safetensors is damaged", "pofx resume"),
    ("no checkpoint", unchecked, ALL[2:], "no checkpoint to go on from", "train a new run"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "verbs", "reason", "remedy"), [d[1:] for d in DAMAGED],
                         ids=[d[0] for d in DAMAGED])  # fmt: skip
def test_a_damaged_run(damage, verbs, reason, remedy, trained, refused):
    run = copied(trained, "plain")
    damage(run)
    for verb in verbs:
        refused([verb, run], reason, remedy)


def test_damaged_runs_are_listed_as_such(trained, capsys):
    for number, (_, damage, *_) in enumerate(DAMAGED):
        shutil.copytree(trained / "plain", f"many/{number}[/b]")
        damage(Path(f"many/{number}[/b]"))
    copied(trained, "plain")
    filled("metrics.jsonl", b'5\n[1]\nx\n{"loss": NaN, "seconds": "x", "step": []}\n')(
        Path("plain")
    )
    Path("broken").symlink_to("nowhere")
    with pytest.raises(SystemExit) as ended:
        main(["runs", "."])
    assert not ended.value.code
    said = capsys.readouterr().out
    unread = ("empty", "text", "not UTF-8", "a list", "nested", "no source", "listed arguments",
              "a numbered recipe")  # fmt: skip
    listed = {f"many/{i}[/b]" for i, case in enumerate(DAMAGED) if case[0] in unread}
    assert {line.split()[0] for line in said.splitlines() if "damaged" in line} == listed
    assert max(map(len, said.splitlines())) <= 160


def test_a_name_that_the_terminal_lacks_is_replaced():
    Path("日本").mkdir()
    Path("日本/run.json").write_text('{"recipe": "vae", "source": {"source": "é"}}')
    done = subprocess.run(
        [sys.executable, "-c", "from pofx.cli import main; main(['runs', '.'])"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "?? " in done.stdout


TRAINING = [
    (["--data", "pets.csv", "--conditional"], "classes", "leave it out"),
    (["--out", "full"], "full", "choose another --out"),
    (["--out", ""], "an empty name came", "leave it out"),
    (["--out", "full/mine.txt"], "full/mine.txt", "choose another --out"),
    (["--out", "full/mine.txt/run"], "full/mine.txt", "choose another"),
    (["--out", "n" * 300], "too long", "choose another"),
    (["--minutes", "1"], "exclude each other", "give one"),
    (["--minutes", "nan"], "nan", "positive"),
    (["--steps", "0"], "0", "x>=1"),
    (["--steps", "1.5"], "1.5", "integer"),
    (["--seed", "9" * 30], "9" * 30, "64 bits"),
    (["--threads", "100000000"], "100000000", "1<=x<="),
    (["--clip", "-1"], "-1", "above 0"),
    (["--lr", "-1"], "-1", "above 0"),
    (["--lr", "inf"], "inf", "finite number"),
    (["--beta", "nan"], "nan", "finite number"),
    (["--latent", "-3"], "-3", "at least 1"),
    (["--latent", str(10**12)], "at most 2,147,483,647", "smaller"),
    (["--hidden", "8,0"], "8,0", "at least 1"),
    (["--hidden", ""], "''", "separated by commas"),
    (["--hidden", "a,b"], "a,b", "separated by commas"),
    (["--channels", "-1"], "-1", "at least 0"),
    (["--batch-size", "0"], "0", "at least 1"),
    (["--device", "cuda:99"], "cuda:99", "use auto or cpu"),
    (["--precision", "float16"], "float16", "bfloat16"),
    (["--keep", "both"], "both", "last"),
    (["--on-nonfinite", "hope"], "hope", "rollback"),
    (["--limit", "2"], "limit is 2", "at least 3"),
    (["--data", ""], "no name", "give a path"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "reason", "remedy"), TRAINING,
                         ids=[" ".join(t[0])[:40] for t in TRAINING])  # fmt: skip
def test_training(options, reason, remedy, trained, refused):
    shutil.copy(trained / "pets.csv", "pets.csv")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    refused(["train", "vae", *SMALL, *options], reason, remedy)


EVALUATING = [
    ("plain", ["-n", "5"], "5", "x>=10"),
    ("plain", ["--features", "all"], "all", "classifier"),
    ("plain", ["--weights", "w.safetensors"], "--weights", "--features inception"),
    ("table", ["--features", "classifier"], "two classes", "pca or raw"),
    ("table", ["--features", "inception"], "images", "pca or raw"),
    ("plain", ["--split", "all"], "all", "valid"),
    ("plain", ["--device", "gpu9"], "gpu9", "use auto or cpu"),
    ("plain", ["--seed", "9" * 30], "9" * 30, "64 bits"),
]


@pytest.mark.parametrize(("run", "options", "reason", "remedy"), EVALUATING,
                         ids=[" ".join(e[1])[:40] for e in EVALUATING])  # fmt: skip
def test_evaluating(run, options, reason, remedy, trained, refused):
    refused(["evaluate", trained / run, *options], reason, remedy)


OTHERWISE = [
    (["resume", "plain", "--minutes", "nan"], "nan", "positive"),
    (["resume", "plain", "--steps", "3", "--minutes", "1"], "exclude each other", "give one"),
    (["resume"], "RUN", "--help"),
    (["runs", "a", "b"], "extra argument", "--help"),
    (["show", "vae", "gan"], "extra argument", "--help"),
    (["--sede"], "--sede", "--help"),
    (["Train"], "'Train'", "did you mean 'train'"),
    ([""], "''", "choose one of"),
    (["dat\x1b[31m"], "dat", "did you mean 'data'"),
]


@pytest.mark.parametrize(("arguments", "reason", "remedy"), OTHERWISE,
                         ids=[repr(" ".join(o[0])) for o in OTHERWISE])  # fmt: skip
def test_other_commands(arguments, reason, remedy, trained, refused):
    copied(trained, "plain")
    refused(arguments, reason, remedy)
