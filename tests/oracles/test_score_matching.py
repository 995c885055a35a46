"""Score matching on normal data, where every optimum is a closed form."""

import itertools

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.ebm.score_objectives import Denoising, Implicit, Sliced
from pofx.errors import UserError
from pofx.functional.gradients import score_of
from pofx.functional.score_matching import denoising, explicit, implicit, sliced, sliced_reduced
from pofx.recipe import RecipeError
from pofx.spec import Binary, DataSpec
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")

C = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.2, -0.3], [0.0, -0.3, 0.8]], dtype=torch.float64)
P = torch.tensor([[1.5, -0.2, 0.1], [-0.2, 1.0, 0.3], [0.1, 0.3, 2.0]], dtype=torch.float64)


def whitened(n, d):
    """Draws whose mean and covariance are exactly 0 and I."""
    z = torch.randn(n, d)
    z = z - z.mean(0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / n)).T


def linear(precision):
    return lambda x: -x @ precision


def data(n=500):
    return whitened(n, 3) @ torch.linalg.cholesky(C).T


def network():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))


def signs(d):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)))


def test_implicit_is_the_closed_form_of_a_linear_score():
    found = implicit(linear(P), data()).mean()
    assert torch.allclose(found, -P.trace() + 0.5 * (P @ C @ P).trace(), atol=1e-10)
    least = implicit(linear(C.inverse()), data()).mean()
    assert torch.allclose(least, -0.5 * C.inverse().trace(), atol=1e-10)
    assert least < found


def test_implicit_is_explicit_but_for_a_constant():
    x = data()
    truth = -x @ C.inverse()
    constant = 0.5 * C.inverse().trace()
    for precision in (P, C.inverse(), torch.eye(3)):
        far = explicit(linear(precision), truth, x).mean()
        assert torch.allclose(implicit(linear(precision), x).mean() + constant, far, atol=1e-10)


def test_the_trace_is_that_of_the_jacobian():
    net, x = network(), torch.randn(5, 3)
    expected = []
    for row in x:
        s = net(row)
        jacobian = torch.autograd.functional.jacobian(net, row)
        expected.append(0.5 * s.square().sum() + jacobian.trace())
    assert torch.allclose(implicit(net, x), torch.stack(expected), atol=1e-12)


@pytest.mark.parametrize("form", [sliced, sliced_reduced])
def test_the_mean_over_all_directions_is_implicit(form):
    """Over the eight directions of 1 and -1 the expectation is a sum."""
    net, x = network(), torch.randn(5, 3)
    each = torch.stack([form(net, x, v.expand(5, 3)) for v in signs(3)])
    assert torch.allclose(each.mean(0), implicit(net, x), atol=1e-12)


@pytest.mark.parametrize("draw", [torch.randn_like, lambda x: torch.rand_like(x).sub(0.5).sign()])
def test_the_reduced_form_spreads_less(draw):
    x = data(20_000)
    spread = {f: f(linear(P), x, draw(x)).std() for f in (sliced, sliced_reduced)}
    assert spread[sliced_reduced] < 0.9 * spread[sliced]


def joint(n=400):
    """Data and noise, whose moments are exactly those of independent normals."""
    z = whitened(n, 6)
    return z[:, :3] @ torch.linalg.cholesky(C).T, z[:, 3:]


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_denoising_is_least_at_the_score_of_the_noisy_density(sigma):
    x, eps = joint()
    noisy = C + sigma**2 * torch.eye(3)
    precision = noisy.inverse().requires_grad_()
    loss = denoising(linear(precision), x, sigma, eps).mean()
    least = 0.5 * (3 / sigma**2 - noisy.inverse().trace())
    assert torch.allclose(loss, least, atol=1e-10)
    assert least > 0, "it does not fall to 0"
    (gradient,) = torch.autograd.grad(loss, precision)
    assert float(gradient.abs().max()) < 1e-10


def test_levels_may_differ_from_example_to_example():
    x, eps = joint()
    sigmas = torch.linspace(0.1, 2, len(x))
    whole = denoising(linear(P), x, sigmas, eps)
    for i in (0, 7, 399):
        one = denoising(linear(P), x[i : i + 1], float(sigmas[i]), eps[i : i + 1])
        assert torch.allclose(whole[i], one[0], atol=1e-12)


def test_an_image_is_matched_as_the_vector_of_its_elements():
    """Each criterion is a number for each example, whatever the shape of one."""
    shape, (x, v) = (2, 1, 3), torch.randn(2, 5, 6)

    def score(x):
        return -(x.square() * x.flatten(1).sum(1)[(...,) + (None,) * (x.ndim - 1)]).sin()

    for criterion in (
        lambda f, x, v: explicit(f, v, x),
        lambda f, x, v: implicit(f, x),
        sliced,
        sliced_reduced,
        lambda f, x, v: denoising(f, x, 0.4, v),
        lambda f, x, v: denoising(f, x, torch.linspace(0.1, 2, 5), v),
    ):
        flat = criterion(score, x, v)
        assert flat.shape == (5,)
        image = criterion(score, x.unflatten(1, shape), v.unflatten(1, shape))
        assert torch.allclose(image, flat, atol=1e-12)


