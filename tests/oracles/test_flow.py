"""Flows against closed forms, autograd's determinants and integrals, in float64."""

import math

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.flow.autoregressive import Autoregressive, Inverse
from pofx.flow.bijection import Bijection, Chain, Flatten
from pofx.flow.conditioner import ImageConditioner, VectorConditioner, vector_couplings
from pofx.flow.coupling import Couplings, ElementwiseCoupling
from pofx.flow.elementwise import Affine, Shift, Spline
from pofx.flow.flow import DequantizedFlow, Flow, Unbound, flow
from pofx.flow.linear import LU, Diagonal, rotation, shuffle
from pofx.flow.patches import PatchAutoregressive, Patches
from pofx.flow.permutation import Permutation
from pofx.flow.realnvp import image_scales
from pofx.flow.residual import Contraction, Residual
from pofx.flow.squeeze import MultiScale, Squeeze, colours_to_rows
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec
from pofx.training.loop import Budget, Training, train

pytestmark = pytest.mark.usefixtures("double")


def shaken(module, scale=0.2):
    """Moves every parameter: layers that start at zero would hide what they do."""
    with torch.no_grad():
        for p in module.parameters():
            p += scale * torch.randn_like(p)
    return module


def halves(sizes, hidden=16, cond=None):
    """One affine coupling; `sizes` are those of the two halves."""
    net = VectorConditioner(sizes[0], 2 * sizes[1], (hidden,), cond)
    return Couplings([ElementwiseCoupling(net, Affine())], sizes[0])


def one_scale():
    """Half of a 2 x 4 x 6 image's channels are done, the other half becomes a vector."""
    net = ImageConditioner(1, 2, channels=4, blocks=1)
    rest = Chain([Flatten((1, 4, 6)), vector_couplings(24, 2, (8,))])
    return MultiScale(Couplings([ElementwiseCoupling(net, Affine())], 1), rest, (2, 4, 6))


def autoregressive(map, hidden=(12,), **options):
    """A layer of five elements, in an order of their own."""
    return Autoregressive(torch.tensor([3, 0, 4, 1, 2]), map, hidden, **options)


