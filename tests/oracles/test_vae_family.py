"""The relatives of the VAE against closed forms, in float64."""

import itertools
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from pofx import catalogue
from pofx.batch import Batch
from pofx.distributions.heads import GaussianHead
from pofx.nn.resnet import Block
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, DataSpec, class_spec
from pofx.training.loop import Budget, Training, train
from pofx.vae.beta_vae import Capacity
from pofx.vae.elbo import ELBO
from pofx.vae.inverse_autoregressive import IAFStep
from pofx.vae.iwae import ImportanceWeighted
from pofx.vae.normal import NormalPosterior, combined, log_normal, normal_divergence
from pofx.vae.normal_vae import VAE

pytestmark = pytest.mark.usefixtures("double")


class Condless(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x, cond=None):
        return self.linear(x)


def linear_vae(d=5, k=2, sigma=0.4):
    """A linear-Gaussian VAE with its exact posterior."""
    q, _ = torch.linalg.qr(torch.randn(d, k))
    weights = q * torch.linspace(0.5, 2.0, k)
    model = VAE(
        Condless(d, 2 * k), Condless(k, d), GaussianHead((d,), shared=True), DataSpec((d,)), k
    )
    with torch.no_grad():
        model.decoder.linear.weight.copy_(weights)
        model.decoder.linear.bias.zero_()
        model.likelihood.log_sigma.fill_(math.log(sigma - 1e-3))
        precision = 1 + (weights**2).sum(0) / sigma**2
        back = (weights / sigma**2 / precision).T
        model.encoder.linear.weight.copy_(torch.cat([back, torch.zeros(k, d)]))
        model.encoder.linear.bias.copy_(torch.cat([torch.zeros(k), -precision.log()]))
    covariance = weights @ weights.T + sigma**2 * torch.eye(d)
    return model, torch.distributions.MultivariateNormal(torch.zeros(d), covariance)


def slopes(objective, x, times):
    """Gradients of the encoder, one row a draw."""
    parameters = list(objective.model.encoder.parameters())
    rows = []
    for _ in range(times):
        found = torch.autograd.grad(objective.loss(Batch(x))[0], parameters)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


# --- importance weighting


@pytest.mark.parametrize("gradient", ["dreg", "stl"])
def test_at_the_exact_posterior_the_gradient_of_q_vanishes(gradient):
    model, truth = linear_vae()
    x = truth.sample((7,))
    assert slopes(ImportanceWeighted(model, 4, gradient), x, 3).abs().max() < 1e-12
    assert slopes(ImportanceWeighted(model, 4, "plain"), x, 3).abs().max() > 1e-3


@pytest.mark.parametrize(("gradient", "k"), [("dreg", 1), ("dreg", 5), ("stl", 1)])
def test_reparameterised_gradients_have_the_plain_ones_mean_and_less_noise(gradient, k):
    torch.manual_seed(0)
    model, truth = linear_vae()
    with torch.no_grad():
        model.encoder.linear.bias += 0.4
    x = truth.sample((1,)).expand(400, 5)
    other = slopes(ImportanceWeighted(model, k, gradient), x, 40)
    plain = slopes(ImportanceWeighted(model, k, "plain"), x, 40)
    error = ((other.var(0) + plain.var(0)) / 40).sqrt()
    z = (other.mean(0) - plain.mean(0)) / error.clamp(min=1e-12)
    assert z.abs().max() < 5
    assert other.var(0).sum() < plain.var(0).sum()


def test_every_gradient_reports_the_bound_and_moves_the_decoder_alike():
    model, truth = linear_vae()
    with torch.no_grad():
        model.encoder.linear.bias += 0.3
    x = truth.sample((50,))
    decoder = list(model.decoder.parameters())
    found = {}
    for gradient in ("plain", "dreg", "stl"):
        torch.manual_seed(3)
        loss = ImportanceWeighted(model, 5, gradient).loss(Batch(x))[0]
        found[gradient] = loss.item(), torch.autograd.grad(loss, decoder)[0]
    torch.manual_seed(3)
    expected = -model.importance_bound(x, samples=5).mean().item()
    for value, slope in found.values():
        assert value == pytest.approx(expected, abs=1e-10)
        assert torch.allclose(slope, found["plain"][1], atol=1e-10)


