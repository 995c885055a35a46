"""What became of a run is read from its folder, whatever lies there."""

import fcntl
import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pofx.cli.runs import loss, runs
from pofx.training.status import Status, status, statuses


def made(path, *, step=None, saved=None, weights=False, seconds=5.0, recipe="vae", **job):
    path.mkdir(parents=True)
    content = {"recipe": recipe, "source": {"source": "digits"}, "arguments": {}, **job}
    (path / "run.json").write_text(json.dumps(content))
    if step:
        lines = [{"step": 1, "loss": 3.0, "seconds": 0.1}, {"step": step, "loss": 2.0,
                 "seconds": seconds}]  # fmt: skip
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if saved:
        (path / "checkpoints" / f"{saved:08d}").mkdir(parents=True)
    if weights:
        (path / "model.safetensors").write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("state", "reached", "made_by"),
    [
        ("new", "0 of 100", {}),
        ("failed", "7 of 100", {"step": 7}),
        ("stopped", "50 of 100", {"step": 50, "saved": 50, "weights": True}),
        ("stopped", "60 of 100", {"step": 60, "saved": 50}),
        ("complete", "100 of 100", {"step": 100, "saved": 100, "weights": True}),
    ],
)
def test_states_of_a_budget_in_steps(tmp_path, state, reached, made_by):
    found = status(made(tmp_path / "run", steps=100, **made_by))
    assert (found.state, found.reached) == (state, reached)


def test_the_recipes_own_budget_counts_where_none_is_given(tmp_path):
    given = made(tmp_path / "a", step=9, saved=9, weights=True, arguments={"steps": 9})
    assert (status(given).state, status(given).reached) == ("complete", "9 of 9")
    own = made(tmp_path / "b", step=9, saved=9, weights=True)
    assert (status(own).state, status(own).reached) == ("stopped", "9 of 10,000")


@pytest.mark.parametrize(("seconds", "state"), [(30.0, "stopped"), (60.5, "complete")])
def test_a_budget_in_minutes(tmp_path, seconds, state):
    run = made(tmp_path / "run", minutes=1, step=9, seconds=seconds, saved=9, weights=True)
    assert status(run).state == state
    assert "of 1 min" in status(run).reached


@pytest.mark.parametrize(("weights", "state"), [(False, "new"), (True, "complete")])
def test_what_is_fitted_at_once_has_no_steps(tmp_path, weights, state):
    run = made(tmp_path / "run", recipe="gmm", weights=weights)
    assert (status(run).state, status(run).reached) == (state, "")


def test_a_held_lock_is_a_running_run_and_a_free_one_is_left_free(tmp_path):
    run = made(tmp_path / "run", steps=100, step=7)
    with (run / ".lock").open("a+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert status(run).state == "running"
    assert status(run).state == "failed"
    with (run / ".lock").open("a+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)


ODD = ("run.json", "metrics.jsonl", ".lock", "model.safetensors", "checkpoints")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "nowhere", "loop"])
def test_odd_files_hold_nobody_up(tmp_path, name, kind):
    run = made(tmp_path / "run", steps=100)
    path = run / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"endless": "/dev/zero", "nowhere": "gone", "loop": name}[kind])
    assert status(run).state == ("damaged" if name == "run.json" else "new")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"recipe": "vae"}', b'{"recipe": 1, "source": 2}',
                b'{"recipe": "vae", "source": {"source": 1}, "arguments": 3}']
)  # fmt: skip
def test_a_damaged_description_is_called_so(tmp_path, content):
    run = made(tmp_path / "run")
    (run / "run.json").write_bytes(content)
    assert status(run).state == "damaged"


def test_the_newest_of_each_metric_counts_and_bad_lines_do_not(tmp_path):
    run = made(tmp_path / "run", steps=100)
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 9, "valid": 8}\n5\nx\n{"step": 50, "loss": NaN}\n'
        '{"valid": 7, "measure": "bound"}\n'
    )
    assert status(run).losses == {"loss": 9, "valid": 7}
    assert status(run).measure == "bound"
    assert status(run).step == 50


def test_losses_have_their_unit(tmp_path):
    def told(valid, measure):
        return loss(Status(tmp_path, losses={"loss": 0.4, "valid": valid}, measure=measure))

    assert told(16_383.2, "bound") == "validation 1.638e+04 nats"
    assert told(61.234, "density") == "validation 61.23 nats"
    assert told(150.0, "pseudo-likelihood") == "validation 150 nats, pseudo-likelihood"
    assert told(2.0, "loss") == told(2.0, "") == "validation 2"
    players = Status(tmp_path, recipe="gan", losses={"loss/generator": 0.7, "loss/critic": 1.5})
    assert loss(players) == "generator 0.7, critic 1.5"


def listed(*arguments):
    done = CliRunner().invoke(runs, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return [line.split()[0] for line in done.output.splitlines()[1:]]


def test_runs_are_listed_by_time_name_or_loss_with_paths_from_here(tmp_path):
    for age, (name, valid) in enumerate([("b", 3.0), ("c", 1.0), ("a", 2.0)]):
        run = made(tmp_path / "runs" / name, steps=100, step=7)
        with (run / "metrics.jsonl").open("a") as f:
            f.write(json.dumps({"valid": valid}) + "\n")
        os.utime(run / "run.json", (1000 + age, 1000 + age))
    assert listed() == listed(tmp_path / "runs") == ["runs/b", "runs/c", "runs/a"]
    assert listed("--sort", "name") == ["runs/a", "runs/b", "runs/c"]
    assert listed("--sort", "loss") == ["runs/b", "runs/a", "runs/c"]


def test_what_a_run_keeps_is_no_run(tmp_path):
    made(tmp_path / "a" / "checkpoints" / "b")
    made(tmp_path / "c" / "d")
    assert [s.path.name for s in statuses(tmp_path)] == ["d"]


def test_runs_are_listed_without_torch(tmp_path):
    made(tmp_path / "runs" / "a", steps=100, step=7)
    code = (
        "import sys\nfrom pofx.cli import pofx\npofx.main(['runs'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "runs/a" in done.stdout