MIXED = DataSpec((4,), Mixed((Real(), Categorical(3), Binary(), Interval())))
THREE = class_spec(3)
# Each with the shape of an example and the number of its classes.
BIJECTIONS = {
    "one coupling": (lambda: halves((2, 1)), (3,), 0),
    "one coupling of an image": (
        lambda: Couplings([ElementwiseCoupling(ImageConditioner(1, 4, channels=4), Affine())], 1),
        (3, 4, 2),
        0,
    ),
    "couplings of 2": (lambda: vector_couplings(2, 5, (16,)), (2,), 0),
    "couplings of 3": (lambda: vector_couplings(3, 4, (16, 8)), (3,), 0),
    "couplings of 6": (lambda: vector_couplings(6, 3, (16,)), (6,), 0),
    "couplings that know the class": (
        lambda: vector_couplings(3, 4, (16,), cond=class_spec(3)),
        (3,),
        3,
    ),
    "additive couplings": (lambda: vector_couplings(5, 3, (8,), Shift()), (5,), 0),
    "spline couplings": (lambda: vector_couplings(5, 2, (8,), Spline(4)), (5,), 0),
    "spline coupling of an image": (
        lambda: Couplings([ElementwiseCoupling(ImageConditioner(1, 16, channels=4), Spline(3))], 1),
        (3, 2, 2),
        0,
    ),
    "autoregressive": (lambda: autoregressive(Affine(), hidden=(16, 8)), (5,), 0),
    "without direct connections": (lambda: autoregressive(Affine(), direct=False), (5,), 0),
    "autoregressive splines": (lambda: autoregressive(Spline(4), cond=class_spec(3)), (5,), 3),
    "inverse autoregressive": (
        lambda: Inverse(autoregressive(Affine(), cond=class_spec(3))),
        (5,),
        3,
    ),
    "inverse splines": (lambda: Inverse(autoregressive(Spline(4))), (5,), 0),
    "matrix": (lambda: LU(rotation(5)), (5,), 0),
    "1x1 convolution": (lambda: LU(rotation(4)), (4, 3, 2), 0),
    "shuffle": (lambda: LU(shuffle(5)), (5,), 0),
    "diagonal": (lambda: Diagonal(4), (4,), 0),
    "residual": (lambda: Residual(Contraction(4, (8, 8))), (4,), 0),
    "residual, classes": (lambda: Residual(Contraction(3, (8,), cond=class_spec(3))), (3,), 3),
    "patches": (lambda: Patches((2, 4, 6), 2), (2, 4, 6), 0),
    "autoregressive patches": (
        lambda: PatchAutoregressive(3, 4, Affine(), width=8, heads=2, cond=class_spec(3)),
        (3, 4),
        3,
    ),
    "patches backwards": (
        lambda: PatchAutoregressive(3, 4, Spline(3), width=8, heads=2, backwards=True),
        (3, 4),
        0,
    ),
    "permutation": (lambda: Permutation([3, 0, 2, 1]), (4,), 0),
    "reversal of channels": (lambda: Permutation([2, 1, 0]), (3, 2, 4), 0),
    "rows": (lambda: colours_to_rows(8), (8, 2, 3), 0),
    "squeeze": (Squeeze, (2, 4, 6), 0),
    "flatten": (lambda: Flatten((2, 3, 4)), (2, 3, 4), 0),
    "unbounded bytes": (lambda: Unbound(DataSpec((1, 3, 2), Bytes(16))), (1, 3, 2), 0),
    "unbounded interval": (lambda: Unbound(DataSpec((3,), Interval())), (3,), 0),
    "unbounded table": (lambda: Unbound(MIXED), (4,), 0),
    "chain": (
        lambda: Chain([halves((2, 1)), Permutation([2, 1, 0]), vector_couplings(3, 2, (8,))]),
        (3,),
        0,
    ),
    "multi-scale": (one_scale, (2, 4, 6), 0),
    "grey image": (lambda: image_scales((1, 8, 8), 3, channels=4), (1, 8, 8), 0),
    "four channels, not square": (
        lambda: image_scales((4, 8, 4), 2, channels=4, blocks=1, cond=class_spec(2)),
        (4, 8, 4),
        2,
    ),
}


def case(name, n=4):
    """A bijection of its class's whole domain, away from its start, with inputs."""
    make, shape, classes = BIJECTIONS[name]
    x = torch.rand(n, *shape) * 1.8 - 0.9  # within every support
    cond = torch.randint(classes, (n,)) if classes else None
    return shaken(make()), x, cond


def slogdet(bijection, x, cond):
    """Log |det| of each example's Jacobian, by autograd."""

    def one(x, cond):
        return bijection(x[None], None if cond is None else cond[None])[0].flatten()

    each = [
        torch.autograd.functional.jacobian(lambda a, c=c: one(a, c), a)
        for a, c in zip(x, [None] * len(x) if cond is None else cond, strict=True)
    ]
    size = x[0].numel()
    return torch.linalg.slogdet(torch.stack(each).reshape(-1, size, size))[1]


# --- bijections