def test_a_constant_score_has_no_trace():
    x, v, constant = data(5), signs(3)[:5], nn.Parameter(torch.ones(3))
    half = 0.5 * constant.square().sum().expand(5)
    for found in (
        implicit(lambda x: constant.expand_as(x), x),
        sliced_reduced(lambda x: constant.expand_as(x), x, v),
    ):
        assert torch.allclose(found, half.to(found), atol=1e-12)
    along = sliced(lambda x: constant.expand_as(x), x, v)
    assert torch.allclose(along, ((v @ constant.to(v)) ** 2 / 2).to(along), atol=1e-12)


@pytest.mark.parametrize("criterion", [implicit, lambda s, x: sliced(s, x, torch.ones_like(x))])
def test_a_score_without_a_graph_is_refused(criterion):
    energy = score_of(lambda x: 0.5 * (x @ P * x).sum(1))  # differentiable=True is forgotten
    with pytest.raises(UserError, match="differentiable=True"):
        criterion(energy, data(5))


def test_a_level_is_positive_and_may_be_a_tensor_of_its_own():
    x, eps = joint(10)
    expected = denoising(linear(P), x, 0.5, eps)
    assert torch.equal(denoising(linear(P), x, torch.tensor(0.5), eps), expected)
    for sigma in (0.0, -1.0):
        with pytest.raises(UserError, match="positive level"):
            denoising(linear(P), x, sigma, eps)


def test_an_energy_is_matched_by_its_slope():
    energy = score_of(lambda x: 0.5 * (x @ P * x).sum(1), differentiable=True)
    x, eps = joint(50)
    with torch.no_grad():
        for criterion in (
            implicit,
            lambda s, x: sliced(s, x, eps),
            lambda s, x: sliced_reduced(s, x, eps),
            lambda s, x: denoising(s, x, 0.5, eps),
        ):
            assert torch.allclose(criterion(energy, x), criterion(linear(P), x), atol=1e-12)


class Linear(nn.Module):
    """A linear score, by its own formula or as the slope of an energy."""

    spec = DataSpec((3,))

    def __init__(self):
        super().__init__()
        self.precision = nn.Parameter(torch.eye(3))


class AsScore(Linear):
    def relaxed_score(self, y):
        return -y @ self.precision


class AsEnergy(Linear):
    def potential(self, y):
        return 0.5 * (y @ self.precision * y).sum(1)


@pytest.mark.parametrize("kind", [AsScore, AsEnergy])
@pytest.mark.parametrize("method", [Implicit, Sliced])
def test_objectives_end_at_the_precision_of_the_data(kind, method):
    """Each step's directions are the same, so that the optimum does not move."""
    x, model = data(2000), kind()
    objective = method(model, sigma=0.0)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        torch.manual_seed(1)
        loss, _ = objective.loss(Batch(x))
        loss.backward()
        return loss

    optimizer.step(closure)
    found = (model.precision + model.precision.T).detach() / 2
    assert float((found - C.inverse()).abs().max()) < (1e-5 if method is Implicit else 0.15)


def test_the_recipe_learns_the_score_of_a_noisy_normal():
    """Whatever the method: x of N(m, S) and noise of variance s2 on it have a linear score."""
    torch.set_default_dtype(torch.float32)
    covariance, mean, sigma = torch.tensor([[1.0, 0.5], [0.5, 0.6]]), torch.tensor([0.5, -0.3]), 0.5
    precision = (covariance + sigma**2 * torch.eye(2)).inverse()
    root = torch.linalg.cholesky(covariance)

    def batches():
        while True:
            yield Batch(mean + torch.randn(256, 2) @ root.T)

    recipe = catalogue.build(
        "score-matching", DataSpec((2,)), objective="sliced", sigma=sigma, steps=600,
        hidden=(32, 32),
    )  # fmt: skip
    training = Training(recipe)
    for _ in train(training, batches(), Budget(steps=600)):
        pass
    y = mean + torch.randn(2000, 2) @ root.T
    with torch.no_grad():
        found = training.sampled.score(y, torch.zeros(2000))
    truth = -(y - mean) @ precision
    assert float((found - truth).square().mean() / truth.square().mean()) < 0.03
    x = training.sampled.sample(4000, steps=300, step=0.05)
    assert float((x.mean(0) - mean).abs().max()) < 0.15
    jumped = covariance @ precision @ covariance  # of the posterior's mean, at noisy data
    assert float((x.T.cov() - jumped).abs().max()) < 0.15


def test_mistakes_are_told():
    with pytest.raises(UserError, match="positive level"):
        Denoising(AsScore(), 0.0)
    with pytest.raises(RecipeError, match="--sigma must be above 0"):
        catalogue.build("score-matching", DataSpec((3,), Binary()), objective="sliced", sigma=0.0)
    with pytest.raises(RecipeError, match="--step-size must be above 0"):
        catalogue.build("score-matching", DataSpec((3,)), step_size=0.0)
