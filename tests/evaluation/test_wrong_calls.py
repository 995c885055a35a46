"""A mistake in a call of a metric is one sentence."""

import pytest
import torch

from pofx.errors import UserError
from pofx.evaluation import (
    bits_per_dim,
    check_model,
    energy_distance,
    frechet_distance,
    kernel_distance,
    kernel_distance_by_subsets,
    mode_coverage,
    mutual_information_gap,
    sliced_wasserstein,
    total_correlation,
)
from pofx.evaluation.inception_score import inception_score
from pofx.evaluation.memorization import memorization
from pofx.evaluation.precision_recall import precision_recall
from pofx.spec import DataSpec

X = torch.randn(20, 3)
PAIRS = [
    energy_distance, frechet_distance, kernel_distance, kernel_distance_by_subsets,
    precision_recall, sliced_wasserstein, lambda a, b: memorization(a, b, X),
    lambda a, b: mode_coverage(a, b, 1.0),
]  # fmt: skip


@pytest.mark.parametrize("metric", PAIRS)
@pytest.mark.parametrize(
    ("other", "says"),
    [
        (X.numpy(), r"must be a tensor of real numbers of shape \(n, d\) \(got a ndarray\)"),
        ([[1.0, 2.0, 3.0]], "got a list"),
        (None, "got None"),
        (torch.randn(20), r"got a float32 tensor of shape \(20,\)"),
        (torch.randn(20, 3, 1), "flatten each example"),
        (X + 1j, "complex64"),
        (torch.randn(20, 4), r"of equal width \(got \(20, 3\) and \(20, 4\)\)"),
        (torch.where(X > 1, torch.nan, X), "must be finite"),
        (X[:0], "rows"),
    ],
)
def test_two_sets_of_vectors(metric, other, says):
    with pytest.raises(UserError, match=says):
        metric(X, other)


FACTORS = torch.arange(20)[:, None] % 4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: kernel_distance_by_subsets(X, X, subsets=1), "subsets must be .* at least 2"),
        (lambda: kernel_distance_by_subsets(X, X, size=1.5), "size must be a whole number"),
        (lambda: kernel_distance_by_subsets(X, X, seed="x"), "seed must be a whole number"),
        (lambda: precision_recall(X, X, k=0), "k must be a whole number of at least 1"),
        (lambda: precision_recall(X, X, k=20), "more than 20 rows"),
        (lambda: precision_recall(X, X, block=0), "block must be"),
        (lambda: inception_score(X, splits=0), "splits must be"),
        (lambda: inception_score(X, splits=21), "at most the number of rows"),
        (lambda: inception_score(X[0]), "logits must be"),
        (lambda: sliced_wasserstein(X, X, slices=0), "slices must be"),
        (lambda: mode_coverage(X, X, 0.0), "std must be a finite number above 0"),
        (lambda: mode_coverage(X, X, 1.0, radius=float("nan")), "radius must be"),
        (lambda: mutual_information_gap(X, FACTORS[:7]), "equally many rows"),
        (lambda: mutual_information_gap(X, FACTORS.float()), "must be whole numbers"),
        (lambda: mutual_information_gap(X, FACTORS[:, 0]), "factors must be a tensor"),
        (lambda: mutual_information_gap(X, FACTORS, bins=1), "bins must be"),
        (lambda: mutual_information_gap(X, FACTORS * 0), "factors must vary"),
        (lambda: mutual_information_gap(X / 0, FACTORS), "codes must be finite"),
        (lambda: total_correlation(X), "covariance must be square"),
        (lambda: bits_per_dim(None, (3,)), "must be a DataSpec"),
        (lambda: check_model(torch.nn.Identity(), (3,)), "must be a DataSpec"),
        (lambda: check_model(torch.nn.Identity(), DataSpec((3,)), seed=0.5), "seed must be"),
        (
            lambda: check_model(torch.nn.Identity(), DataSpec((2,)), x=X),
            r"of shape \(n, 2\) \(got a float32 tensor of shape \(20, 3\)\)",
        ),
        (lambda: check_model(torch.nn.Identity(), DataSpec((3,)), x=X[:1]), "at least 3"),
    ],
)
def test_numbers_and_shapes(call, says):
    with pytest.raises(UserError, match=says):
        call()
