"""A process of several that dies or is stopped: the others say who, and end."""

import os
import signal
import time
from pathlib import Path

import pytest
from test_faults import forked
from test_processes import free_port

from pofx.errors import UserError
from pofx.training.checkpoint import checkpoints
from pofx.training.distributed import LostProcess, World, local_device, world
from pofx.training.fit import fit, resume

SMALL = {"latent": 2, "hidden": (8,), "batch_size": 16, "quiet": True, "threads": 1}


def start(work, size: int = 2) -> list[int]:
    """Processes as torchrun starts them, each of which keeps what it was told in `said-RANK`."""
    port = free_port()

    def member(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        try:
            work()
        except UserError as error:
            Path(f"said-{rank}").write_text(f"{type(error).__name__}: {error}")
            raise

    return [forked(lambda r=r: member(r)) for r in range(size)]


def trained(out: str) -> None:
    fit("vae", "two-moons", out=out, steps=10**6, save_every=5, **SMALL)


def begun(out: str) -> None:
    while not checkpoints(Path(out, "checkpoints")):
        time.sleep(0.01)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_named_by_the_other(victim):
    pids = start(lambda: trained("r"))
    begun("r")
    os.kill(pids[victim], signal.SIGKILL)
    os.waitpid(pids[victim], 0)
    assert os.waitpid(pids[1 - victim], 0)[1]
    said = Path(f"said-{1 - victim}").read_text()
    assert f"LostProcess: all 2 processes must live to train together (rank {victim} (process " in (
        said
    )
    step = int(checkpoints(Path("r/checkpoints"))[-1].name)
    resume("r", steps=step + 1, quiet=True)


def test_a_signal_to_one_process_stops_and_saves_all():
    pids = start(lambda: trained("r"))
    begun("r")
    os.kill(pids[1], signal.SIGTERM)
    assert all(os.waitpid(pid, 0)[1] for pid in pids)
    for rank in range(2):
        assert (
            Path(f"said-{rank}")
            .read_text()
            .startswith("Interrupted: rank 1 was asked to stop: stopped at step ")
        )
    step = int(checkpoints(Path("r/checkpoints"))[-1].name)
    assert f"step {step}," in Path("said-0").read_text()


def test_a_batch_too_small_for_its_processes_is_named():
    arguments = {**SMALL, "batch_size": 1}
    pids = start(lambda: fit("vae", "two-moons", out="r", steps=2, **arguments))
    assert all(os.waitpid(pid, 0)[1] for pid in pids)
    assert "--batch-size must be at least 1 for each of 2 processes (got 1)" in (
        Path("said-0").read_text()
    )
    assert not Path("r").exists()


def test_all_processes_train_in_the_folder_that_the_first_found():
    Path("runs/vae-two-moons").mkdir(parents=True)
    pids = start(lambda: fit("vae", "two-moons", steps=4, save_every=2, **SMALL))
    assert not any(os.waitpid(pid, 0)[1] for pid in pids)
    assert (Path("runs/vae-two-moons-2/checkpoints/00000004/rank1.safetensors")).exists()
    assert sorted(p.name for p in Path("runs").iterdir()) == ["vae-two-moons", "vae-two-moons-2"]


def test_what_torchrun_sets_is_a_number(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(LostProcess, match=r"WORLD_SIZE must be a whole number \(got 'two'\)"):
        with world(local_device("cpu")):
            pass


def test_a_process_of_another_machine_is_not_guessed_at():
    said = str(World(0, 2, ((1, 1), (1, 1))).lost())
    assert "another rank cannot be reached" in said
