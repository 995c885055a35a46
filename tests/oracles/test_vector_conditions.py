"""Flows given a vector, against a linear normal model whose conditional density is known."""

from dataclasses import replace

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.errors import RecipeError, UserError
from pofx.functional.draw import draw
from pofx.functional.labels import withheld
from pofx.functional.random import noise
from pofx.nn.condition import condition, inputs
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real, class_spec
from pofx.training.loop import Budget, Training, train

NOISE = 0.5
DENOISERS = ("ddpm", "edm", "score-sde", "flow-matching", "improved-ddpm", "ncsn")
VAES = ("vae", "beta-vae", "iwae", "iaf-vae", "ladder-vae")
FLOWS = ("maf", "nsf", "iaf", "realnvp", "nice", "ffjord", "residual-flow")


def linear_normal(n, size, given, seed=0):
    """Conditions `(n, given)`, examples `(n, size)` with mean A c and deviation NOISE, and A."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(given, size, generator=torch.Generator().manual_seed(7)) / given**0.5
    c = torch.randn(n, given, generator=g)
    return c, c @ a + NOISE * torch.randn(n, size, generator=g), a


def trained(name, size, given, steps, **arguments):
    spec = DataSpec((size,), cond=DataSpec((given,)))
    torch.manual_seed(0)
    training = Training(catalogue.build(name, spec, conditional=True, steps=steps, **arguments))

    def batches():
        for seed in range(steps):
            c, x, _ = linear_normal(256, size, given, seed)
            yield Batch(x, c)

    for _ in train(training, batches(), Budget(steps=steps)):
        pass
    return training.sampled.eval()


@pytest.mark.parametrize("size", [1, 2])
def test_the_density_given_a_vector_is_that_of_the_model_that_drew(size):
    model = trained("maf", size, 3, 300, hidden=(32, 32))
    c, x, a = linear_normal(4000, size, 3, seed=10_000)
    truth = torch.distributions.Normal(c @ a, NOISE).log_prob(x).sum(1)
    with torch.no_grad():
        found = model.log_prob(x, c)
    assert abs((found - truth).mean()) < 0.03
    one = torch.tensor([0.5, -0.5, 0.5])
    drawn = draw(model, 3000, cond=one.expand(3000, -1), seed=2)
    assert (drawn.mean(0) - one @ a).abs().max() < 0.08
    assert drawn.std(0).sub(NOISE).abs().max() < 0.05


@pytest.mark.parametrize(
    "name", [*FLOWS, "vae", "beta-vae", "iwae", "iaf-vae", "ladder-vae", *DENOISERS]
)
def test_every_model_heeds_a_row_of_numbers_bits_and_categories(name):
    columns = Mixed((Real(), Binary(), Categorical(3)))
    spec = DataSpec((2,), cond=DataSpec((3,), columns))
    recipe = catalogue.build(name, spec, conditional=True)
    model = recipe.model
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    c = torch.tensor([[0.3, 1.0, 2.0], [0.3, 0.0, 2.0], [0.3, 1.0, 0.0], [-1.0, 1.0, 2.0]])
    x = torch.full((4, 2), 0.4)
    answers = ("log_prob", "log_prob_estimate", "elbo")
    answer = next(getattr(model, a) for a in answers if hasattr(model, a))
    with torch.no_grad():
        torch.manual_seed(0)
        found = answer(x, c)
    assert found.isfinite().all()
    assert (found[0] - found[1:]).abs().min() > 1e-6
    loss, _ = recipe.objective.loss(Batch(x, c))
    loss.backward()
    assert draw(model, 4, cond=c).shape == (4, 2)
    if name in (*FLOWS, *VAES):
        with pytest.raises(UserError, match="condition must be given"):
            model.sample(2)


def test_what_is_not_given_is_nothing_to_the_network():
    spec = DataSpec((3,), Mixed((Real(), Binary(), Categorical(3))))
    spelled = inputs(spec)(torch.tensor([[0.5, 0.0, 1.0], [torch.nan] * 3]))
    assert spelled.tolist() == [[0.5, -1, -1, 1, -1, 1, 1, 1], [0] * 8]
    embed = condition(spec, 4)
    c = torch.tensor([[0.5, torch.nan, 2.0]], requires_grad=True)
    embed(c).sum().backward()
    assert all(p.grad.isfinite().all() for p in embed.parameters())


def test_what_is_withheld_is_what_is_not_given():
    spec = DataSpec((2,), cond=DataSpec((3,)))
    model = catalogue.build("ddpm", spec).model
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    x, t, c = torch.randn(50, 2), torch.rand(50), torch.randn(50, 3)
    hidden = withheld(c, 0.5)
    gone = hidden.isnan().all(1)
    assert 10 < gone.sum() < 40
    assert torch.equal(hidden[~gone], c[~gone])
    with torch.no_grad():
        some, none, all_ = (model.denoiser(x, t, cond) for cond in (hidden, None, c))
    assert torch.allclose(some[gone], none[gone], atol=1e-6)
    assert torch.allclose(some[~gone], all_[~gone], atol=1e-6)
    assert (none - all_).abs().min() > 1e-6


def test_a_class_that_is_not_given_is_its_own_row():
    embed = condition(class_spec(3), 4)
    assert torch.equal(embed(torch.tensor([-1])), embed(embed.none(1)))
    assert inputs(class_spec(3))(torch.tensor([2, -1])).tolist() == [[0, 0, 1], [0, 0, 0]]


def test_a_condition_that_is_a_picture_is_refused():
    spec = DataSpec((2,), cond=DataSpec((1, 4, 4), Real()))
    with pytest.raises(RecipeError, match="maf: the condition must be a class or a vector"):
        catalogue.build("maf", spec, conditional=True)


def test_one_element_needs_a_condition():
    model = catalogue.build("nsf", DataSpec((1,), cond=DataSpec((2,))), conditional=True).model
    assert model.sample(3, torch.zeros(3, 2)).shape == (3, 1)
    with pytest.raises(RecipeError, match="or a condition"):
        catalogue.build("nsf", DataSpec((1,)))
    for name in ("nice", "realnvp"):
        with pytest.raises(RecipeError, match=f"{name}: examples must have 2 elements"):
            catalogue.build(name, DataSpec((1,), cond=DataSpec((2,))), conditional=True)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_mixture_given_a_vector_is_the_joint_over_the_marginal(covariance):
    torch.manual_seed(0)
    spec = DataSpec((2,), cond=DataSpec((1,)))
    settings = {"components": 3, "covariance": covariance}
    model = catalogue.build("gmm", spec, conditional=True, **settings).model
    c = torch.randn(500, 1)
    x = torch.cat([c.sin() * 2 + 0.3 * torch.randn(500, 1), torch.randn(500, 1)], 1)
    model.fit(x, c)
    alone = catalogue.build("gmm", DataSpec((3,)), **settings).model
    alone.load_state_dict(model.joint.state_dict())
    grid = torch.cartesian_prod(*[torch.linspace(-7, 7, 141)] * 2)
    told = torch.full((len(grid), 1), 0.4)
    log_p = model.log_prob(grid, told)
    density = log_p.exp()
    assert abs(float(density.sum()) * 0.01 - 1) < 1e-3
    joint = alone.log_prob(torch.cat([told, grid], 1))
    assert torch.allclose(joint - log_p, (joint - log_p)[0], atol=1e-3)
    drawn = draw(model, 20_000, cond=told[:1].expand(20_000, -1), seed=1)
    mean = (grid * density[:, None]).sum(0) * 0.01
    assert (drawn.mean(0) - mean).abs().max() < 0.03
    second = (grid.square() * density[:, None]).sum(0) * 0.01
    assert (drawn.square().mean(0) - second).abs().max() < 0.08


@pytest.mark.parametrize(("name", "within"), [("gmm", 0.03), ("kde", 0.12)])
def test_the_yardsticks_given_a_vector_know_a_linear_normal_model(name, within):
    spec = DataSpec((1,), cond=DataSpec((2,)))
    arguments = {"components": 1} if name == "gmm" else {}
    model = catalogue.build(name, spec, conditional=True, **arguments).model
    c, x, a = linear_normal(4000, 1, 2)
    model.fit(x, c)
    c, x, _ = linear_normal(2000, 1, 2, seed=1)
    truth = torch.distributions.Normal(c @ a, NOISE).log_prob(x).sum(1)
    assert abs((model.log_prob(x, c) - truth).mean()) < within


def test_yardsticks_given_a_vector_bound_a_mass_and_refuse_what_is_missing():
    spec = DataSpec((2,), Mixed((Binary(), Categorical(3))), cond=DataSpec((1,)))
    model = catalogue.build("gmm", spec, conditional=True, components=2).model
    c = torch.randn(300, 1)
    x = torch.stack([(c[:, 0] > 0).float(), torch.randint(0, 3, (300,)).float()], 1)
    model.fit(x, c)
    every = torch.cartesian_prod(torch.arange(2.0), torch.arange(3.0))
    told = torch.ones(6, 1)
    bounds = torch.stack([model.elbo(every, told) for _ in range(50)]).mean(0)
    assert float(bounds.exp().sum()) < 1.02
    assert bounds[3:].mean() > bounds[:3].mean() + 1
    assert set(model.sample(20, torch.ones(20, 1))[:, 1].tolist()) <= {0.0, 1.0, 2.0}
    with pytest.raises(UserError, match="must be given"):
        model.elbo(every, torch.full((6, 1), torch.nan))
    mixed = DataSpec((2,), cond=DataSpec((1,), Binary()))
    with pytest.raises(RecipeError, match="gmm: the condition must be"):
        catalogue.build("gmm", mixed, conditional=True)


TOKENS = {
    "mdlm": DataSpec((4,), Categorical(3)),
    "d3pm": DataSpec((4,), Categorical(3)),
    "gpt": DataSpec((4,), Categorical(3)),
    "wavenet": DataSpec((4,), Categorical(3)),
    "nade": DataSpec((4,), Binary()),
    "pixelcnn": DataSpec((1, 4, 4), Binary()),
    "pixelcnn-pp": DataSpec((1, 4, 4), Bytes(4)),
    "pixelrnn": DataSpec((1, 4, 4), Binary()),
    "glow": DataSpec((1, 4, 4), Bytes(4)),
    "tarflow": DataSpec((1, 4, 4), Bytes(4)),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_and_images_heed_a_vector(name):
    spec = replace(TOKENS[name], cond=DataSpec((2,)))
    recipe = catalogue.build(name, spec, conditional=True)
    model, n = recipe.model, 3
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    x = torch.full((n, *spec.shape), -1.0 if isinstance(spec.support, Bytes) else 1.0)
    c = torch.tensor([[0.3, 1.0], [0.3, -1.0], [-2.0, 1.0]])
    answer = model.log_prob if hasattr(model, "log_prob") else model.elbo
    with torch.no_grad(), noise(0, n):
        found = answer(x, c)
    with torch.no_grad(), noise(0, n):
        same = answer(x, c[:1].expand(n, -1))
    assert found.isfinite().all()
    assert (found[1:] - same[1:]).abs().min() > 1e-6
    assert torch.allclose(found[0], same[0], atol=1e-4)
    recipe.objective.loss(Batch(x, c))[0].backward()
    assert draw(model, n, cond=c, batch=2).shape == x.shape
