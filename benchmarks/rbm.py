"""Our RBM against scikit-learn's and learnergy's: an update for every 100 rows of 784, 500 hidden.

    python benchmarks/rbm.py

Each takes one pass over the same 10,000 rows of bits on one thread. scikit-learn trains by
persistent CD and learnergy by CD-1, both in float32, so each is held against the same of ours: in
float32 for the record, and with the bars in bfloat16, which reaches the same likelihood on MNIST
(`mnist.py rbm --precision bfloat16`). A step's products are one from the hidden units to the
visible ones for the chains, and the way back and the gradient for both data and chains.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import logging
import sys

import numpy as np
import torch
from products import alone
from side_by_side import ratio, status
from threadpoolctl import threadpool_limits

from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.source import load
from pofx.spec import Binary, DataSpec
from pofx.training.loop import Budget, Options, Training, train

ROWS, BATCH, VISIBLE, HIDDEN = 10_000, 100, 784, 500


def ours(x: np.ndarray, *, persistent: bool, precision: str):
    """A pass of the training loop itself, with its batches."""
    spec = DataSpec((VISIBLE,), Binary())
    recipe = catalogue.build("rbm", spec, hidden=HIDDEN, persistent=persistent, batch_size=BATCH)
    training = Training(recipe, options=Options(precision=precision))
    stream = batches(load(x).train, BATCH)
    steps = itertools.count(ROWS // BATCH, ROWS // BATCH)

    def work():
        for _ in train(training, stream, Budget(steps=next(steps))):
            pass

    return work


def products(*, persistent: bool):
    """Those of a pass alone: for persistent chains data and negatives go together."""
    back = (BATCH, HIDDEN, VISIBLE, "forward")
    there = (BATCH * (1 + persistent), VISIBLE, HIDDEN, "forward weights")
    return alone([back, *[there] * (2 - persistent)], ROWS // BATCH)


def sklearn_pass(x: np.ndarray):
    from sklearn.neural_network import BernoulliRBM

    rbm = BernoulliRBM(HIDDEN, learning_rate=0.05, batch_size=BATCH, n_iter=1)
    x = x.astype(np.float32)

    def work():
        with threadpool_limits(1):
            rbm.fit(x)

    return work


def learnergy_pass(x: np.ndarray):
    """None where learnergy is not installed; what it only draws with is stood in for."""
    if importlib.util.find_spec("learnergy") is None:
        print("learnergy is not installed: skipped")
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        from learnergy.models.bernoulli import RBM
    logging.disable(logging.INFO)
    rbm = RBM(VISIBLE, HIDDEN, 1, 0.05, 0.0, 0.0, 1.0, use_gpu=False)
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(x.astype(np.float32)), torch.zeros(len(x))
    )

    def work():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            rbm.fit(data, batch_size=BATCH, epochs=1)

    return work


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = (np.random.default_rng(0).random((ROWS, VISIBLE)) < 0.2).astype(np.uint8)
    learnergy = learnergy_pass(x)
    for precision, bars in {"float32": (None, None), "bfloat16": (1.2, 2.5)}.items():
        persistent, once = (ours(x, persistent=p, precision=precision) for p in (True, False))
        beside = [
            {"products": products(persistent=p), "most": 1.15} if precision == "float32" else {}
            for p in (True, False)
        ]
        name = f"RBM, persistent CD, {precision}, scikit-learn"
        ratio(name, persistent, sklearn_pass(x), bar=bars[0], **beside[0])
        if learnergy is not None:
            name = f"RBM, CD-1, {precision}, learnergy"
            ratio(name, once, learnergy, bar=bars[1], **beside[1])


if __name__ == "__main__":
    main()
    sys.exit(status())
