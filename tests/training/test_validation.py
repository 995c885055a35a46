"""The loss on validation data: in blocks what it is of the whole, and none when told to stop."""

import torch

from pofx import catalogue
from pofx.data import load
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.spec import DataSpec
from pofx.training.loop import Training
from pofx.training.validation import validation_loss


def test_blocks_say_what_the_whole_does_and_a_stop_ends_them():
    data = load(torch.randn(5000, 3), standardize=False)
    training = Training(catalogue.build("vae", DataSpec((3,)), hidden=(8,), latent=2))
    sizes, whole = [], type(training.model).elbo

    def elbo(x, cond=None):
        sizes.append(len(x))
        return whole(training.model, x, cond)

    training.model.elbo = elbo
    x, _ = data.valid.values(slice(0, len(data.valid)))
    with torch.no_grad(), evaluating(training.model), noise(0, len(x), use="validation"):
        expected = -whole(training.model, x).mean()
    found = validation_loss(training, data.valid, data.spec)
    assert sum(sizes) == len(x) == 500
    assert max(sizes) <= 100
    assert found is not None
    assert abs(found.loss - float(expected)) < 1e-4
    sizes.clear()
    assert validation_loss(training, data.valid, data.spec, lambda: bool(sizes)) is None
    assert len(sizes) == 1
