"""Normal components against torch's own, and draws that follow their weights."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from pofx.distributions.mixture import (
    class_weights,
    draw_normals,
    log_dets,
    log_normals,
    pick,
    precisions,
)
from pofx.functional.random import noise


def components(full, k=3, d=4):
    means = 2 * torch.randn(k, d, dtype=torch.float64)
    if not full:
        return means, torch.rand(k, d, dtype=torch.float64) + 0.2
    return means, torch.randn(k, d, d, dtype=torch.float64).tril(-1) + 0.5 * torch.eye(d)


def covariances(roots):
    return roots @ roots.mT if roots.ndim == 3 else roots.square().diag_embed()


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_log_density_is_that_of_torch(full, shift):
    means, roots = components(full)
    y = torch.randn(50, 4, dtype=torch.float64)
    peers = [MultivariateNormal(m, c) for m, c in zip(means, covariances(roots), strict=True)]
    expected = torch.stack([p.log_prob(y) for p in peers], 1)
    found = log_normals(y + shift, means + shift, roots)
    assert torch.allclose(found, expected, atol=1e-9 + 1e-14 * shift**1.5)


@pytest.mark.parametrize("full", [True, False])
def test_determinants_and_what_noise_costs(full):
    means, roots = components(full)
    c = covariances(roots)
    assert torch.allclose(log_dets(roots), torch.logdet(c))
    assert torch.allclose(precisions(roots), torch.linalg.inv(c).diagonal(dim1=1, dim2=2))
    root = components(full)[1][0]
    other = covariances(root[None])[0]
    traces = (other @ torch.linalg.inv(c)).diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(precisions(roots, root).sum(1), traces)
    variance = torch.tensor([0.1, 0.0, 0.4, 0.2], dtype=torch.float64)
    y = variance.sqrt() * torch.randn(200_000, 4, dtype=torch.float64)
    at_zero = log_normals(y[:1] * 0, means, roots)[0]
    cost = at_zero - log_normals(y, means, roots).mean(0)
    assert torch.allclose(cost, 0.5 * precisions(roots) @ variance, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("full", [True, False])
def test_draws_have_their_component_s_moments(full):
    means, roots = components(full)
    index = torch.arange(150_000) % 3
    y = draw_normals(index, means, roots)
    for k, covariance in enumerate(covariances(roots)):
        assert torch.allclose(y[index == k].mean(0), means[k], atol=0.05)
        assert torch.allclose(y[index == k].T.cov(), covariance, atol=0.15)


def test_a_class_picks_by_its_own_weights():
    weights = torch.tensor([[0.0, 0.2, 0.8, 0.0], [0.5, 0.0, 0.0, 0.5]], dtype=torch.float64)
    cond = torch.arange(100_000) % 2
    found = pick(weights, cond)
    for c in (0, 1):
        seen = torch.bincount(found[cond == c], minlength=4) / 50_000
        assert torch.equal(seen > 0, weights[c] > 0)
        assert torch.allclose(seen.double(), weights[c], atol=0.01)
    with noise(0, 10):
        whole = pick(weights, cond[:10])
    with noise(0, 6, first=4):
        assert torch.equal(pick(weights, cond[4:10]), whole[4:])


def test_weights_of_a_class_of_none_and_of_the_only_one():
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert class_weights(weights, torch.tensor([1, 0]), True).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert class_weights(weights, None, True).tolist() == [[0.75, 0.25]]
    assert class_weights(weights[:1], torch.tensor([1, 0]), False).tolist() == [[1.0, 0.0]]
