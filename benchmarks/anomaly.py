"""Anomaly scores on the ten sets of `adbench`: mean AUROC of each family, trained on normals alone.

    POFX_DATA=... python benchmarks/anomaly.py [--sets 4_breastw 6_cardio] [--steps 1500]
        [--recipes gmm "linear autoencoder"]

Half of the normal examples, by a fixed seed, are trained on; the other half and all anomalies are
scored. One thread. The last column holds a linear autoencoder's score against the squared distance
from as many principal components as its code has numbers: their rank correlation over distinct rows
(1,672 rows of 23_mammography are one row, whose scores differ in their last bit alone). That
autoencoder sees every example at each step, and takes many steps: in 32_shuttle the last component
that it keeps has a variance of 1.0009 and the first that it leaves 0.9919.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

import pofx
from pofx.data.source import load
from pofx.evaluation.anomaly import Scorer, detection
from pofx.run import Run

LATENT = 4
LINEAR = {"linear": True, "latent": LATENT, "steps": 10_000, "lr": 0.01}
NETS = {"hidden": (64, 64), "batch_size": 128}
RECIPES = {
    "linear autoencoder": ("autoencoder", LINEAR),
    "autoencoder": ("autoencoder", {"latent": LATENT, **NETS}),
    "denoising": ("denoising", {"latent": LATENT, **NETS}),
    "vae": ("vae", {"latent": LATENT, **NETS}),
    "realnvp": ("realnvp", {"layers": 6, "hidden": (64, 64), "batch_size": 256}),
    "nsf": ("nsf", {"layers": 4, "hidden": (64, 64), "batch_size": 256}),
    "ppca": ("ppca", {}),
    "gmm": ("gmm", {}),
    "kde": ("kde", {}),
}
FITTED = ("ppca", "gmm", "kde")


def split(path: Path) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Normals to train on; what is scored, and which of it are anomalies."""
    found = np.load(path, allow_pickle=False)
    x, y = found["X"].astype(np.float64), found["y"].astype(bool)
    normal = np.random.default_rng(0).permutation(np.flatnonzero(~y))
    half = len(normal) // 2
    scored = np.concatenate([normal[half:], np.flatnonzero(y)])
    return x[normal[:half]], x[scored], torch.from_numpy(y[scored])


def fit(name: str, train: np.ndarray, steps: int, folder: Path) -> Run:
    recipe, arguments = RECIPES[name]
    budget = {} if recipe in FITTED else {"steps": steps}
    whole = {"batch_size": len(load(train).train)} if arguments is LINEAR else {}
    how = {**budget, **whole, **arguments}
    return pofx.fit(recipe, train, out=folder, threads=1, quiet=True, sample_every=10**9, **how)


def distance_from_components(run: Run, x: torch.Tensor) -> np.ndarray:
    """Squared distance of model values from the training examples' first components."""
    train = run.dataset.train.values()[0].double()
    centre = train.mean(0)
    _, _, v = torch.linalg.svd(train - centre, full_matrices=False)
    away = x.double() - centre
    return (away - away @ v[:LATENT].T @ v[:LATENT]).square().sum(1).numpy()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    arguments = parser.parse_args()
    home = os.environ.get("POFX_DATA")
    if not home:
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    paths = sorted(Path(home, "adbench").glob("*.npz"))
    paths = [p for p in paths if not arguments.sets or p.stem in arguments.sets]
    found: dict[str, list[float]] = {name: [] for name in arguments.recipes}
    start = time.process_time()
    print(f"{'':16s}" + "".join(f"{name:>20s}" for name in found) + f"{'rank, PCA':>12s}")
    for path in paths:
        train, scored, anomalous = split(path)
        ranks = 0.0
        with tempfile.TemporaryDirectory() as folder:
            for name in found:
                run = fit(name, train, arguments.steps, Path(folder, name.replace(" ", "-")))
                x = run.examples(scored).x
                normal = run.dataset.train.values()[0]
                score = Scorer(run.model, run.spec, normal)(x, batch=1000)
                found[name].append(detection(score, anomalous).auroc)
                if name == "linear autoencoder":
                    _, distinct = np.unique(x.numpy(), axis=0, return_index=True)
                    away = distance_from_components(run, x)
                    ranks = spearmanr(score[distinct], away[distinct]).statistic
        rows = "".join(f"{found[name][-1]:20.4f}" for name in found)
        print(f"{path.stem:16s}{rows}{ranks:12.4f}", flush=True)
    print(f"{'mean':16s}" + "".join(f"{np.mean(found[name]):20.4f}" for name in found))
    print(f"{(time.process_time() - start) / 60:.1f} CPU-minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