@pytest.mark.parametrize("name", BIJECTIONS)
def test_the_inverse_undoes_the_map_and_the_map_the_inverse(name):
    bijection, x, cond = case(name)
    z, ladj = bijection(x, cond)
    assert ladj.shape == (len(x),)
    assert z.numel() == x.numel()
    assert torch.allclose(bijection.inverse(z, cond), x, atol=1e-8, rtol=0)
    other = torch.randn_like(z)
    assert torch.allclose(bijection(bijection.inverse(other, cond), cond)[0], other, atol=1e-8)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_the_determinant_is_that_of_autograds_jacobian(name):
    bijection, x, cond = case(name, n=3)
    assert torch.allclose(bijection(x, cond)[1], slogdet(bijection, x, cond), atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_an_example_goes_its_way_alone(name):
    bijection, x, cond = case(name)
    z, ladj = bijection(x, cond)
    alone, its_ladj = bijection(x[2:3], None if cond is None else cond[2:3])
    assert torch.allclose(alone, z[2:3], atol=1e-12)
    assert torch.allclose(its_ladj, ladj[2:3], atol=1e-12)


def test_a_coupling_leaves_the_half_that_it_looks_at():
    bijection, x, _ = case("one coupling")
    z = bijection(x)[0]
    assert torch.equal(z[:, :2], x[:, :2])
    assert not torch.allclose(z[:, 2], x[:, 2], atol=1e-3)


def test_couplings_start_as_the_identity():
    x = torch.randn(5, 7)
    z, ladj = vector_couplings(7, 4, (16,))(x)
    assert torch.equal(z, x)
    assert not ladj.any()
    image = torch.randn(3, 1, 8, 8)
    z, ladj = image_scales((1, 8, 8), channels=4)(image)
    assert torch.equal(z.sort(1)[0], image.flatten(1).sort(1)[0])
    assert not ladj.any()


def test_log_scales_are_bounded_whatever_the_network_says():
    for bound in (0.5, 2.0):
        raw = shaken(VectorConditioner(3, 4, (8,)), 1e4)(100 * torch.randn(3, 1000))
        log_scale = Affine(bound).octaves(raw) * math.log(2)
        assert log_scale.abs().max() <= bound * (1 + 1e-12)
        assert log_scale.abs().max() > 0.99 * bound
    bijection = shaken(vector_couplings(5, 6, (8,), map=Affine(0.5)), 1e4)
    assert bijection(torch.randn(1000, 5))[1].abs().max() <= 0.5 * 3 * (3 + 2) * (1 + 1e-12)


def test_a_squeeze_puts_one_colour_of_the_checkerboard_first():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(4), indexing="ij")
    image = torch.stack([(rows + columns) % 2, rows % 2]).double()[None]
    z = Squeeze()(image)[0]
    assert z.shape == (1, 8, 3, 2)
    colours = z[0, 0::2]  # channels alternate between the two pictures
    assert not colours[:2].any()
    assert colours[2:].all()
    by_rows = colours_to_rows(8)(z)[0][0, 1::2]
    assert not by_rows[:2].any()
    assert by_rows[2:].all()


def test_an_odd_or_small_scale_is_the_last():
    for shape, scales in (((1, 8, 8), 2), ((1, 4, 4), 1), ((2, 12, 8), 2), ((1, 6, 14), 1)):
        bijection, found = image_scales(shape, channels=4, scales=9), 1
        while isinstance(bijection, MultiScale):
            bijection, found = bijection.rest, found + 1
        assert found == scales, shape


def test_the_ends_of_an_interval_have_a_density():
    ends = torch.tensor([[-1.0, 1.0], [1.0, 1.0]])
    for support in (Interval(), Bytes(256)):
        z, ladj = Unbound(DataSpec((2,), support))(ends)
        assert z.isfinite().all()
        assert ladj.isfinite().all()


# --- after training


TRAINED = {
    "2": DataSpec((2,), Real()),
    "3, classes": DataSpec((3,), Real(), cond=class_spec(2)),
    "6, interval": DataSpec((6,), Interval()),
    "grey": DataSpec((1, 4, 4), Bytes(16)),
    "four channels": DataSpec((4, 4, 6), Interval(), cond=class_spec(2)),
    "odd sides": DataSpec((1, 3, 3), Binary()),
}


def data_of(spec, n):
    """Examples whose elements depend on each other and on the class."""
    cond = torch.randint(max(spec.classes, 1), (n,))
    x = torch.randn(n, spec.size).cumsum(1) / spec.size**0.5 + 0.5 * cond[:, None]
    x = x.tanh().reshape(n, *spec.shape)
    if isinstance(spec.support, Bytes):
        x = ((x + 1) * 7.5).round() / 7.5 - 1
    if isinstance(spec.support, Binary):
        x = (x > 0).double()
    return x, cond if spec.classes else None


def trained(spec, steps, n=64, **arguments):
    torch.manual_seed(1)
    conditional = {"conditional": True} if spec.classes else {}
    recipe = catalogue.build("realnvp", spec, steps=steps, **conditional, **arguments)
    training = Training(recipe)
    batches = iter(lambda: Batch(*data_of(spec, n)), None)
    for _ in train(training, batches, Budget(steps=steps)):
        pass
    return training.sampled.eval()


