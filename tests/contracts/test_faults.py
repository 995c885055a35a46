"""Kills, damage, a full disk and planted NaNs: nothing that the user had is lost, and nothing
unsound is used.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo import LOOPED, NAMES, ONE_EACH, SPECS, build, small, stream

from pofx.errors import UserError
from pofx.training import checkpoint
from pofx.training.fit import fit, resume
from pofx.training.folder import sealed
from pofx.training.loop import Budget, NonFinite, Options, Training, train

STEPS = 14
KILLS = 60


def array(kind: str) -> np.ndarray:
    """Data that loads as the named kind."""
    g = np.random.default_rng(0)
    shapes = {"vector": (200, 2), "bits": (200, 12), "grey": (200, 8, 8)}
    if kind == "bits":
        return g.integers(0, 2, shapes[kind], dtype=np.uint8)
    if kind == "grey":
        return g.integers(0, 256, shapes[kind], dtype=np.uint8)
    return g.normal(size=shapes["vector"]).astype(np.float32)


def case(name: str) -> str:
    """A kind of array that the recipe serves."""
    served = {k for n, k in [*LOOPED, *ONE_EACH] if n == name}
    return next(k for k in ("bits", "vector", "grey") if k in served)


def forked(work) -> int:
    """Runs work in a child process, which has torch already; returns its process number."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def train_or_resume(name: str, data: Path, out: Path) -> None:
    if (out / "run.json").exists():
        resume(out, quiet=True)
    else:
        fit(
            name,
            data,
            out=out,
            quiet=True,
            save_every=2,
            threads=1,
            **{**small(name), "steps": STEPS},
        )


def state(out: Path) -> tuple[dict, dict]:
    path = checkpoint.newest(out / "checkpoints", print)
    assert path is not None
    files, numbers = checkpoint.load(path)
    return files["state"], numbers


