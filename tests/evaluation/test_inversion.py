"""How far examples come back from their codes."""

import torch
from torch import nn

from pofx.data.source import load
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.inversion import inversion_error, warn_of_inversion


class Stretched(nn.Module):
    """A normal of deviation 1/2, whose inverse is off where an element is above 1."""

    def __init__(self, off=0.0, codes=2):
        super().__init__()
        self.off, self.codes = off, codes

    def log_prob(self, x, cond=None):
        return -2 * x.square().sum(1) - torch.log(torch.tensor(torch.pi / 2))

    def sample(self, n, cond=None):
        return 0.5 * torch.randn(n, 2)

    def encode(self, x, cond=None):
        return 2 * x[:, : self.codes]

    def decode(self, z, cond=None):
        x = z / 2
        return x + self.off * (x > 1)


def test_it_is_the_largest_error_of_any_element():
    x = torch.zeros(1001, 2)
    x[1000, 1] = 1.5
    assert inversion_error(Stretched(), x, None) == 0
    assert abs(inversion_error(Stretched(0.25), x, None) - 0.25) < 1e-6
    assert inversion_error(Stretched(float("nan")), x, None) == float("inf")


class Estimated(nn.Module):
    """The same, whose density is known at random."""

    def __init__(self, off):
        super().__init__()
        exact = Stretched(off)
        self.log_prob_estimate, self.encode, self.decode = (
            exact.log_prob, exact.encode, exact.decode,
        )  # fmt: skip


def test_an_estimated_density_needs_an_inverse_too():
    assert abs(inversion_error(Estimated(0.25), torch.full((3, 2), 1.5), None) - 0.25) < 1e-6


def test_only_codes_as_large_as_examples_that_have_a_density_are_inverted():
    x = torch.zeros(3, 2)
    assert inversion_error(Stretched(codes=1), x, None) is None
    assert inversion_error(nn.Linear(2, 2), x, None) is None


def test_a_report_holds_it_and_warns():
    data = load("grid-25")
    report = evaluate(Stretched(0.5), data, n=100)
    assert abs(report.metrics["inversion_error"].value - 0.5) < 1e-5
    assert any("--bound" in w for w in report.warnings)
    assert ("inversion error", "0.5", "") in report.rows()
    good = evaluate(Stretched(), data, n=100)
    assert good.metrics["inversion_error"].value < 1e-6
    assert not list(warn_of_inversion(good.metrics["inversion_error"].value))
