"""Autoencoders against principal components, Wiener's filter and the penalties' own formulas."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch.distributions import Bernoulli, kl_divergence

from pofx import catalogue
from pofx.ae.activity import Activity, rate_divergence
from pofx.ae.denoising import Denoising
from pofx.ae.reconstruction import Autoencoder, distance
from pofx.ae.sparse import SparseAutoencoder, SparseReconstruction
from pofx.batch import Batch
from pofx.functional.dequantize import relax
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real
from pofx.training.loop import Budget, Options, Training, train

pytestmark = pytest.mark.usefixtures("double")


def fitted(recipe, x, steps):
    training = Training(recipe)
    batches = (Batch(x() if callable(x) else x) for _ in range(steps))
    for _ in train(training, batches, Budget(steps=steps)):
        pass
    return training.model.eval()


@pytest.mark.parametrize(("k", "residual"), [(2, 3.355253), (8, 1.530448)])
def test_a_linear_one_finds_the_principal_subspace(k, residual):
    x = torch.from_numpy(load_digits().data / 16)
    recipe = catalogue.build("autoencoder", DataSpec((64,)), linear=True, latent=k)
    model, objective = recipe.model, recipe.objective
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = objective.loss(Batch(x))[0]
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        assert model.reconstruction_error(x).mean().item() == pytest.approx(residual, abs=1e-3)
    _, _, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    decoder = torch.linalg.qr(next(p for p in model.decoder.parameters() if p.ndim == 2))[0]
    cosines = torch.linalg.svdvals(v[:k] @ decoder)
    assert cosines.min() > 0.999


def test_a_linear_denoiser_is_wieners_filter():
    spread, level = torch.tensor([2.0, 1.0, 0.5]), 0.7
    recipe = catalogue.build(
        "denoising", DataSpec((3,)), latent=3, hidden=(), channels=0, level=level, lr=0.02
    )
    model = fitted(recipe, lambda: spread * torch.randn(1024, 3), 1500)
    with torch.no_grad():
        zero = model.decode(model.encode(torch.zeros(1, 3)))
        gain = model.decode(model.encode(torch.eye(3))) - zero
    best = torch.diag(spread**2 / (spread**2 + level**2))
    assert (gain - best).abs().max() < 0.03
    assert zero.abs().max() < 0.03


def test_damage_is_of_the_kind_and_the_level_asked_for():
    clean = torch.ones(4000, 5)
    gaussian = Denoising(None, "gaussian", 0.3).damage(clean) - clean
    assert gaussian.std().item() == pytest.approx(0.3, abs=0.01)
    masked = Denoising(None, "masking", 0.3).damage(clean)
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    assert (masked == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("shape", [(6,), (2, 3, 4)])
def test_each_element_is_masked_by_itself(shape):
    masked = Denoising(None, "masking", 0.4).damage(torch.ones(8000, *shape)).flatten(1)
    correlation = masked.T.corrcoef() - torch.eye(masked.shape[1])
    assert correlation.abs().max() < 0.06


def test_the_absolute_values_of_a_code_are_summed():
    model = SparseAutoencoder(torch.nn.Identity(), torch.nn.Identity(), DataSpec((3,)), "l1")
    z = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]])
    assert SparseReconstruction(model, 1.0, None).penalty(z).item() == pytest.approx(1.75)


def test_the_clean_example_is_the_target():
    """A denoiser that puts out the clean example whatever it sees has no error."""
    decoder = torch.nn.Linear(2, 2)
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.fill_(1.0)
    model = Autoencoder(torch.nn.Identity(), decoder, DataSpec((2,)))
    assert Denoising(model, "gaussian", 5.0).loss(Batch(torch.ones(10, 2)))[0] == 0


def test_the_distance_is_squared_error_of_numbers_and_cross_entropy_of_bits_and_categories():
    spec = DataSpec((3,), Mixed((Real(), Categorical(3), Binary())))
    x = torch.tensor([[0.5, 2.0, 1.0], [-1.0, 0.0, 0.0]])
    y = torch.randn(2, 5)
    logits = y[:, 1:4].log_softmax(1)
    expected = (
        (y[:, 0] - x[:, 0]) ** 2
        - torch.stack([logits[0, 2], logits[1, 0]])
        - Bernoulli(logits=y[:, 4]).log_prob(x[:, 2])
    )
    assert torch.allclose(distance(y, relax(x, spec), spec), expected, atol=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((4,), Mixed((Real(), Categorical(3), Binary(), Real()))),
        DataSpec((6,), Categorical(4)),
        DataSpec((1, 4, 4), Bytes(17)),
        DataSpec((12,), Binary()),
    ],
)
def test_what_a_perfect_decoder_puts_out_is_the_example(spec):
    model = Autoencoder(torch.nn.Identity(), torch.nn.Identity(), spec)
    columns = [torch.randint(0, getattr(c, "levels", 2) or 2, (9,)) for c in spec.columns]
    x = torch.stack(columns, 1).double().reshape(9, *spec.shape)
    if isinstance(spec.support, Bytes):
        x = x * (2 / 16) - 1
    assert torch.equal(model.decode(model.encode(x)), x)


def test_top_k_keeps_the_largest_and_nothing_else():
    model = SparseAutoencoder(torch.nn.Identity(), torch.nn.Identity(), DataSpec((6,)), "topk", 2)
    a = torch.tensor([[0.1, 3.0, -5.0, 2.0, 0.0, 1.0], [-1.0, -2.0, -3.0, 0.5, -1.0, -1.0]])
    expected = torch.tensor([[0, 3.0, 0, 2.0, 0, 0], [0, 0, 0, 0.5, 0, 0]])
    assert torch.equal(model.encode(a), expected)


def test_the_rate_divergence_is_that_of_two_coins():
    mean = torch.tensor([0.01, 0.05, 0.3, 0.9])
    expected = kl_divergence(Bernoulli(torch.tensor(0.05)), Bernoulli(mean))
    assert torch.allclose(rate_divergence(0.05, mean), expected, atol=1e-12)
    assert rate_divergence(0.05, torch.tensor(0.05)).abs() < 1e-12


def test_the_penalty_of_activity_is_the_divergence_and_its_slope_at_the_mean():
    activity = Activity(3, 0.1)
    z = torch.rand(20, 3).clamp(0.01, 0.99).requires_grad_()
    activity.mean.copy_(z.detach().mean(0))
    expected = rate_divergence(0.1, z.mean(0)).sum()
    assert torch.allclose(activity.penalty(z), expected, atol=1e-12)
    slopes = [torch.autograd.grad(f, z)[0] for f in (activity.penalty(z), expected)]
    assert torch.allclose(*slopes, atol=1e-12)


def test_the_mean_activity_is_followed_whatever_the_division_of_a_batch():
    whole, parts = Activity(2, 0.1), Activity(2, 0.1)
    for _ in range(60):
        z = torch.rand(12, 2) * torch.tensor([1.0, 0.4])
        whole.see(z)
        parts.see(z[:3])
        parts.see(z[3:])
        whole.step()
        parts.step()
    assert torch.allclose(whole.mean, parts.mean, atol=1e-12)
    assert torch.allclose(whole.mean, torch.tensor([0.5, 0.2]), atol=0.08)


def test_a_kl_penalty_accumulates_exactly():
    x, found = torch.randn(24, 5), []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        recipe = catalogue.build("sparse", DataSpec((5,)), sparsity="kl", weight=2.0, latent=8)
        training = Training(recipe, options=Options(accumulate=accumulate))
        for _ in range(4):
            training.train_step(Batch(x))
        found.append(training.state()[0])
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-10), name


@pytest.mark.parametrize(("sparsity", "most"), [("l1", 0.5), ("kl", 0.2), ("topk", 0.2)])
def test_penalties_make_codes_sparse(sparsity, most):
    """The share of a code that is active for an example, on digits."""
    x = torch.from_numpy(load_digits().data / 8 - 1).float().double()[:600]

    def active(weight):
        torch.manual_seed(0)
        recipe = catalogue.build(
            "sparse", DataSpec((64,)), sparsity=sparsity, weight=weight, k=6, latent=32, lr=0.01
        )
        z = fitted(recipe, x, 200).encode(x)
        return (z > (0.5 if sparsity == "kl" else 1e-3)).double().mean().item()

    assert active(3.0) < most
    if sparsity != "topk":
        assert active(3.0) < active(0.0)


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("autoencoder", {"latent": 0}, "latent"),
        ("denoising", {"level": 0.0}, "level"),
        ("denoising", {"level": 1.5, "noise": "masking"}, "below 1"),
        ("sparse", {"k": 500}, "at most --latent"),
        ("sparse", {"weight": -1.0}, "weight"),
        ("sparse", {"rate": 1.0}, "rate"),
    ],
)
def test_arguments_out_of_range_are_refused(name, arguments, word):
    with pytest.raises(RecipeError, match=word):
        catalogue.build(name, DataSpec((4,)), **arguments)


def test_a_denoiser_of_gaussian_noise_knows_the_score():
    """Tweedie: (g(f(x)) - x) / level^2 is the score of the noisy density, here -x / (1 + .25)."""
    level = 0.5
    recipe = catalogue.build("denoising", DataSpec((1,)), latent=1, hidden=(), level=level, lr=0.02)
    model = fitted(recipe, lambda: torch.randn(2048, 1), 800)
    x = torch.linspace(-2, 2, 9)[:, None]
    score = (model.decode(model.encode(x)) - x) / level**2
    assert (score + x / (1 + level**2)).abs().max() < 0.1
    assert math.isfinite(score.sum().item())
