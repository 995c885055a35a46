"""Layers of flows and what they are built into, against closed forms, in float64."""

import math

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.capabilities import Density, Estimate
from pofx.flow import residual
from pofx.flow.actnorm import ActNorm
from pofx.flow.autoregressive import Autoregressive, Inverse
from pofx.flow.bijection import Chain, normalise
from pofx.flow.conditioner import ImageConditioner, VectorConditioner
from pofx.flow.continuous import Continuous, Velocity
from pofx.flow.elementwise import Affine, Spline
from pofx.flow.flow import Flow, flow
from pofx.flow.glow import glow_scales
from pofx.flow.linear import LU, Diagonal, rotation, shuffle
from pofx.flow.residual import Contraction, Residual
from pofx.recipe import RecipeError
from pofx.spec import Bytes, DataSpec, Real, class_spec
from pofx.training.loop import Budget, Options, Training, train

pytestmark = pytest.mark.usefixtures("double")


def shaken(module, scale=0.2):
    """Moves every parameter: layers that start at zero would hide what they do."""
    with torch.no_grad():
        for p in module.parameters():
            p += scale * torch.randn_like(p)
    return module


def jacobian(bijection, x):
    """Of one example: outputs by inputs."""
    one = torch.autograd.functional.jacobian(lambda a: bijection(a[None])[0].flatten(), x)
    return one.reshape(x.numel(), x.numel())


# --- autoregressive layers


@pytest.mark.parametrize("map", [Affine(), Spline(4)], ids=["affine", "spline"])
def test_an_element_depends_on_those_before_it_and_the_first_on_itself_alone(map):
    order = torch.tensor([3, 0, 4, 1, 2])
    layer = shaken(Autoregressive(order, map, (20, 20)), 0.5)
    in_order = jacobian(layer, torch.randn(5))[order][:, order]
    assert not in_order.triu(1).any()
    assert in_order.tril().count_nonzero() == 15
    back = jacobian(Inverse(layer), torch.randn(5))[order][:, order]
    assert back.triu(1).abs().max() < 1e-12


def test_layers_begin_as_the_identity():
    x = torch.randn(6, 5)
    for map in (Affine(), Spline()):
        z, ladj = Autoregressive(torch.arange(5), map)(x)
        assert torch.allclose(z, x, atol=1e-12)
        assert ladj.abs().max() < 1e-12


@pytest.mark.parametrize("map", [Affine(), Spline(4)], ids=["affine", "spline"])
def test_gradients_through_an_inverse_are_those_of_finite_differences(map):
    layer = shaken(Inverse(Autoregressive(torch.tensor([2, 0, 3, 1]), map, (7,))), 0.3)
    weight = layer.layer.net.last.weight
    x = torch.randn(3, 4, requires_grad=True)

    def loss(x):
        z, ladj = layer(x)
        return (z.sin().sum(1) - ladj).sum()

    slopes = torch.autograd.grad(loss(x), [x, weight])
    for of, slope in zip((x, weight), slopes, strict=True):
        step = 1e-6 * torch.randn_like(of)
        with torch.no_grad():
            of += step
            above = loss(x)
            of -= 2 * step
            below = loss(x)
            of += step
        assert above - below == pytest.approx(2 * (slope * step).sum().item(), rel=1e-5)


def trained(name, spec, data, steps, size=256, **arguments):
    torch.manual_seed(1)
    recipe = catalogue.build(name, spec, steps=steps, **arguments)
    training = Training(recipe)
    for _ in train(training, iter(lambda: Batch(data(size)), None), Budget(steps=steps)):
        pass
    return training.sampled.eval()


@pytest.mark.parametrize("name", ["maf", "iaf", "nsf", "nice"])
def test_it_reaches_the_entropy_of_a_normal(name):
    """One autoregressive layer holds every normal distribution; couplings and splines come near."""
    covariance = torch.tensor([[1.0, 0.8, 0.2], [0.8, 1.0, 0.0], [0.2, 0.0, 1.0]])
    truth = torch.distributions.MultivariateNormal(torch.tensor([0.5, -0.3, 0.0]), covariance)
    few = {"maf": 1, "iaf": 1, "nsf": 2, "nice": 4}[name]
    data = lambda n: truth.sample((n,))  # noqa: E731
    model = trained(name, DataSpec((3,)), data, 250, hidden=(16,), lr=2e-2, layers=few)
    x = truth.sample((20_000,))
    with torch.no_grad():
        divergence = (truth.log_prob(x) - model.log_prob(x)).mean().item()
    assert -1e-3 <= divergence < 0.02


