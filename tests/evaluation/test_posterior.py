"""What codes carry, against normal posteriors where it is known."""

import math

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.data.source import load
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.latent import reconstruction_error
from pofx.evaluation.posterior import codes, warn_of_collapse
from pofx.spec import DataSpec
from pofx.training.loop import Budget, Training, train


class Channel(nn.Module):
    """z = x + noise of variance v in each coordinate of the first two; a third says nothing."""

    def __init__(self, v):
        super().__init__()
        self.v = v
        self.mu = self.log_var = None

    def posterior(self, x, cond=None):
        found = Channel(self.v)
        found.mu = torch.cat([x, torch.zeros(len(x), 1)], 1)
        found.log_var = torch.full_like(found.mu, math.log(self.v))
        found.mean = found.mu
        return found

    def terms(self, x, cond=None):
        q = self.posterior(x)
        return x.sum(1), 0.5 * (q.mu**2 + self.v - 1 - math.log(self.v))


@pytest.mark.parametrize("v", [0.5, 2.0])
def test_information_is_the_gaussian_channels(v):
    torch.manual_seed(0)
    x = torch.randn(2000, 2)
    found = codes(Channel(v), x, None)
    assert found.information == pytest.approx(math.log(1 + 1 / v), abs=0.1)  # two of log(1+1/v)/2
    assert (found.active, found.latent) == (2, 3)
    expected = 0.5 * (x.square().mean(0) + v - 1 - math.log(v))
    assert torch.allclose(found.kl[:2], expected, atol=1e-5)


def test_it_cannot_exceed_the_number_of_examples():
    found = codes(Channel(1e-8), torch.randn(100, 2), None)
    assert found.information == pytest.approx(math.log(100), abs=1e-3)


def vae(**arguments):
    torch.manual_seed(0)
    data = load("digits", binarize="threshold")
    recipe = catalogue.build("vae", data.spec, latent=4, hidden=(32,), channels=0, **arguments)
    training = Training(recipe)
    x = data.train.values()[0]
    batches = (Batch(x[torch.randint(len(x), (64,))]) for _ in range(300))
    for _ in train(training, batches, Budget(steps=300)):
        pass
    return training.model, data


def test_a_collapsed_posterior_is_named_with_its_cure_and_warmup_repairs_it():
    model, data = vae(beta=10.0, kl_warmup=0)
    said = evaluate(model, data, n=60, features="raw", samples=5)
    assert any(w.startswith("Posterior collapse") and "--kl-warmup" in w for w in said.warnings)
    assert said.metrics["active_units"].value == 0
    model, data = vae(beta=1.0, kl_warmup=0.66)
    said = evaluate(model, data, n=60, features="raw", samples=5)
    assert not any("Posterior collapse" in w for w in said.warnings)
    assert said.metrics["active_units"].value >= 2
    assert 0.1 < said.metrics["mutual_information"].value < said.metrics["kl"].value + 0.1


def test_half_a_code_in_use_is_no_collapse():
    assert not list(warn_of_collapse(codes(Channel(0.5), torch.randn(500, 2), None)))
    assert codes(nn.Identity(), torch.zeros(3, 2), None) is None


def test_an_autoencoder_is_judged_by_its_reconstructions():
    data = load("digits")
    model = catalogue.build("autoencoder", data.spec, latent=2, hidden=(8,), channels=0).model
    said = evaluate(model, data)
    assert list(said.metrics) == ["reconstruction_error"]
    x = data.test.values()[0]
    with torch.no_grad():
        expected = (model.decode(model.encode(x)) - x).square().mean().sqrt()
    assert said.metrics["reconstruction_error"].value == pytest.approx(float(expected), rel=1e-5)


def test_what_has_no_codes_has_no_reconstruction():
    assert reconstruction_error(nn.Identity(), torch.zeros(2, 2), None, DataSpec((2,))) is None