@pytest.mark.parametrize("kind", TRAINED)
def test_after_training_it_is_still_a_bijection(kind):
    spec = TRAINED[kind]
    size = {"hidden": (16,), "channels": 8, "lr": 1e-2}
    model = trained(spec, 60, **size)
    x, cond = data_of(spec, 3)
    x = 0.98 * x  # inside the cells of discrete values too
    z, ladj = model.bijection(x, cond)
    assert z.shape == (3, spec.size)
    assert torch.allclose(model.bijection.inverse(z, cond), x, atol=1e-8, rtol=0)
    truth = slogdet(model.bijection, x, cond)
    assert torch.allclose(ladj, truth, atol=1e-8, rtol=0)
    start = flow(Chain([Flatten(spec.shape)]), spec).bijection
    assert not torch.allclose(truth, slogdet(start, x, None), atol=0.1), "it has learned nothing"


@pytest.mark.parametrize("kind", ["2", "grey"])
def test_the_default_depth_inverts_in_single_precision(kind):
    torch.set_default_dtype(torch.float32)
    spec = TRAINED[kind]
    model = trained(spec, 100)
    x, _ = data_of(spec, 1000)
    x = x.float() * 0.98
    z = model.bijection(x)[0]
    assert (model.bijection.inverse(z) - x).abs().max() <= 1e-4
    model.double()
    assert (model.bijection(x.double())[1] - model.float().bijection(x)[1]).abs().max() < 1e-3


# --- densities


def plane(reach, points):
    """Midpoints of a square grid, and the area of its cells."""
    axis = (torch.arange(points) + 0.5) * (2 * reach / points) - reach
    return torch.cartesian_prod(axis, axis), (2 * reach / points) ** 2


def planar(spec, cond=None, scale=0.15, seed=5):
    """A flow of two elements, away from its start."""
    torch.manual_seed(seed)
    bijection = shaken(vector_couplings(2, 4, (12,), cond=cond), scale)
    return flow(bijection, spec).eval()


@pytest.mark.parametrize(
    ("spec", "reach"), [(DataSpec((2,), Real()), 12.0), (DataSpec((2,), Interval()), 1.0)]
)
@torch.no_grad()
def test_a_density_integrates_to_one(spec, reach):
    model = planar(spec)
    x, area = plane(reach, 800)
    assert isinstance(model, Flow)
    assert model.log_prob(x).exp().sum().item() * area == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_samples_have_the_density():
    """Cells of the plane are hit as often as the density says, and codes are normal."""
    model = planar(DataSpec((2,), Real()))
    x, area = plane(12.0, 960)
    log_p = model.log_prob(x)
    draws = model.sample(40_000)
    edges = torch.linspace(-2, 2, 9)

    def histogram(points, weights):
        cell = torch.bucketize(points, edges) @ torch.tensor([10, 1])
        return torch.zeros(100).index_add(0, cell, weights)

    expected = histogram(x, log_p.exp() * area) * len(draws)
    found = histogram(draws, torch.ones(len(draws)))
    kept = expected > 10
    chi2 = ((found - expected)[kept].square() / expected[kept]).sum().item()
    degrees = kept.sum().item() - 1
    assert degrees > 40
    assert abs(chi2 - degrees) < 5 * (2 * degrees) ** 0.5
    entropy = -(log_p.exp() * log_p).sum().item() * area
    surprise = -model.log_prob(draws)
    assert abs(surprise.mean().item() - entropy) < 5 * surprise.std().item() / len(draws) ** 0.5


@torch.no_grad()
def test_codes_and_examples_are_one_to_one():
    model = planar(DataSpec((2,), Real(), cond=class_spec(3)), cond=class_spec(3))
    z, cond = torch.randn(20, 2), torch.arange(20) % 3
    x = model.decode(z, cond)
    assert torch.allclose(model.encode(x, cond), z, atol=1e-8)
    normal = -0.5 * z.square().sum(1) - math.log(2 * math.pi)
    truth = normal + slogdet(model.bijection, x, cond)
    assert torch.allclose(model.log_prob(x, cond), truth, atol=1e-8)


