"""Advice of an evaluation: a model that knows its training examples by heart is not to grow."""

import pytest
import torch
from torch import nn

from pofx.data import load
from pofx.evaluation.collapse import warn_of_metrics, warn_of_over_fitting
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.report import Measured


class Kernel(nn.Module):
    """Normal bumps of one width on each of some points, and draws around the first 20 alone."""

    def __init__(self, points, width):
        super().__init__()
        self.points, self.width = points, width

    def log_prob(self, x, cond=None):
        squares = torch.cdist(x, self.points).square() / (2 * self.width**2)
        d = x.shape[1]
        return (-squares).logsumexp(1) - torch.tensor(
            len(self.points) * (2 * torch.pi * self.width**2) ** (d / 2)
        ).log()

    def sample(self, n, cond=None):
        near = self.points[torch.randint(0, 20, (n,))]
        return near + self.width * torch.randn(near.shape)


@pytest.mark.parametrize(("width", "over_fitted"), [(0.03, True), (0.7, False)])
def test_what_fits_training_examples_alone_is_not_told_to_train_longer(width, over_fitted):
    data = load(torch.randn(600, 3), standardize=False)
    said = evaluate(Kernel(data.train.values()[0], width), data, features="raw")
    words = " ".join(said.warnings)
    assert ("Over-fitting: log p(x) is" in words) == over_fitted
    assert "longer or enlarge" not in words or not over_fitted


def test_a_likelihood_that_differs_by_luck_is_no_over_fitting():
    g = torch.Generator().manual_seed(0)
    for seed in range(20):
        g.manual_seed(seed)
        a, b = torch.randn(400, generator=g), torch.randn(60, generator=g)
        assert not list(warn_of_over_fitting(a, b))
    assert list(warn_of_over_fitting(a, torch.randn(60, generator=g) - 2))
    assert not list(warn_of_over_fitting(a[:10], torch.full((10,), -9.0))), "of too few"


def test_the_cure_of_missing_data_depends_on_over_fitting():
    low = {"coverage": Measured(0.1, floor=0.9), "precision": Measured(0.1, floor=0.9)}
    (grow,), (shrink,) = (list(warn_of_metrics(low, over)) for over in (False, True))
    assert "train longer or enlarge the model" in grow
    assert "enlarge" not in shrink
    assert "more data, a smaller model (--hidden), --weight-decay, or fewer --steps" in shrink
