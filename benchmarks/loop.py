"""The training loop against a bare loop over the same net, and batches against a DataLoader."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from side_by_side import ratio, status
from torch.utils.data import DataLoader, TensorDataset

from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.source import load
from pofx.training.fit import fit


def image_array(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def fit_against_a_bare_loop(folder: Path, steps: int = 800) -> None:
    """`fit`, with its folder, log and checkpoint, against the shortest loop that trains the same
    net on the same batches.
    """
    path = folder / "images.npy"
    np.save(path, image_array(20_000))
    data = load(path)
    arguments = {"latent": 16, "hidden": (512, 512), "channels": 0}
    count = iter(range(1000))

    def ours() -> None:
        out = folder / f"run{next(count)}"
        fit(
            "vae",
            data,
            out=out,
            steps=steps,
            quiet=True,
            threads=1,
            sample_every=10**9,
            **arguments,
        )

    def bare() -> None:
        recipe = catalogue.build("vae", data.spec, **arguments)
        recipe.model.train()
        optimizer = torch.optim.AdamW(recipe.model.parameters(), 1e-3, weight_decay=0.0, fused=True)
        stream = batches(data.train, 128)
        for _ in range(steps):
            loss, _ = recipe.objective.loss(next(stream))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(recipe.model.parameters(), 100.0)
            optimizer.step()
        stream.close()

    ratio(
        "fit against a bare loop, VAE 784-512-512-16, batch 128", ours, bare, bar=1 / 1.05, rounds=5
    )


def batches_against_a_data_loader() -> None:
    """60,000 x 28 x 28 bytes in memory, batches of 128, as floats in [-1, 1]."""
    array = image_array(60_000)
    data = load(array)
    stored = TensorDataset(torch.from_numpy(array[:, None]))

    def ours() -> None:
        stream = batches(data.train, 128)
        for _ in range(len(data.train) // 128):
            next(stream)
        stream.close()

    def loader() -> None:
        n = len(data.train) // 128 * 128
        subset = torch.utils.data.Subset(stored, range(n))
        for (x,) in DataLoader(subset, 128, shuffle=True):
            x.float().mul_(2 / 255).sub_(1)

    ratio("batches of 128 from 60,000 x 28 x 28 bytes, DataLoader", ours, loader, bar=3.0, rounds=5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fit_against_a_bare_loop(Path(folder))
    batches_against_a_data_loader()
    sys.exit(status())