@pytest.mark.parametrize("name", [n for n in NAMES if any(n == m for m, _ in LOOPED)])
def test_killed_at_random_and_resumed_is_as_if_never_killed(name, tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array(case(name)))
    start = time.monotonic()
    pid = forked(lambda: train_or_resume(name, data, tmp_path / "whole"))
    assert os.waitpid(pid, 0)[1] == 0
    whole = time.monotonic() - start
    dice = random.Random(name)
    looped = len({n for n, _ in LOOPED})
    out = tmp_path / "killed"
    for _ in range(-(-KILLS // looped)):
        pid = forked(lambda: train_or_resume(name, data, out))
        time.sleep(dice.uniform(0, 0.9 * whole))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for path in checkpoint.checkpoints(out / "checkpoints"):
            checkpoint.verify(path)
        if (out / "model.safetensors").exists():
            checkpoint.load_model(out / "model.safetensors")
    pid = forked(lambda: train_or_resume(name, data, out))
    assert os.waitpid(pid, 0)[1] == 0
    (expected, numbers), (resumed, again) = state(tmp_path / "whole"), state(out)
    assert numbers["step"] == again["step"] == STEPS
    assert expected.keys() == resumed.keys()
    for key, value in expected.items():
        assert torch.equal(value, resumed[key]), key
    assert not list((out / "checkpoints").glob(".tmp*"))
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_sigterm_saves_and_a_resume_goes_on(tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    out = tmp_path / "run"
    arguments = {**small("vae"), "steps": 10**6}
    pid = forked(lambda: fit("vae", data, out=out, quiet=True, threads=1, **arguments))
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").read_text():
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    _, numbers = state(out)
    resume(out, steps=numbers["step"] + 3, quiet=True)
    assert state(out)[1]["step"] == numbers["step"] + 3


@pytest.fixture
def saved(tmp_path) -> Path:
    recipe = build("vae", "bits")
    training = Training(recipe)
    for _ in train(training, stream(SPECS["bits"], 24), Budget(steps=2)):
        pass
    tensors, numbers = training.state()
    return checkpoint.save(tmp_path / "checkpoints", 2, {"state": tensors}, numbers)


def test_every_flipped_bit_and_every_truncation_is_seen(saved):
    dice = random.Random(0)
    files = [p for p in saved.iterdir()]
    sizes = [p.stat().st_size for p in files]

    def damaged(path, content):
        whole = path.read_bytes()
        path.write_bytes(content)
        try:
            with pytest.raises(checkpoint.CheckpointError):
                checkpoint.load(saved)
        finally:
            path.write_bytes(whole)

    for i in range(1000):
        # every file gets its share, however small it is
        path = files[i % len(files)] if i % 2 else dice.choices(files, sizes)[0]
        content = bytearray(path.read_bytes())
        at = dice.randrange(len(content))
        content[at] ^= 1 << dice.randrange(8)
        damaged(path, bytes(content))
    for i in range(200):
        path = files[i % len(files)]
        content = path.read_bytes()
        damaged(path, content[: dice.randrange(len(content))])
    checkpoint.load(saved)


def test_damaged_weights_to_sample_from_are_seen(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_model(path, build("vae", "bits").model.state_dict(), {"step": "1"})
    whole = path.read_bytes()
    dice = random.Random(1)
    for _ in range(300):
        content = bytearray(whole)
        content[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(content))
        try:
            checkpoint.load_model(path)
        except checkpoint.CheckpointError:
            continue
        header = 8 + int.from_bytes(whole[:8], "little")
        changed = [i for i in range(len(whole)) if whole[i] != content[i]]
        assert changed[0] < header, "damaged weights were loaded"


def test_a_damaged_newest_checkpoint_falls_back_to_the_older_and_says_so(tmp_path, capfd):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    arguments = {**small("vae"), "steps": 6}
    whole = fit("vae", data, out=tmp_path / "whole", quiet=True, save_every=2, **arguments)
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    newest = checkpoint.checkpoints(out / "checkpoints")[-1]
    content = bytearray((newest / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "state.safetensors").write_bytes(bytes(content))
    resume(out)
    said = capfd.readouterr().err
    assert "state.safetensors is damaged" in said
    assert "older checkpoint" in said
    for key, value in state(whole)[0].items():
        assert torch.equal(value, state(out)[0][key]), key


@pytest.mark.parametrize("allowed", range(6))
def test_a_full_disk_leaves_the_previous_checkpoint(saved, monkeypatch, allowed):
    tensors, numbers = checkpoint.load(saved)
    count = iter(range(100))
    real = checkpoint._write

    def full(path, content):
        if next(count) >= allowed:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "_write", full)
    if allowed < 3:
        with pytest.raises(checkpoint.CheckpointError, match="No space left on device"):
            checkpoint.save(saved.parent, 3, tensors, numbers)
        assert checkpoint.checkpoints(saved.parent) == [saved]
    else:
        checkpoint.save(saved.parent, 3, tensors, numbers)
    checkpoint.verify(saved)
    assert not list(saved.parent.glob(".tmp*"))


def test_a_full_disk_in_the_middle_of_training_is_said_and_training_goes_on(
    tmp_path, monkeypatch, capfd
):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    count, real = iter(range(1000)), checkpoint._write

    def full_for_a_while(path, content):
        if 5 <= next(count) < 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "_write", full_for_a_while)
    out = fit("vae", data, out=tmp_path / "run", save_every=1, **{**small("vae"), "steps": 8})
    assert "No space left on device" in capfd.readouterr().err
    assert state(out)[1]["step"] == 8


@pytest.mark.parametrize("where", ["file", "folder"])
@pytest.mark.parametrize(("name", "kind"), [("vae", "bits"), ("vae", "grey"), ("ppca", "grey")])
def test_samples_that_find_the_disk_full_are_said_once_and_the_run_goes_on(
    name, kind, where, tmp_path, monkeypatch, capfd
):
    data = tmp_path / "data.npy"
    np.save(data, array(kind))
    mkdir = Path.mkdir

    def full(path, *args, **kwargs):
        if where == "file" or path.name == "samples":
            raise OSError(errno.ENOSPC, "No space left on device")
        return mkdir(path, *args, **kwargs)

    owner, method = (sys.modules["pofx.data.write"], "complete") if where == "file" else (
        Path, "mkdir"
    )  # fmt: skip
    monkeypatch.setattr(owner, method, full)
    steps = {} if name == "ppca" else {"steps": 8, "sample_every": 2}
    out = fit(name, data, out=tmp_path / "run", **{**small(name), **steps})
    assert capfd.readouterr().err.count("No space left on device") == 1
    assert (out / "model.safetensors").exists()
    assert name == "ppca" or state(out)[1]["step"] == 8


def poison(training: Training, where: str) -> None:
    """Plants a NaN that the next step meets."""
    objective = training.objective
    if where == "weight":
        with torch.no_grad():
            next(iter(training.players.values())).parameters[0].view(-1)[0] = float("nan")
        return
    updates = objective.updates

    def poisoned(batch):
        for update in updates(batch):
            if where == "loss":
                yield update._replace(loss=update.loss * float("nan"))
            else:
                yield update._replace(loss=Explode.apply(update.loss))

    objective.updates = poisoned


class Explode(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * float("inf")


@pytest.mark.parametrize("where", ["loss", "gradient", "weight"])
@pytest.mark.parametrize("name", ["vae", "wgan-gp", "ddpm"])
def test_a_planted_nan_is_named_and_never_applied(name, where):
    kind = case(name)
    training = Training(build(name, kind))
    data = stream(SPECS[kind], training.recipe.batch_size)
    for _ in train(training, data, Budget(steps=2)):
        pass
    before = {k: f.parameter.detach().clone() for k, f in training.players.items()}
    poison(training, where)
    with pytest.raises(NonFinite) as caught:
        training.train_step(next(data))
    assert caught.value.step == 3
    assert caught.value.player in training.players
    assert caught.value.player in str(caught.value)
    assert "step 3" in str(caught.value)
    if where != "weight":
        for key, flat in training.players.items():
            assert torch.equal(before[key], flat.parameter), "a non-finite update was applied"


def test_a_non_finite_weight_is_never_saved(tmp_path, saved):
    tensors, numbers = checkpoint.load(saved)
    tensors["state"]["model.planted"] = torch.tensor([1.0, float("inf")])
    with pytest.raises(checkpoint.CheckpointError, match=r"model\.planted"):
        checkpoint.save(saved.parent, 3, tensors, numbers)
    assert checkpoint.checkpoints(saved.parent) == [saved]
    with pytest.raises(checkpoint.CheckpointError, match="NaN or infinite"):
        checkpoint.save_model(tmp_path / "m.safetensors", tensors["state"], {"step": "3"})


def test_skip_counts_and_gives_up_after_three():
    training = Training(build("vae", "bits"), options=Options(on_nonfinite="skip"))
    data = stream(SPECS["bits"], 24)
    poison(training, "loss")
    before = training.players["model"].parameter.detach().clone()
    for expected in (1.0, 2.0, 3.0):
        assert training.train_step(next(data))["skipped"] == expected
    with pytest.raises(NonFinite):
        training.train_step(next(data))
    assert torch.equal(before, training.players["model"].parameter)


def test_rollback_halves_the_learning_rate(tmp_path, monkeypatch):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    real, failed = Training.train_step, []

    def fails_once(self, batch):
        if self.step == 5 and not failed:
            failed.append(self.step)
            raise NonFinite("model", "loss", 6)
        return real(self, batch)

    monkeypatch.setattr(Training, "train_step", fails_once)
    options = Options(on_nonfinite="rollback")
    out = fit(
        "vae",
        data,
        out=tmp_path / "r",
        quiet=True,
        save_every=2,
        options=options,
        **{**small("vae"), "steps": 8},
    )
    _, numbers = state(out)
    assert failed == [5]
    assert numbers["lr_scale"] == 0.5
    assert numbers["step"] == 8


def test_two_processes_may_not_train_one_run(tmp_path):
    with checkpoint.lock(tmp_path / "run"):
        pid = forked(lambda: _refused(tmp_path / "run"))
        assert os.waitpid(pid, 0)[1] == 0
    with checkpoint.lock(tmp_path / "run"):
        pass


def _refused(folder: Path) -> None:
    try:
        with checkpoint.lock(folder):
            os._exit(3)
    except UserError as error:
        os._exit(0 if str(os.getppid()) in str(error) else 4)


def test_changed_data_is_refused(tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    out = fit("vae", data, out=tmp_path / "run", quiet=True, **{**small("vae"), "steps": 2})
    np.save(data, 1 - array("bits"))
    with pytest.raises(UserError, match="has changed"):
        resume(out, steps=4, quiet=True)


def test_a_finished_run_says_so(tmp_path, capfd):
    data = tmp_path / "data.npy"
    np.save(data, array("bits"))
    out = fit("vae", data, out=tmp_path / "run", quiet=True, **{**small("vae"), "steps": 2})
    resume(out)
    assert "already complete" in capfd.readouterr().err


def test_a_fit_that_the_data_refuses_leaves_no_folder(tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array("vector"))
    with pytest.raises(UserError, match="lower it"):
        fit("gmm", data, out=tmp_path / "run", quiet=True, components=5000)
    assert [p.name for p in tmp_path.iterdir()] == ["data.npy"]


def test_more_parts_than_examples_are_refused(tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array("vector"))
    with pytest.raises(UserError, match="--accumulate 5 divides a batch of 4"):
        fit(
            "vae", data, out=tmp_path / "run", quiet=True,
            options=Options(accumulate=5), **{**small("vae"), "batch_size": 4},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_best_checkpoint_is_kept_and_sampled_from(tmp_path, monkeypatch):
    """Its loss is read from the checkpoints themselves; a damaged one has none."""
    losses = iter([3.0, 1.0, 2.0, 2.5, 2.7])
    monkeypatch.setattr("pofx.training.fit.validation_loss", lambda *_: next(losses))
    data, out = tmp_path / "data.npy", tmp_path / "run"
    np.save(data, array("vector"))
    fit("vae", data, out=out, quiet=True, save_every=1, keep="best", **{**small("vae"), "steps": 5})
    folder = out / "checkpoints"
    assert [int(p.name) for p in checkpoint.checkpoints(folder)] == [2, 4, 5]
    weights, said = checkpoint.load_model(out / "model.safetensors")
    assert said["step"] == "2"
    best, _ = checkpoint.load(folder / "00000002")
    assert torch.equal(
        weights["encoder.head.0.weight"], best["state"]["objective.model.encoder.head.0.weight"]
    )
    (folder / "00000002" / "numbers.json").write_text("{")
    assert checkpoint.best(folder) == folder / "00000004"


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    data, out = tmp_path / "data.npy", tmp_path / "run"
    np.save(data, array("vector"))
    fit("vae", data, out=out, quiet=True, **{**small("vae"), "steps": 2})
    job = json.loads((out / "run.json").read_text())
    job["arguments"]["latent"] = 3
    (out / "run.json").write_text(json.dumps(sealed(job)))
    with pytest.raises(UserError, match="does not fit recipe 'vae'"):
        resume(out, steps=4, quiet=True)