@torch.no_grad()
def test_an_unconditional_question_to_a_conditional_flow_is_about_the_mixture():
    model = planar(DataSpec((2,), Real(), cond=class_spec(3)), cond=class_spec(3), scale=0.1)
    x, area = plane(15.0, 500)
    each = torch.stack([model.log_prob(x, torch.full((len(x),), y)) for y in range(3)]).exp()
    assert (each[0] - each[1]).abs().max() > 0.01
    p = model.log_prob(x).exp()
    assert torch.allclose(p, each.mean(0), atol=1e-12)
    assert torch.allclose(each.sum(1) * area, torch.ones(3), atol=1e-3)
    mean = (x * p[:, None]).sum(0) * area
    draws = model.sample(40_000)
    error = draws.std(0) / len(draws) ** 0.5
    assert bool(((draws.mean(0) - mean).abs() < 5 * error).all())


# --- discrete data


class NormalOfUniform(Bijection):
    """From the logit of Unbound back to [-1, 1], and on to the normal quantile."""

    def __init__(self, spec):
        super().__init__()
        self.unbound = Unbound(spec)

    def forward(self, x, cond=None):
        u = self.unbound.inverse(x)
        z = torch.special.ndtri(0.5 + 0.5 * u)
        log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
        ladj = (math.log(0.5) - log_normal).sum(1) - self.unbound(u)[1]
        return z, ladj

    def inverse(self, z, cond=None):
        return self.unbound(2 * torch.special.ndtr(z) - 1)[0]


def test_a_uniform_density_costs_eight_bits_a_byte():
    spec = DataSpec((5,), Bytes(256))
    model = DequantizedFlow(NormalOfUniform(spec), spec)
    x = model.sample(50)
    bits = -model.elbo(x) / (5 * math.log(2))
    assert torch.allclose(bits, torch.full((50,), 8.0), atol=1e-9)


def axis_cells(levels, points):
    """Midpoints within each cell of one element, `(levels, points)`, and their spacing."""
    step = 2 / levels / points
    return ((torch.arange(levels * points) + 0.5) * step - 1).reshape(levels, points), step


@torch.no_grad()
def test_the_bound_is_below_the_mass_by_what_jensen_takes():
    """Three levels in two elements: the mass of each cell is an integral over it."""
    spec = DataSpec((2,), Bytes(3))
    model = planar(spec, scale=0.2)
    axis, step = axis_cells(3, 150)
    values = torch.tensor([-1.0, 0.0, 1.0])
    examples, masses, means = [], [], []
    for i in range(3):
        for j in range(3):
            log_q = model.log_density(torch.cartesian_prod(axis[i], axis[j]), None)
            masses.append((log_q.exp().sum() * step**2).item())
            means.append(log_q.mean().item() + 2 * math.log(2 / 3))
            examples.append(values[[i, j]])
    assert 0.5 < sum(masses) < 1, "some of the density lies outside of the cells"
    draws = 20_000
    for x, mass, mean in zip(examples, masses, means, strict=True):
        elbo = model.elbo(x.expand(draws, 2))
        error = 5 * elbo.std().item() / draws**0.5
        assert mean < math.log(mass)
        assert abs(elbo.mean().item() - mean) < error + 1e-4
        assert elbo.mean().item() - error < math.log(mass)


@torch.no_grad()
def test_samples_of_bytes_have_at_least_the_mass_of_their_cells():
    """What falls outside of the cells is rounded to the last ones: the mass of those is larger."""
    spec = DataSpec((2,), Bytes(3))
    model = planar(spec, scale=0.2)
    end = 1 / 0.95
    y, area = plane(end, 900)
    weights = model.log_density(y, None).exp() * area
    assert weights.sum().item() == pytest.approx(1, abs=1e-3)
    level = ((y + 1) * 1.5).floor().clamp(0, 2).long()
    masses = torch.zeros(9).index_add(0, level @ torch.tensor([3, 1]), weights)
    x = model.sample(40_000)
    assert set(x.unique().tolist()) == {-1.0, 0.0, 1.0}
    shares = torch.bincount((x + 1).long() @ torch.tensor([3, 1]), minlength=9) / len(x)
    error = (masses * (1 - masses) / len(x)).sqrt()
    assert bool(((shares - masses).abs() < 5 * error + 1e-4).all())


