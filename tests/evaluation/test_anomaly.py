"""Anomaly scores against what they are by definition."""

import pytest
import torch
from torch import nn

from pofx.ae.reconstruction import Autoencoder
from pofx.capabilities import Samples
from pofx.classical.ppca import PPCA
from pofx.errors import UserError
from pofx.evaluation.anomaly import Anomalies, Scorer, detection, kinds, threshold
from pofx.spec import DataSpec

SPEC = DataSpec((3,))


class Normal:
    """A standard normal density with an energy and codes that are twice the example."""

    def log_prob(self, x, cond=None):
        return torch.distributions.Normal(0, 1).log_prob(x).sum(1)

    def encode(self, x, cond=None):
        return 2 * x

    def decode(self, z, cond=None):
        return z / 2


class Energetic:
    def energy(self, x, cond=None):
        return x.square().sum(1)


def test_scores_are_what_they_are_called():
    x = torch.randn(50, 3)
    scorer = Scorer(Normal(), SPEC, x)
    assert scorer.kind == "likelihood"
    assert torch.allclose(scorer(x), -Normal().log_prob(x).double())
    assert torch.allclose(Scorer(Energetic(), SPEC, x)(x), x.square().sum(1).double())


def test_the_latent_score_is_mahalanobis_distance_from_normal_codes():
    torch.manual_seed(0)
    normal = torch.randn(4000, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 3]]) + 5
    scores = Scorer(Normal(), SPEC, normal, "latent")(normal[:100])
    centred = (normal - normal.mean(0)).double()
    inverse = torch.linalg.inv(centred.T.cov())
    expected = torch.einsum("ni,ij,nj->n", centred[:100], inverse, centred[:100])
    assert torch.allclose(scores, expected, rtol=1e-3)


def test_the_reconstruction_score_is_the_squared_error():
    half = nn.Linear(3, 3, bias=False)
    nn.init.eye_(half.weight)
    with torch.no_grad():
        half.weight.mul_(0.5)
    model = Autoencoder(nn.Identity(), half, SPEC)
    x = torch.randn(20, 3)
    assert kinds(model) == ["reconstruction", "latent"]
    assert torch.allclose(Scorer(model, SPEC, x)(x), (0.25 * x.square().sum(1)).double())


def test_a_linear_autoencoder_ranks_as_principal_components_do():
    """The exact optimum, whose residual is PCA's: the rank correlation is 1."""
    torch.manual_seed(1)
    x = torch.randn(500, 3) @ torch.diag(torch.tensor([3.0, 1.0, 0.3]))
    x -= x.mean(0)
    _, _, v = torch.linalg.svd(x, full_matrices=False)
    encoder, decoder = nn.Linear(3, 1, bias=False), nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(v[:1])
        decoder.weight.copy_(v[:1].T)
    score = Scorer(Autoencoder(encoder, decoder, SPEC), SPEC, x)(x)
    residual = (x - x @ v[:1].T @ v[:1]).square().sum(1)
    assert torch.equal(score.argsort(), residual.argsort())
    assert torch.allclose(score, residual.double(), atol=1e-5)


def test_detection_counts_pairs_in_order():
    scores, truth = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]).bool()
    found = detection(scores, truth)
    assert found.auroc == 0.75
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (found.anomalies, found.examples) == (2, 4)
    assert detection(scores, truth & False) is None


def test_a_share_of_normal_examples_is_flagged():
    normal = torch.randn(5000).double()
    found = Anomalies("likelihood", normal, threshold(normal, 0.9), None, None)
    assert found.flagged.double().mean() == pytest.approx(0.1, abs=1e-3)
    assert found.rows()[0] == [0, float(f"{normal[0]:.7g}"), int(found.flagged[0])]


def test_a_score_that_a_model_cannot_give_is_refused():
    with pytest.raises(UserError, match="choose likelihood or latent"):
        Scorer(Normal(), SPEC, torch.zeros(2, 3), "energy")
    with pytest.raises(UserError, match="no anomaly score at all"):
        Scorer(nn.Identity(), SPEC, torch.zeros(2, 3))


def test_far_examples_are_strange_to_every_yardstick():
    torch.manual_seed(0)
    x = torch.randn(300, 3)
    model = PPCA(SPEC, 1)
    assert isinstance(model, Samples)
    model.fit(x)
    scorer = Scorer(model, SPEC, x)
    assert scorer(torch.full((1, 3), 6.0)) > scorer(x).max()


def test_an_energy_that_is_only_bounded_scores_by_its_bound():
    class Bounded:
        def energy_bound(self, x, cond=None):
            return 1 + x.square().sum(1)

    x = torch.randn(20, 3)
    assert kinds(Bounded()) == ["energy"]
    assert torch.allclose(Scorer(Bounded(), SPEC, x)(x), 1 + x.square().sum(1).double())