def test_the_bound_rises_with_k_and_stays_below_log_p():
    torch.manual_seed(0)
    model, truth = linear_vae()
    with torch.no_grad():
        model.encoder.linear.bias += 0.5
    x = truth.sample((3000,))
    means = [-ImportanceWeighted(model, k).loss(Batch(x))[0].item() for k in (1, 3, 10, 100)]
    assert means == sorted(means)
    assert means[-1] < truth.log_prob(x).mean().item() + 1e-2


def test_weights_are_of_single_precision_where_products_are_of_half():
    torch.manual_seed(0)
    spec = DataSpec((300,), Binary())
    recipe = catalogue.build("iwae", spec, k=4, hidden=(16,), latent=3)
    objective, x = recipe.objective.float(), torch.randint(0, 2, (20, 300)).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = objective.loss(Batch(x))
        z, log_q = objective.model.posterior(x).draw(4)
        log_w = objective.model.log_weights(x, None, z, log_q)
    loss.backward()
    assert log_w.dtype == torch.float32
    assert len(log_w.unique()) > 70


# --- beta


def analytic(model, x, beta):
    """The beta-ELBO of a linear VAE with unit-free noise: no draw is needed."""
    posterior = model.posterior(x)
    weights, sigma = model.decoder.linear.weight, model.likelihood.sigma
    residual = ((x - model.decoder.linear(posterior.mu)) ** 2).sum(1)
    residual = residual + posterior.log_var.exp() @ (weights**2).sum(0)
    kl = 0.5 * (posterior.mu**2 + posterior.log_var.exp() - 1 - posterior.log_var).sum(1)
    return -0.5 * residual / sigma**2 - beta * kl


@pytest.mark.parametrize(("beta", "active"), [(1, 18), (2, 12), (4, 7), (8, 3)])
def test_the_components_above_beta_times_the_variance_stay_active(beta, active):
    """REFERENCES: digits / 16, variance .05: of 20 codes, as many as eigenvalues above beta .05."""
    torch.manual_seed(0)
    x = torch.from_numpy(load_digits().data / 16)
    model = VAE(
        Condless(64, 40), Condless(20, 64), GaussianHead((64,), shared=True), DataSpec((64,)), 20
    )
    with torch.no_grad():
        model.decoder.linear.bias.copy_(x.mean(0))
        model.likelihood.log_sigma.fill_(math.log(0.05**0.5 - 1e-3))
    model.likelihood.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=700, history_size=20, tolerance_change=1e-11,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        loss = -analytic(model, x, beta).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        kl = model.terms(x)[1].mean(0)
    assert (kl > 1e-3).sum() == active
    eigenvalues = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)) / len(x))
    assert (eigenvalues > beta * 0.05).sum() == active


def test_a_capacity_is_what_the_divergence_is_held_at():
    objective = Capacity(linear_vae()[0], beta=3.0, capacity=2.0, rise=0.5)
    parts = torch.tensor([1.0, 0.5])
    assert objective.cost(parts, 0.0) == 1.5
    assert objective.cost(parts, 0.25) == 0.5
    assert objective.cost(parts, 0.5) == 0.5
    assert objective.cost(parts, 0.99) == 0.5
    assert objective.weight(0.2) == 3.0


# --- schedules


def test_the_weight_rises_once_or_in_cycles():
    model = linear_vae()[0]
    once, cycles = ELBO(model, 2.0, kl_warmup=0.2), ELBO(model, 1.0, kl_warmup=0.2, kl_cycles=2)
    seen = [(once.weight(i / 20), cycles.weight(i / 20)) for i in range(20)]
    assert [a for a, _ in seen[:6]] == pytest.approx([0, 0.5, 1, 1.5, 2, 2])
    assert [b for _, b in seen] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2 + [1] * 4)