def test_one_layer_is_the_exact_density_of_a_normal():
    """The conditional means and deviations of a normal, written into the direct connections."""
    covariance = torch.tensor([[1.0, 0.9, -0.3], [0.9, 1.5, 0.1], [-0.3, 0.1, 0.7]])
    truth = torch.distributions.MultivariateNormal(torch.zeros(3), covariance)
    root = torch.linalg.inv(torch.linalg.cholesky(covariance))  # z = root x
    layer = Autoregressive(torch.arange(3), Affine(3.0), (8,))
    with torch.no_grad():
        layer.net.last.bias[:3] = -2 * torch.atanh(root.diagonal().log() / 3.0)
        layer.net.direct.weight[3:] = root.tril(-1)
    x = truth.sample((50,))
    assert torch.allclose(Flow(layer, DataSpec((3,))).log_prob(x), truth.log_prob(x), atol=1e-10)


@pytest.mark.parametrize("name", ["nice", "maf", "iaf", "nsf", "ffjord", "residual-flow"])
@torch.no_grad()
def test_a_density_integrates_to_one(name):
    torch.manual_seed(3)
    few = {} if name == "ffjord" else {"layers": 2}
    recipe = catalogue.build(name, DataSpec((2,), Real()), hidden=(12,), **few)
    model = shaken(recipe.model, 0.07)
    points = 120 if name == "ffjord" else 600
    axis = (torch.arange(points) + 0.5) * (24 / points) - 12
    p = model.log_prob(torch.cartesian_prod(axis, axis)).exp()
    total = p.sum().item() * (24 / points) ** 2
    assert total == pytest.approx(1, abs=1e-3)


# --- matrices


def test_a_rotation_keeps_volumes_and_a_shuffle_reorders():
    x = torch.randn(4, 6, 3, 2)
    for matrix in (rotation(6), shuffle(6)):
        layer = LU(matrix)
        lower, upper = layer.factors
        assert torch.allclose((lower @ upper)[layer.order], matrix, atol=1e-12)
        assert layer(x)[1].abs().max() < 1e-12
    assert torch.equal(layer(x)[0].sort(1)[0], x.sort(1)[0])


def test_half_precision_rounds_networks_and_not_what_they_move():
    torch.set_default_dtype(torch.float32)
    image, vector = torch.randn(4, 6, 4, 4), torch.randn(4, 6)
    layer = shaken(LU(rotation(6)))
    of_image, of_vector = shaken(ImageConditioner(6, 12, 8, 1)), shaken(VectorConditioner(4, 12))
    with torch.no_grad():
        nets = [(of_image, image), (of_vector, vector.t()[:4])]
        exact = [layer(image)[0], layer(vector)[0], *(net(x) for net, x in nets)]
        with torch.autocast("cpu", torch.bfloat16):
            found = [layer(image)[0], layer(vector)[0], *(net(x) for net, x in nets)]
    assert all(torch.equal(a, b) for a, b in zip(found[:2], exact[:2], strict=True))
    for rounded, single in zip(found[2:], exact[2:], strict=True):
        assert rounded.dtype is torch.float32
        assert 0 < (rounded - single).abs().max() < 0.02 * single.abs().max()


def test_the_determinant_of_a_convolution_counts_every_pixel():
    layer = shaken(LU(rotation(3)))
    lower, upper = layer.factors
    matrix = (lower @ upper)[layer.order]
    expected = 20 * torch.linalg.slogdet(matrix)[1]
    ladj = layer(torch.randn(2, 3, 4, 5))[1]
    assert torch.allclose(ladj, expected.expand(2), atol=1e-10)


# --- activation normalisation


