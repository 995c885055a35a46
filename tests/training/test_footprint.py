"""Memory that training takes is known before it is taken, and what does not fit is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from pofx.data.source import load
from pofx.objective import LossObjective
from pofx.recipe import SGD, Adam, Recipe, RecipeError
from pofx.training import footprint, memory
from pofx.training.fit import fit
from pofx.training.footprint import Footprint, checked

CPU = torch.device("cpu")
P = 4 * (20 * 30 + 30)
"""Bytes of a linear layer from 20 to 30."""


class Layer(LossObjective):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(20, 30)

    def loss(self, batch):
        batch.x.tolist()  # shapes alone will not do
        return self.model(batch.x).sum(), {}


def layer(optimizer, **how) -> Recipe:
    objective = Layer()
    return Recipe(objective.model, objective, {"model": optimizer}, **how)


@pytest.mark.parametrize(
    ("optimizer", "how", "kept", "saved"),
    [
        (SGD(0.1), {}, 2 * P, 2 * P),
        (SGD(0.1, momentum=0.9), {}, 3 * P, 4 * P),
        (Adam(0.1), {}, 4 * P, 6 * P),
        (Adam(0.1), {"ema": 100.0}, 5 * P, 8 * P),
    ],
)
def test_what_is_kept_of_a_layer(optimizer, how, kept, saved):
    assert footprint._kept(layer(optimizer, **how)) == (kept, saved)


def test_what_shapes_cannot_tell_is_tried_with_one_example_and_two(monkeypatch):
    monkeypatch.setattr(footprint.catalogue, "build", lambda *_, **__: layer(Adam(0.1)))
    monkeypatch.setattr(footprint, "_CRUDE", 10**9)
    data = load(np.zeros((50, 20), np.float32))
    plan = footprint._Plan("layer", data, {}, CPU, 1)
    found = plan.footprint(ceiling=1e12)[1]
    assert found.kept == 4 * P
    assert found.of(1) == 4 * P + 6 * P  # of the checkpoint
    assert P < found.fixed + found.each < 3 * P  # the gradients, each of them once or twice


@pytest.mark.parametrize("free", [100, 124, 125, 145, 146, 1000])
def test_the_largest_batch_is_the_last_that_fits(free):
    found = Footprint(kept=100, saved=10, fixed=5, each=20)
    most = found.largest(free)
    assert found.of(most + 1) > free
    assert most == 0 or found.of(most) <= free


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes are free."""

    def say(count: float) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device: int(count))

    return say


@pytest.fixture(scope="module")
def digits():
    return load("digits")


REFUSED = [
    ("vae", {"batch_size": 200_000}, 1 << 30, "--batch-size [0-9]+ or less, or --accumulate"),
    ("vae", {"hidden": (10**6, 10**6)}, 1 << 30, "--hidden [0-9]+,[0-9]+ or less"),
    ("vae", {"latent": 2**31 - 1}, 1 << 30, "--latent [0-9]+ or less"),
    ("made", {"hidden": (2**31 - 1,)}, 1 << 30, "--hidden [0-9]+ or less"),
    ("gmm", {"components": 2**31 - 1}, 1 << 30, "--components [0-9]+ or less"),
    ("kde", {"points": 2**31 - 1}, 1 << 30, "--points [0-9]+ or less"),
    ("ppca", {}, 155 << 20, "free .*: give --(latent|resize|limit)"),
]


@pytest.mark.parametrize(("name", "arguments", "bytes_", "cure"), REFUSED)
def test_what_does_not_fit_is_refused_with_the_cure_that_fits(
    name, arguments, bytes_, cure, free, digits
):
    free(bytes_)
    with pytest.raises(RecipeError, match=f"^training {name} must fit in .* {cure}") as refused:
        checked(name, digits, arguments, device=CPU)
    said = str(refused.value)
    if "--batch-size" in said:
        most = int(said.split("--batch-size ")[1].split()[0])
        assert checked(name, digits, {"batch_size": most}, device=CPU).notes == digits.notes
        with pytest.raises(RecipeError):
            checked(name, digits, {"batch_size": int(1.2 * most)}, device=CPU)


def test_a_transformer_over_every_pixel_is_refused_at_once(free):
    emoji = load(np.random.default_rng(0).integers(0, 255, (20, 72, 72, 4)).astype(np.uint8))
    free(8 << 30)
    with pytest.raises(RecipeError, match=r"it takes about [0-9.]+ GB\): give --batch-size [0-9]"):
        checked("gpt", emoji, {}, device=CPU)


def test_ordinary_runs_pass_and_large_ones_are_told_of(free, digits, monkeypatch):
    free(8 << 30)
    state = torch.get_rng_state()
    for name in ("vae", "gmm", "ddpm", "made"):
        assert checked(name, digits, {}, device=CPU) is digits
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(footprint, "_NOTED", 1)
    note = checked("vae", digits, {}, device=CPU).notes[-1]
    assert note.startswith("training takes about ")
    assert note.endswith("; 8.0 GB are free")


def test_processes_and_micro_batches_divide_a_batch(monkeypatch, digits):
    plan = footprint._Plan("vae", digits, {"batch_size": 100}, CPU, 5)
    recipe = plan.built()
    assert plan.at_a_time(recipe) == 20
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert plan.at_a_time(recipe) == 10


def test_nothing_is_left_of_a_refused_run(free, tmp_path):
    free(1 << 30)
    with pytest.raises(RecipeError, match="--hidden"):
        fit("vae", "digits", out=tmp_path / "run", hidden=(10**7,), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 3 kB\n"}, 3072),
        (
            {
                "proc/meminfo": "MemAvailable: 3 kB\n",
                "sys/fs/cgroup/memory.max": "2000\n",
                "sys/fs/cgroup/memory.current": "1500\n",
                "sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 100\n",
            },
            600,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 3 kB\n",
                "sys/fs/cgroup/memory.max": "max\n",
                "sys/fs/cgroup/memory.current": "1500\n",
                "sys/fs/cgroup/memory.stat": "",
            },
            3072,
        ),
    ],
)
def test_memory_is_what_the_system_and_the_container_leave(files, expected, tmp_path, monkeypatch):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path)
    assert memory.free_bytes(CPU) == expected


def test_a_value_that_fits_is_found_to_a_factor():
    for most in (1, 7, 100, 12_345, 10**8):
        found = footprint._largest(lambda k, most=most: k <= most, 10**9)
        assert most / 2 <= found <= most
    assert footprint._largest(lambda k: False, 10) == 0
