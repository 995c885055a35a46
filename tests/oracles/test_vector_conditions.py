"""Flows given a vector, against a linear normal model whose conditional density is known."""

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.errors import RecipeError, UserError
from pofx.functional.draw import draw
from pofx.functional.labels import withheld
from pofx.nn.condition import condition, inputs
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Real, class_spec
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
    if name in FLOWS:
        with pytest.raises(UserError, match="condition must be given"):
            model.sample(2)


def test_what_is_not_given_is_nothing_to_the_network():
    spec = DataSpec((3,), Mixed((Real(), Binary(), Categorical(3))))
    spelled = inputs(spec)(torch.tensor([[0.5, 0.0, 1.0], [torch.nan] * 3]))
    assert spelled.tolist() == [[0.5, 1, -1, 1, 0, 1, 0, 1], [0] * 8]
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
