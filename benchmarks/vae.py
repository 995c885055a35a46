"""Training a VAE end to end against pythae's trainer: equal nets, batches and epochs.

    python benchmarks/vae.py

784-512-16 with a Bernoulli likelihood, batches of 128 from 20,000 images of bits in memory, one
epoch of Adam on one thread, with each library's own loop, data and files. Ours is held against the
peer in float32; the second line says what bfloat16 gives.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from products import alone, network
from side_by_side import ratio, status

from pofx.data.dataset import Dataset
from pofx.data.source import load
from pofx.training.fit import fit
from pofx.training.loop import Options

ROWS, BATCH, HIDDEN, LATENT = 20_000, 128, 512, 16


def ours(data: Dataset, folder: Path, precision: str) -> Callable[[], None]:
    """`fit`, with its folder, log and checkpoint."""
    number = itertools.count()

    def work() -> None:
        fit(
            "vae", data, out=folder / f"{precision}{next(number)}", quiet=True, threads=1,
            steps=len(data.train) // BATCH, options=Options(precision=precision),
            sample_every=10**9, latent=LATENT, hidden=(HIDDEN,), channels=0, batch_size=BATCH,
        )  # fmt: skip

    return work


def pythae(x: np.ndarray, folder: Path) -> Callable[[], None] | None:
    if importlib.util.find_spec("pythae") is None:
        print("pythae is not installed: skipped")
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
    logging.disable(logging.INFO)
    examples = BaseDataset(torch.from_numpy(x.astype(np.float32)), torch.zeros(len(x)))

    def work() -> None:
        sizes = {"input_dim": (1, 28, 28), "latent_dim": LATENT}
        model = VAE(VAEConfig(**sizes, reconstruction_loss="bce"))
        config = BaseTrainerConfig(
            output_dir=str(folder), num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            BaseTrainer(model, examples, training_config=config).train()

    return work


def products(steps: int) -> Callable[[], None]:
    """Those of an epoch alone."""
    encoder = network(BATCH, 28 * 28, HIDDEN, 2 * LATENT)
    return alone(encoder + network(BATCH, LATENT, HIDDEN, 28 * 28, data=False), steps)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = (np.random.default_rng(0).random((ROWS, 1, 28, 28)) < 0.2).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        data = load(x)
        peer = pythae(x[: len(data.train)], Path(folder, "pythae"))
        if peer is None:
            return
        beside = {"products": products(len(data.train) // BATCH), "most": 1.25}
        for precision, bar, more in (("float32", 1.2, beside), ("bfloat16", None, {})):
            mine = ours(data, Path(folder), precision)
            ratio(f"VAE end to end, {precision}, pythae", mine, peer, bar=bar, **more)


if __name__ == "__main__":
    main()
    sys.exit(status())