@torch.no_grad()
def test_a_table_of_a_number_and_a_bit_is_bounded_too():
    spec = DataSpec((2,), Mixed((Real(), Binary())))
    model = planar(spec, scale=0.2)
    assert isinstance(model, DequantizedFlow)
    axis, step = axis_cells(2, 2000)
    for number in (-0.7, 0.0, 1.3):
        for bit in (0, 1):
            y = torch.stack([torch.full((2000,), number), axis[bit]], 1)
            log_q = model.log_density(y, None)
            truth = (log_q.exp().sum() * step).log().item()
            elbo = model.elbo(torch.tensor([[number, float(bit)]]).expand(20_000, 2))
            error = 5 * elbo.std().item() / 20_000**0.5
            assert elbo.mean().item() - error < truth
            assert abs(elbo.mean().item() - log_q.mean().item()) < error + 1e-4


# --- training


def test_it_reaches_the_entropy_of_a_correlated_normal():
    """An affine flow holds every normal distribution, so nothing but training is in the way."""
    correlation = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    truth = torch.distributions.MultivariateNormal(torch.tensor([0.5, -0.3]), correlation)
    spec = DataSpec((2,), Real())
    recipe = catalogue.build("realnvp", spec, layers=4, hidden=(16,), steps=400, lr=1e-2)
    training = Training(recipe)
    data = iter(lambda: Batch(truth.sample((256,))), None)
    for _ in train(training, data, Budget(steps=400)):
        pass
    with torch.no_grad():
        x = truth.sample((20_000,))
        divergence = (truth.log_prob(x) - training.model.log_prob(x)).mean().item()
    assert 0 <= divergence < 0.01


class Stretch(nn.Module):
    """The same log-scale and shift for every example."""

    def __init__(self):
        super().__init__()
        self.r = nn.Parameter(torch.tensor([0.3, -0.2]))

    def forward(self, a, cond=None):
        return self.r[:, None].expand(2, a.shape[1])


def test_the_gradient_of_one_coupling_by_hand():
    """With s = -tanh(r / 2) and z = b exp(s) + t, the loss's derivative is z in t and (z b exp(s)
    - 1) ds/dr in r.
    """
    net = Stretch()
    model = flow(Couplings([ElementwiseCoupling(net, Affine())], 1), DataSpec((2,), Real()))
    x = torch.randn(50, 2)
    (-model.log_prob(x).mean()).backward()
    r, t = net.r.tolist()
    s = -math.tanh(r / 2)
    moved = x[:, 1] * math.exp(s)
    z = moved + t
    slope = (math.tanh(r / 2) ** 2 - 1) / 2
    by_hand = [((z * moved - 1).mean() * slope).item(), z.mean().item()]
    assert net.r.grad.tolist() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("kind", ["3, classes", "grey", "four channels"])
def test_gradients_are_those_of_finite_differences(kind):
    spec = TRAINED[kind]
    arguments = {"hidden": (5,), "channels": 2, "blocks": 1, "layers": 2, "scales": 2}
    conditional = {"conditional": True} if spec.classes else {}
    recipe = catalogue.build("realnvp", spec, **arguments, **conditional)
    model = shaken(recipe.model)
    x, cond = data_of(spec, 3)
    y = 0.98 * x
    names = [n for n, _ in model.named_parameters()]
    model.forward = lambda y: model.log_density(y, cond).mean()

    def loss(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (y,))

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()), fast_mode=True)


# --- what the recipe refuses


@pytest.mark.parametrize(
    ("spec", "arguments", "word"),
    [
        (DataSpec((1,), Real()), {}, "gmm"),
        (DataSpec((2,), Real()), {"conditional": True}, "classes"),
        (DataSpec((2,), Real()), {"layers": 0}, "layers"),
        (DataSpec((1, 8, 8), Real()), {"scales": 0}, "scales"),
        (DataSpec((2,), Real()), {"bound": 0.0}, "bound"),
    ],
)
def test_what_it_cannot_serve_it_refuses_in_a_sentence(spec, arguments, word):
    with pytest.raises(RecipeError, match=word):
        catalogue.build("realnvp", spec, **arguments)
