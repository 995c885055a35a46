"""Two processes with half of every batch each are one process, where the noise is the same."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from test_faults import array, forked
from zoo import small

from pofx.data.batches import batches
from pofx.data.source import load
from pofx.training.checkpoint import load_model
from pofx.training.fit import fit
from pofx.training.loop import Options

CASES = [
    ("vae", "bits", {}),
    ("wgan-gp", "vector", {}),
    ("rbm", "bits", {}),
    ("rbm", "bits", {"persistent": False}),
    ("boltzmann", "bits", {"hidden": 4}),
    ("dbn", "bits", {}),
    ("deep-energy", "vector", {}),
    ("glow", "grey", {"scales": 1}),
    ("edm", "grey", {}),
    ("improved-ddpm", "vector", {}),
    ("rectified-flow", "vector", {"first_part": 0.4}),
    ("mdlm", "bits", {}),
    ("sparse", "vector", {"sparsity": "kl"}),
]


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def train(name: str, data: Path, out: Path, steps: int, arguments: dict) -> None:
    options = Options(keyed_noise=True)
    given = {**small(name), "batch_size": 24, "keep": "last", **arguments, "steps": steps}
    fit(name, data, out=out, quiet=True, threads=1, options=options, save_every=25, **given)


@pytest.mark.parametrize(("name", "kind", "arguments"), CASES)
def test_two_processes_equal_one(name, kind, arguments, tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, array(kind))
    steps = 50
    pids = [forked(lambda: train(name, data, tmp_path / "one", steps, arguments))]
    port = free_port()

    def member(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        train(name, data, tmp_path / "two", steps, arguments)

    pids += [forked(lambda r=r: member(r)) for r in range(2)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    (one, said), (two, _) = (load_model(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    assert int(said["step"]) == steps
    assert one.keys() == two.keys()
    for key, value in one.items():
        # sums of two halves round otherwise than one, at each of fifty steps
        assert torch.allclose(value, two[key], atol=2e-6, rtol=1e-6), (
            key,
            (value - two[key]).abs().max(),
        )


def test_processes_see_disjoint_shares_whose_union_is_the_batch(tmp_path):
    data = load(
        np.arange(400, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32), standardize=False
    )
    streams = [
        batches(data.train, 24, seed=3, rank=r, world=w) for r, w in ((0, 1), (0, 2), (1, 2))
    ]
    for _ in range(30):
        whole, first, second = (set(next(s).x[:, 0].tolist()) for s in streams)
        assert first | second == whole
        assert len(first) == len(second) == 12
    for s in streams:
        s.close()


def test_each_process_has_noise_of_its_own():
    from pofx.training.loop import step_seed

    assert step_seed(0, 5, 0) != step_seed(0, 5, 1)