def test_after_the_first_batch_every_channel_has_mean_0_and_variance_1():
    x = 3 * torch.randn(20, 4, 5, 6) + torch.arange(4.0)[:, None, None]
    layers = Chain([ActNorm(4), LU(rotation(4)), ActNorm(4), shaken(LU(rotation(4))), ActNorm(4)])
    assert torch.equal(layers.bijections[0](x)[0], x)
    normalise(layers, x)
    for layer in layers.bijections:
        x = layer(x)[0]
        if isinstance(layer, ActNorm):
            assert layer.ready
            assert x.mean((0, 2, 3)).abs().max() < 1e-10
            assert (x.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-10


def test_a_stretch_of_channels_counts_every_pixel():
    layer = shaken(ActNorm(3))
    for shape, count in (((3,), 1), ((3, 4, 5), 20), ((3, 2, 7), 14)):
        ladj = layer(torch.randn(2, *shape))[1]
        assert torch.allclose(ladj, count * layer.log_scale.sum().expand(2), atol=1e-12)


def test_the_first_step_sets_it_once_from_the_whole_batch():
    """In micro-batches as well, and a later step or a resumed run leaves it to learning."""
    spec = DataSpec((1, 4, 4), Bytes(16))
    x = ((torch.rand(24, 1, 4, 4) ** 2 * 15).round() / 7.5) - 1

    def start(accumulate):
        torch.manual_seed(0)
        recipe = catalogue.build("glow", spec, layers=2, channels=4)
        options = Options(keyed_noise=True, accumulate=accumulate)
        training = Training(recipe, options=options)
        training.train_step(Batch(x))
        return training

    whole, parts = start(1), start(3)
    for key, value in whole.model.state_dict().items():
        assert torch.allclose(value, parts.model.state_dict()[key], atol=1e-8), key
    norms = [m for m in whole.model.modules() if isinstance(m, ActNorm)]
    assert len(norms) == 2
    assert all(m.ready for m in norms)
    assert norms[0].log_scale.abs().max() > 0.01, "data is not normal as it comes"
    before = norms[0].log_scale.clone()
    whole.train_step(Batch(-x))
    assert (norms[0].log_scale - before).abs().max() < 1e-3
    assert not whole.objective._seen


def test_a_constant_channel_stays_finite():
    layer = ActNorm(2)
    layer.normalise(torch.ones(5, 2, 3, 3))
    z, ladj = layer(torch.ones(5, 2, 3, 3))
    assert z.isfinite().all()
    assert ladj.isfinite().all()


# --- glow


def test_glow_is_a_bijection_of_images():
    bijection = shaken(glow_scales((2, 8, 8), 2, channels=4, cond=class_spec(2)), 0.1)
    x, cond = torch.randn(3, 2, 8, 8), torch.tensor([0, 1, 1])
    normalise(bijection, torch.randn(10, 2, 8, 8), torch.arange(10) % 2)
    z, ladj = bijection(x, cond)
    assert z.shape == (3, 128)
    assert torch.allclose(bijection.inverse(z, cond), x, atol=1e-10)
    one = torch.autograd.functional.jacobian(lambda a: bijection(a[None], cond[1:2])[0][0], x[1])
    truth = torch.linalg.slogdet(one.reshape(128, 128))[1]
    assert ladj[1].item() == pytest.approx(truth.item(), abs=1e-8)


def test_a_stretch_is_what_it_costs():
    spec = DataSpec((3,))
    layer = Diagonal(3)
    with torch.no_grad():
        layer.log_scale.copy_(torch.tensor([0.5, -1.0, 0.0]))
    x = torch.randn(4, 3)
    normal = torch.distributions.Normal(0.0, (-layer.log_scale).exp())
    assert torch.allclose(flow(layer, spec).log_prob(x), normal.log_prob(x).sum(1), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "word"),
    [
        ("nsf", (1,), {}, "gmm"),
        ("nsf", (3,), {"bins": 1}, "bins"),
        ("nsf", (3,), {"bound": 0.0}, "bound"),
        ("maf", (3,), {"bound": -1.0}, "bound"),
        ("maf", (3,), {"layers": 0}, "layers"),
        ("nice", (3,), {"conditional": True}, "classes"),
        ("iaf", (1, 4, 4), {}, "maf"),
        ("residual-flow", (3,), {"lipschitz": 1.0}, "lipschitz"),
        ("tarflow", (1, 4, 6), {"patch": 4}, "patches of 4"),
        ("tarflow", (1, 4, 4), {"heads": 5}, "heads"),
        ("tarflow", (8,), {}, "patches"),
        ("glow", (3,), {}, "even"),
        ("glow", (1, 5, 4), {}, "even"),
        ("maf", (3,), {"weight_decay": -1.0}, "--weight-decay must be at least 0"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(name, shape, arguments, word):
    with pytest.raises(RecipeError, match=word):
        catalogue.build(name, DataSpec(shape), **arguments)


# --- continuous flows


def continuous(steps=40, *, exact=True, cond=None):
    return shaken(Continuous(Velocity(3, (8, 8), cond), steps, exact=exact), 0.3)


def test_the_integral_of_the_trace_is_the_determinant():
    bijection, cond = continuous(cond=class_spec(2)), torch.tensor([0, 1, 1])
    x = torch.randn(3, 3)
    z, ladj = bijection(x, cond)
    assert torch.allclose(bijection.inverse(z, cond), x, atol=1e-6)
    for i in range(3):
        one = torch.autograd.functional.jacobian(
            lambda a, i=i: bijection(a[None], cond[i : i + 1])[0][0], x[i]
        )
        assert ladj[i].item() == pytest.approx(torch.linalg.slogdet(one)[1].item(), abs=1e-6)


def test_directions_go_forwards_as_autograd_says():
    velocity = shaken(Velocity(3, (8,)), 0.5)
    x, along = torch.randn(1, 3), torch.randn(2, 1, 3)
    known = velocity.known(x, None)
    v, after = velocity(x, 0.3, known, along)
    one = torch.autograd.functional.jacobian(
        lambda a: velocity(a[None], 0.3, known, along[:0])[0][0], x[0]
    )
    assert torch.allclose(after[:, 0], along[:, 0] @ one.t(), atol=1e-12)
    assert v.shape == (1, 3)


@torch.no_grad()
def test_an_estimate_has_the_exact_mean():
    bijection = continuous(steps=4)
    x = torch.randn(1, 3)
    exact = bijection(x)[1].item()
    bijection.exact = False
    z, draws = bijection(x.expand(4000, 3))
    error = draws.std().item() / 4000**0.5
    assert error > 1e-4
    assert abs(draws.mean().item() - exact) < 5 * error
    assert torch.allclose(z, z[:1].expand_as(z), atol=1e-12)


def test_what_a_continuous_flow_promises_depends_on_its_trace():
    few, many = (catalogue.build("ffjord", DataSpec((d,))).model for d in (8, 9))
    assert isinstance(few, Density)
    assert not isinstance(few, Estimate)
    assert isinstance(many, Estimate)
    assert not isinstance(many, Density)


# --- residual flows


def test_a_contraction_contracts_whatever_its_weights():
    net = shaken(Contraction(4, (16, 16), 0.9), 3.0)
    a, b = torch.randn(2, 500, 4)
    moved = (net(a)[0] - net(b)[0]).norm(dim=1) / (a - b).norm(dim=1)
    assert moved.max() <= 0.9 * (1 + 1e-12)
    _, push = net(a)
    along = torch.randn(1, 500, 4)
    assert (push(along).norm(dim=2) / along.norm(dim=2)).max() <= 0.9 * (1 + 1e-12)


def test_a_long_series_cut_at_random_is_the_logarithm(monkeypatch):
    """Of J = c I in one dimension log(1 + c), over all places of the cut by their shares."""
    n = 1 << 15
    monkeypatch.setattr(torch, "rand", lambda *_, **__: (torch.arange(n) + 0.5) / n)
    for c in (0.7, -0.7):
        each = residual._estimate(lambda along, c=c: c * along, torch.zeros(n, 1))
        assert each.mean().item() == pytest.approx(math.log1p(c), abs=2e-4)
        assert each.std() > 1e-2


@torch.no_grad()
def test_a_series_cut_at_random_has_the_exact_mean():
    bijection = Residual(shaken(Contraction(3, (8,), 0.9), 1.0))
    x = torch.randn(1, 3)
    exact = bijection(x)[1].item()
    bijection.exact = False
    draws = bijection(x.expand(40_000, 3))[1]
    error = draws.std().item() / 40_000**0.5
    assert error > 1e-5
    assert abs(draws.mean().item() - exact) < 5 * error