def test_free_bits_cost_the_same_until_they_are_used():
    objective = ELBO(linear_vae()[0], free_bits=0.5)
    assert objective.cost(torch.tensor([0.1, 2.0]), 0.0) == 2.5
    parts = torch.tensor([0.1, 2.0], requires_grad=True)
    objective.cost(parts, 0.0).backward()
    assert parts.grad.tolist() == [0, 1]


def collapsed(**arguments):
    """Bits that agree with one hidden coin; whether the code of one step's data is used."""
    torch.manual_seed(0)
    recipe = catalogue.build("vae", DataSpec((8,), Binary()), latent=2, hidden=(32,), **arguments)

    def data():
        while True:
            side = torch.randint(0, 2, (64, 1))
            flip = (torch.rand(64, 8) < 0.05).long()
            yield Batch((side ^ flip).double())

    for step in train(Training(recipe), data(), Budget(steps=400)):
        last = step
    return float(last.metrics["active_units"]) == 0


def test_a_heavy_divergence_collapses_and_free_bits_do_not():
    assert collapsed(beta=10.0, kl_warmup=0)
    assert not collapsed(beta=10.0, kl_warmup=0, free_bits=0.4)
    assert not collapsed(beta=1.0, kl_warmup=0.25, kl_cycles=2)


# --- networks


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 30), (5,)], ids=str)
def test_every_kind_of_network_learns_whatever_the_shape(network, shape):
    spec = DataSpec(shape, Bytes(8), cond=class_spec(2)) if len(shape) == 3 else DataSpec(shape)
    arguments = {"latent": 3, "hidden": (8, 6), "channels": 4, "network": network, "kl_warmup": 0}
    if network == "conv" and not spec.is_image:
        with pytest.raises(RecipeError, match="images"):
            catalogue.build("vae", spec, **arguments)
        return
    training = Training(catalogue.build("vae", spec, **arguments, conditional=spec.classes > 0))
    x, cond = torch.randn(6, *shape), torch.arange(6) % 2 if spec.classes else None
    x = x.sign() if spec.is_image else x
    for _ in range(2):  # what lies behind a layer of zeros moves in the second step
        training.train_step(Batch(x, cond))
    model, loss = training.model, training.objective.loss(Batch(x, cond))[0]
    names, parameters = zip(*model.named_parameters(), strict=True)
    for name, slope in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert slope.any(), name
    with torch.no_grad():
        alone = model.encode(x[:1], None if cond is None else cond[:1])
        assert torch.allclose(model.encode(x, cond)[:1], alone)
        assert model.sample(2).shape == (2, *shape)


@pytest.mark.parametrize(
    ("shape", "channels", "residual"),
    [((1, 28, 28), 4, True), ((1, 28, 28), 0, False), ((1, 8, 30), 4, False), ((784,), 4, False)],
    ids=str,
)
def test_a_large_image_gets_residual_networks_by_default(shape, channels, residual):
    spec = DataSpec(shape, Binary())
    model = catalogue.build("vae", spec, hidden=(8,), channels=channels).model
    assert any(isinstance(m, Block) for m in model.modules()) == residual


def test_a_residual_block_starts_as_the_identity():
    block, h = Block(4), torch.randn(2, 4, 5, 3)
    assert torch.equal(block(h), h)
    torch.nn.init.normal_(block.second.weight)
    assert not torch.allclose(block(h), h)


# --- priors and posteriors


