"""The VAE against closed forms, in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.distributions.heads import GaussianHead
from pofx.functional.random import noise
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real
from pofx.vae.elbo import ELBO
from pofx.vae.normal_vae import VAE, kl_to_standard_normal

torch.manual_seed(0)


class Condless(nn.Module):
    """A linear map that ignores the class."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x, cond=None):
        return self.linear(x)


def linear_vae(d, k):
    """A linear-Gaussian VAE at a random decoder with its exact posterior: diagonal when W'W is."""
    q, _ = torch.linalg.qr(torch.randn(d, k, dtype=torch.float64))
    weights = q * torch.linspace(0.5, 2.0, k, dtype=torch.float64)
    sigma = 0.3
    model = VAE(
        Condless(d, 2 * k), Condless(k, d), GaussianHead((d,), shared=True), DataSpec((d,)), k
    )
    model.double()
    with torch.no_grad():
        model.decoder.linear.weight.copy_(weights)
        mean = torch.randn(d, dtype=torch.float64)
        model.decoder.linear.bias.copy_(mean)
        model.likelihood.log_sigma.fill_(math.log(sigma - 1e-3))
        precision = 1 + (weights**2).sum(0) / sigma**2
        map_back = (weights / sigma**2 / precision).T
        model.encoder.linear.weight.copy_(torch.cat([map_back, torch.zeros(k, d)]))
        model.encoder.linear.bias.copy_(torch.cat([-map_back @ mean, -precision.log()]))
    covariance = weights @ weights.T + sigma**2 * torch.eye(d, dtype=torch.float64)
    return model, torch.distributions.MultivariateNormal(mean, covariance)


@pytest.mark.parametrize("samples", [1, 7, 25, 30, 51])
def test_at_the_exact_posterior_one_sample_gives_log_p(samples):
    model, truth = linear_vae(6, 3)
    x = truth.sample((50,))
    bound = model.importance_bound(x, samples=samples)
    assert torch.allclose(bound, truth.log_prob(x), atol=1e-9)


def test_at_the_exact_posterior_the_elbo_is_log_p_in_mean():
    model, truth = linear_vae(6, 3)
    x = truth.sample((1,)).expand(200_000, 6)
    elbo = model.elbo(x)
    z = (elbo.mean() - truth.log_prob(x[:1])[0]) / (elbo.std() / len(elbo) ** 0.5)
    assert abs(z) < 5


def test_any_other_posterior_gives_a_bound_that_tightens_with_samples():
    model, truth = linear_vae(6, 3)
    with torch.no_grad():
        model.encoder.linear.weight += 0.05 * torch.randn(6, 6, dtype=torch.float64)
        model.encoder.linear.bias[3:] += 0.7
    x = truth.sample((4000,))
    means = [model.importance_bound(x, samples=k).mean() for k in (1, 5, 50)]
    assert means[0] < means[1] < means[2] < truth.log_prob(x).mean() + 1e-3
    elbo = model.elbo(x)
    assert abs(elbo.mean() - means[0]) < 5 * elbo.std() / len(x) ** 0.5 * 2


def test_kl_is_the_integral():
    mu, log_var = torch.randn(20, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    q = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    assert torch.allclose(
        kl_to_standard_normal(mu, log_var), torch.distributions.kl_divergence(q, p)
    )


def analytic_elbo(model, x):
    """E_q log p(x|z) - KL of a linear model, without noise: E|x - W z - b|^2 = |x - W mu - b|^2 +
    sum_j s_j |w_j|^2.
    """
    mu, log_var = model.encoder.linear(x).chunk(2, 1)
    weights, sigma = model.decoder.linear.weight, model.likelihood.sigma
    residual = ((x - model.decoder.linear(mu)) ** 2).sum(1) + log_var.exp() @ (weights**2).sum(0)
    d = x.shape[1]
    log_likelihood = -0.5 * residual / sigma**2 - d * (sigma.log() + 0.5 * math.log(2 * math.pi))
    return log_likelihood - kl_to_standard_normal(mu, log_var).sum(1)


def test_a_linear_vae_learns_probabilistic_pca():
    """Lucas et al. (2019): the optimum of the ELBO is pPCA's likelihood, and there is no worse
    local one.
    """
    from sklearn.datasets import load_digits

    x = torch.from_numpy(load_digits().data / 16)
    model = VAE(
        Condless(64, 16), Condless(8, 64), GaussianHead((64,), shared=True), DataSpec((64,)), 8
    ).double()
    with torch.no_grad():
        model.decoder.linear.bias.copy_(x.mean(0))
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=1500,
        history_size=30,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = -analytic_elbo(model, x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        assert abs(analytic_elbo(model, x).mean().item() - 14.2098) < 2e-3
        assert abs(model.likelihood.sigma.item() ** 2 - 0.027329) < 1e-4
        with noise(0, len(x)):
            drawn = torch.stack([model.elbo(x) for _ in range(20)]).mean(0)
        assert abs(drawn.mean().item() - 14.2098) < 0.05


def planted(beta, kl_warmup):
    """Two clusters per bit pattern: a KL weight of 10 is more than what a latent can earn."""
    spec = DataSpec((8,), Binary())
    torch.manual_seed(0)
    recipe = catalogue.build(
        "vae", spec, latent=2, hidden=(32,), beta=beta, kl_warmup=kl_warmup, steps=400
    )
    from pofx.training.loop import Budget, Training, train

    training = Training(recipe)
    g = np.random.default_rng(0)

    def data():
        while True:
            side = torch.from_numpy(g.integers(0, 2, (64, 1))).float()
            flip = torch.from_numpy(g.random((64, 8)) < 0.05).float()
            yield Batch((side - flip).abs().expand(64, 8).contiguous())

    for step in train(training, data(), Budget(steps=400)):
        last = step
    return float(last.metrics["kl"]), float(last.metrics["active_units"])


def test_a_kl_weight_of_ten_collapses_and_one_does_not():
    kl, active = planted(10.0, 0)
    assert kl < 0.05
    assert active == 0
    kl, active = planted(1.0, 0.25)
    assert kl > 0.4
    assert active >= 1


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((3,), Real()),
        DataSpec((1, 6, 5), Bytes(4)),
        DataSpec((4,), Categorical(3)),
        DataSpec((3,), Mixed((Real(), Categorical(4), Binary()))),
    ],
    ids=lambda s: type(s.support).__name__,
)
def test_gradients_are_those_of_finite_differences(spec):
    torch.manual_seed(1)
    recipe = catalogue.build("vae", spec, latent=2, hidden=(5,), channels=0)
    objective: ELBO = recipe.objective.double()
    x = objective.model.sample(3).detach().double()
    parameters = [p for p in objective.parameters() if p.requires_grad]

    def loss(*values):
        with noise(0, 3):
            return torch.func.functional_call(
                objective, dict(zip(names, values, strict=True)), (x,), {}
            )

    names = [n for n, p in objective.named_parameters() if p.requires_grad]
    objective.forward = lambda x: objective.loss(Batch(x))[0]
    assert torch.autograd.gradcheck(loss, parameters, eps=1e-6, atol=1e-5, fast_mode=True)