def test_a_vamp_prior_is_the_mixture_of_its_pseudo_inputs_posteriors():
    model = catalogue.build("vamp", DataSpec((3,)), latent=2, hidden=(8,), components=4).model
    q = model.components()
    each = Independent(Normal(q.mu, (0.5 * q.log_var).exp()), 1)
    truth = MixtureSameFamily(Categorical(torch.ones(4)), each)
    z = 2 * torch.randn(3, 5, 2)
    assert torch.allclose(model.log_prior(z), truth.log_prob(z), atol=1e-10)
    with torch.no_grad():
        drawn = model.draw_prior(40_000)
        assert torch.allclose(drawn.mean(0), truth.mean, atol=0.03)
        assert torch.allclose(drawn.var(0), truth.variance, rtol=0.05)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_steps_determinant_is_that_of_its_jacobian(backwards):
    step = IAFStep(5, 3, 16, backwards=backwards)
    with torch.no_grad():
        step.net.last.weight.normal_(0, 0.5)
    z, context = torch.randn(4, 5), torch.randn(4, 3)
    _, ladj = step(z, context)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, i=i: step(v[None], context[i : i + 1])[0][0], z[i]
        )
        assert torch.linalg.slogdet(jacobian).logabsdet == pytest.approx(ladj[i].item(), abs=1e-10)
        upper = jacobian.tril(-1) if backwards else jacobian.triu(1)
        assert not upper.any()


def test_an_inverse_autoregressive_posterior_integrates_to_one():
    """Its log q, turned into an expectation: E_q[1 / q] over a box is the box's volume."""
    torch.manual_seed(0)
    model = catalogue.build("iaf-vae", DataSpec((3,)), latent=2, hidden=(8,), context=4).model
    with torch.no_grad():
        for step in model.steps:
            step.net.last.weight.normal_(0, 0.3)
        z, log_q = model.posterior(torch.randn(1, 3)).draw(400_000)
        middle = z[:, 0].mean(0)
        inside = ((z[:, 0] - middle).abs() < 0.5).all(1)
        volume = (torch.exp(-log_q[:, 0]) * inside).mean()
    assert volume.item() == pytest.approx(1.0, abs=0.02)


def test_the_combination_is_the_normalised_product():
    a, b = (NormalPosterior(torch.randn(6), torch.randn(6)) for _ in range(2))
    c, z = combined(a, b), torch.linspace(-3, 3, 11)[:, None].expand(11, 6)
    difference = (
        Normal(a.mu, (a.log_var / 2).exp()).log_prob(z)
        + Normal(b.mu, (b.log_var / 2).exp()).log_prob(z)
        - Normal(c.mu, (c.log_var / 2).exp()).log_prob(z)
    )
    assert (difference - difference[0]).abs().max() < 1e-10
    expected = kl_divergence(
        Normal(a.mu, (a.log_var / 2).exp()), Normal(b.mu, (b.log_var / 2).exp())
    )
    assert torch.allclose(normal_divergence(a, b), expected, atol=1e-12)


def ladder():
    torch.manual_seed(0)
    model = catalogue.build(
        "ladder-vae", DataSpec((3,)), latents=(1, 1), width=8, hidden=(8,)
    ).model
    with torch.no_grad():
        for p in (*model.priors.parameters(), *model.evidence.parameters()):
            p += 0.3 * torch.randn_like(p)
    return model


def test_a_ladders_prior_integrates_to_one_and_draws_itself():
    model = ladder()
    axis = torch.linspace(-8, 8, 401)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        p = model.log_prior(grid).exp() * (axis[1] - axis[0]) ** 2
        drawn = model.draw_prior(50_000)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-3)
    assert torch.allclose(drawn.mean(0), (p[:, None] * grid).sum(0), atol=0.03)


def test_a_ladders_bound_is_the_mean_of_its_weights():
    """The sum of KLs and the log-ratio of one draw are two estimates of one number."""
    model = ladder()
    x = torch.randn(1, 3).expand(60_000, 3)
    with torch.no_grad():
        log_likelihood, divergence = model.terms(x)
        by_parts = log_likelihood - divergence.sum(1)
        posterior = model.posterior(x)
        by_weights = model.log_weights(x, None, *posterior.draw(1))[0]
    error = ((by_parts.var() + by_weights.var()) / len(x)).sqrt()
    assert abs(by_parts.mean() - by_weights.mean()) < 5 * error


def test_the_density_of_a_draw_is_that_of_its_parameters():
    q = NormalPosterior(torch.randn(7, 3), torch.randn(7, 3))
    for stopped in (False, True):
        z, log_q = q.draw(4, stopped=stopped)
        assert z.shape == (4, 7, 3)
        assert torch.allclose(log_q, log_normal(z, q.mu, q.log_var), atol=1e-12)


@pytest.mark.parametrize("name", ["iwae", "iaf-vae", "ladder-vae"])
def test_each_of_many_codes_is_of_its_own_example_and_class(name):
    """Codes of k = 3 draws are weighed as each draw alone, with the labels of the examples."""
    torch.manual_seed(0)
    spec = DataSpec((4,), cond=class_spec(3))
    model = catalogue.build(name, spec, hidden=(16,), conditional=True).model
    x, cond = torch.randn(5, 4), torch.tensor([0, 1, 2, 2, 0])
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
        z, log_q = model.posterior(x, cond).draw(3)
        together = model.log_weights(x, cond, z, log_q)
        for k, i in itertools.product(range(3), range(5)):
            one = model.log_weights(
                x[i : i + 1], cond[i : i + 1], z[k : k + 1, i : i + 1], log_q[k : k + 1, i : i + 1]
            )
            assert one.item() == pytest.approx(together[k, i].item(), rel=1e-9)


def test_each_of_many_codes_goes_through_the_steps_of_its_own_example():
    torch.manual_seed(0)
    model = catalogue.build("iaf-vae", DataSpec((3,)), latent=2, hidden=(8,), context=4).model
    x = torch.randn(5, 3)
    with torch.no_grad():
        for step in model.steps:
            step.net.last.weight.normal_(0, 0.5)
        many = model.posterior(x)
        start, log_start = many.start.draw(3)
        many.start.draw = lambda k: (start, log_start)
        z, log_q = many.draw(3)
        for i in range(5):
            one = model.posterior(x[i : i + 1])
            one.start.draw = lambda k, i=i: (start[:, i : i + 1], log_start[:, i : i + 1])
            alone, log_alone = one.draw(3)
            assert torch.allclose(z[:, i], alone[:, 0], atol=1e-12)
            assert torch.allclose(log_q[:, i], log_alone[:, 0], atol=1e-12)


@pytest.mark.parametrize("name", ["iwae", "vamp", "iaf-vae", "ladder-vae", "beta-vae"])
def test_importance_samples_tighten_every_bound(name):
    torch.manual_seed(0)
    model = catalogue.build(name, DataSpec((4,)), hidden=(16,)).model
    x = torch.randn(400, 4)
    with torch.no_grad():
        elbo = torch.stack([model.elbo(x) for _ in range(20)]).mean()
        one, many = (model.importance_bound(x, samples=s).mean() for s in (1, 200))
    assert abs(elbo - one) < 0.5
    assert many > one
    z = model.encode(x)
    assert model.decode(z).shape == x.shape


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("iwae", {"k": 0}, "--k"),
        ("vae", {"free_bits": -1.0}, "free-bits"),
        ("beta-vae", {"beta": -1.0}, "beta"),
        ("beta-vae", {"capacity": -1.0}, "capacity"),
        ("beta-vae", {"rise": 5000}, r"--rise must be from 0 to 1 \(got 5000\)"),
        (
            "vae",
            {"kl_warmup": 500},
            r"--kl-warmup must be from 0 to 1 \(got 500\): give",
        ),
        ("iwae", {"kl_warmup": -0.1}, "--kl-warmup must be from 0 to 1"),
        ("rectified-flow", {"first_part": 1.5}, "--first-part must be from 0 to 1"),
        ("vamp", {"components": 0}, "components"),
        ("iaf-vae", {"width": 0}, "width"),
        ("ladder-vae", {"latents": (4, 0)}, "least"),
        ("ladder-vae", {"conditional": True}, "classes"),
    ],
)
def test_arguments_out_of_range_are_refused(name, arguments, word):
    with pytest.raises((RecipeError, catalogue.CatalogueError), match=word):
        catalogue.build(name, DataSpec((4,)), **arguments)
