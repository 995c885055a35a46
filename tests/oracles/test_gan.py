"""GANs against closed forms: values and gradients of their games, penalties, and who moves when."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.functional.dequantize import harden, relax, relaxed_shape, values
from pofx.gan.adversarial import Adversarial, Discriminator, Generator, Pairs, squash
from pofx.gan.gan import GAN
from pofx.gan.penalties import between, gradient_norm, input_gradient, r1
from pofx.gan.wgan_gp import WGANGP
from pofx.recipe import SGD, Recipe, RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec
from pofx.training.loop import Budget, Options, Training, train

torch.manual_seed(0)
LINE = DataSpec((1,), Real())


pytestmark = pytest.mark.usefixtures("double")


class Point(nn.Module):
    """A generator that always draws the same number."""

    def __init__(self, at):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(float(at)))
        self.spec = LINE

    def noise(self, n):
        return torch.randn(n, 1)

    def forward(self, z, cond=None):
        return self.at.expand(len(z), 1)

    def sample(self, n, cond=None):
        return self(self.noise(n)).detach()


class Slope(nn.Module):
    """A linear adversary without intercept."""

    def __init__(self, *slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x, cond=None):
        return x.flatten(1) @ self.slope


class Bowl(nn.Module):
    """A quadratic adversary, whose slope differs from point to point."""

    def __init__(self, steepness):
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def forward(self, x, cond=None):
        return self.steepness * x.flatten(1).square().sum(1) / 2


class Table(nn.Module):
    """Logits looked up by the number x."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x, cond=None):
        return self.logits[x[:, 0].detach().long()] + 0 * x[:, 0]


def pairs_of(x, x_fake, cond=None):
    return Pairs(x, x_fake, cond, torch.rand(len(x)))


# --- the game of eq. 1


def test_where_data_and_generator_agree_the_game_is_worth_minus_log_4():
    x = torch.randn(10, 1)
    loss, metrics = GAN(Point(0), Slope(0.0), r1=0).adversary_loss(pairs_of(x, x))
    assert loss.item() == pytest.approx(2 * math.log(2), abs=1e-12)
    assert -loss.item() == pytest.approx(-1.3862943611, abs=1e-10)
    assert metrics["real"] == metrics["fake"] == 0


P = torch.tensor([0.5, 0.2, 0.3, 0.0], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.4, 0.3], dtype=torch.float64)


def test_the_optimal_discriminator_tells_the_jensen_shannon_divergence():
    """Data on four points with probabilities P, fakes with Q: D = log p / q is stationary, and
    there V = 2 JSD - log 4.
    """
    points = torch.arange(4.0)[:, None]
    x = points.repeat_interleave((P * 10).round().long(), 0)
    x_fake = points.repeat_interleave((Q * 10).round().long(), 0)
    logits = (P / Q).log().clamp(min=-700).tolist()
    table = Table(logits)
    loss, metrics = GAN(Point(0), table, r1=0).adversary_loss(pairs_of(x, x_fake))
    middle = (P + Q) / 2
    divergence = sum(torch.special.xlogy(d, d / middle).sum() / 2 for d in (P, Q))
    assert -loss.item() == pytest.approx(2 * divergence.item() - math.log(4), abs=1e-12)
    loss.backward()
    assert torch.allclose(table.logits.grad, torch.zeros(4), atol=1e-12)
    right = (P * (P > Q)).sum() + (Q * (P < Q)).sum()  # at p = q the logit is 0: neither
    assert metrics["accuracy"].item() == pytest.approx(right.item() / 2, abs=1e-7)


def test_the_generators_losses_and_their_gradients_by_hand():
    logits = torch.tensor([-5.0, -1.0, 0.0, 2.0, 40.0], requires_grad=True)
    sigma = logits.detach().sigmoid()
    for loss, value, slope in (
        ("minimax", (1 - sigma[:4]).log(), -sigma),
        ("non-saturating", -sigma[:4].log(), sigma - 1),
    ):
        game = GAN(Point(0), Slope(0.0), loss)
        assert game.generator_loss(logits[:4]).item() == pytest.approx(value.mean().item())
        (gradient,) = torch.autograd.grad(game.generator_loss(logits), logits)
        assert torch.allclose(gradient, slope / 5, atol=1e-15)


def test_a_sure_discriminator_starves_minimax_but_not_the_other():
    logits = torch.full((1,), -30.0, requires_grad=True)
    slopes = {}
    for loss in ("minimax", "non-saturating"):
        game = GAN(Point(0), Slope(0.0), loss)
        (slopes[loss],) = torch.autograd.grad(game.generator_loss(logits), logits)
    assert abs(slopes["minimax"].item()) < 1e-12
    assert slopes["non-saturating"].item() == pytest.approx(-1)


# --- penalties


def test_r1_of_a_linear_discriminator_is_the_square_of_its_slope():
    x = torch.randn(7, 2, 3)
    slope = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])
    game = GAN(Point(0), Slope(*slope.tolist()), r1=0.8)
    plain = GAN(Point(0), game.adversary, r1=0)
    pairs = pairs_of(x, torch.randn(7, 2, 3))
    loss, metrics = game.adversary_loss(pairs)
    assert metrics["r1"].item() == pytest.approx((slope @ slope).item(), abs=1e-12)
    excess = loss - plain.adversary_loss(pairs)[0]
    assert excess.item() == pytest.approx(0.4 * (slope @ slope).item(), abs=1e-12)


class Quadratic(nn.Module):
    def __init__(self, size):
        super().__init__()
        a = torch.randn(size, size)
        self.a = nn.Parameter(a + a.T)

    def forward(self, x, cond=None):
        return 0.5 * ((x @ self.a) * x).sum(1)


def test_penalties_of_a_quadratic_and_their_gradients_by_hand():
    """D(x) = x' A x / 2 has gradient A x, |A x|^2 has the derivative 2 A x x', and |A x| that over
    2 |A x|.
    """
    critic, x = Quadratic(3), torch.randn(5, 3, requires_grad=True)
    a = critic.a.detach()
    slope = x.detach() @ a
    assert torch.allclose(input_gradient(critic(x), x), slope)
    penalty = r1(critic(x), x)
    assert torch.allclose(penalty, slope.square().sum(1))
    (gradient,) = torch.autograd.grad(penalty.sum(), critic.a)
    outer = slope[:, :, None] * x.detach()[:, None, :]
    # autograd differentiates (A + A') x / 2 in each entry of A
    assert torch.allclose(gradient, (outer + outer.mT).sum(0))
    norm = gradient_norm(critic, x)
    assert torch.allclose(norm, slope.norm(dim=1), atol=1e-9)
    (gradient,) = torch.autograd.grad(norm.sum(), critic.a)
    each = (outer + outer.mT) / (2 * slope.norm(dim=1))[:, None, None]
    assert torch.allclose(gradient, each.sum(0), atol=1e-9)


@pytest.mark.parametrize(
    "spec", [DataSpec((3,), Real(), cond=class_spec(2)), DataSpec((1, 4, 4), Bytes(8))]
)
@pytest.mark.parametrize("name", ["gan", "wgan-gp"])
def test_double_backward_is_that_of_finite_differences(name, spec):
    recipe = catalogue.build(name, spec, hidden=(5,), channels=2)
    game, adversary = recipe.objective, recipe.objective.adversary
    for m in adversary.modules():  # finite differences want a smooth one
        for key, child in m.named_children():
            if isinstance(child, nn.LeakyReLU):
                setattr(m, key, nn.Softplus())
    x, cond = torch.randn(4, *spec.shape), torch.tensor([0, 1, 1, 0]) if spec.classes else None
    pairs = game.pairs(x, cond)
    names = [n for n, _ in adversary.named_parameters()]
    game.adversary = Called(adversary)

    def loss(*parameters):
        game.adversary.parameters_now = dict(zip(names, parameters, strict=True))
        return game.adversary_loss(pairs)[0]

    assert torch.autograd.gradcheck(loss, tuple(adversary.parameters()), fast_mode=True)


class Called(nn.Module):
    """A module that is called with parameters from outside."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return torch.func.functional_call(self.module, self.parameters_now, inputs)


def test_points_between():
    x, x_fake = torch.ones(3, 1, 2), torch.zeros(3, 1, 2)
    x_fake.requires_grad_()
    point = between(x, x_fake, torch.tensor([0.0, 0.25, 1.0]))
    assert point[:, 0, 0].tolist() == [0.0, 0.25, 1.0]
    assert not point.requires_grad


def test_a_norm_of_zero_has_a_derivative():
    critic = Slope(0.0, 0.0)
    norm = gradient_norm(critic, torch.randn(4, 2))
    assert norm.max() < 1e-5
    ((norm - 1) ** 2).mean().backward()
    assert critic.slope.grad.isfinite().all()


# --- WGAN-GP


@pytest.mark.parametrize(("delta", "penalty"), [(2.0, 10.0), (-2.0, 10.0), (0.5, 0.3)])
def test_the_slope_between_two_points_overshoots_by_the_distance_over_twice_lambda(delta, penalty):
    """A critic w x on data at delta and fakes at 0 lowers lambda (|w| - 1)^2 - w delta."""
    size = 1 + abs(delta) / (2 * penalty)
    critic = Slope(math.copysign(size, delta))
    game = WGANGP(Point(0), critic, penalty)
    pairs = pairs_of(torch.full((6, 1), delta), torch.zeros(6, 1))
    loss, metrics = game.adversary_loss(pairs)
    assert metrics["wasserstein"].item() == pytest.approx(abs(delta) * size)
    assert metrics["gradient_norm"].item() == pytest.approx(size)
    by_hand = penalty * (size - 1) ** 2 - abs(delta) * size
    assert loss.item() == pytest.approx(by_hand)
    (gradient,) = torch.autograd.grad(loss, critic.slope)
    assert abs(gradient.item()) < 1e-9
    for factor in (0.99, 1.01):
        critic.slope.data.fill_(factor * math.copysign(size, delta))
        assert game.adversary_loss(pairs)[0] > loss


@pytest.mark.parametrize("shape", [(1,), (2, 3, 4)])
def test_the_penalty_is_of_slopes_between_the_pairs(shape):
    """The slope of a |x|^2 / 2 is a |x| long, another one at each point between."""
    (x, x_fake), u = 0.3 * torch.randn(2, 6, *shape), torch.rand(6)
    game = WGANGP(Point(0), Bowl(0.7), 3.0)
    loss, metrics = game.adversary_loss(Pairs(x, x_fake, None, u))
    each = [u[i] * x[i] + (1 - u[i]) * x_fake[i] for i in range(6)]
    lengths = torch.stack([0.7 * point.norm() for point in each])
    wasserstein = 0.35 * (x.square().sum() - x_fake.square().sum()) / 6
    assert metrics["gradient_norm"].item() == pytest.approx(lengths.mean().item(), abs=1e-5)
    by_hand = 3 * (lengths - 1).square().mean() - wasserstein
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_a_trained_critic_finds_that_slope():
    game = WGANGP(Point(0), Slope(0.3), 10.0, critic_steps=1)
    still = SGD(0.0)
    recipe = Recipe(game.generator, game, {"critic": SGD(0.02), "generator": still}, batch_size=8)
    data = iter(lambda: Batch(torch.full((8, 1), 2.0)), None)
    training = Training(recipe)
    for step in train(training, data, Budget(steps=60)):
        last = step.metrics
    assert game.adversary.slope.item() == pytest.approx(1.1, abs=1e-6)
    assert float(last["wasserstein"]) == pytest.approx(2.2, abs=1e-6)


def test_the_generator_is_pulled_up_the_critic():
    game = WGANGP(Point(0), Slope(0.7))
    *_, update = game.updates(Batch(torch.full((10, 1), 2.0)))
    assert update.player == "generator"
    (gradient,) = torch.autograd.grad(update.loss, game.generator.at)
    assert gradient.item() == pytest.approx(-0.7)


# --- the Dirac-GAN of Mescheder et al. (2018), section 2


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
@pytest.mark.parametrize(
    ("gamma", "eigenvalues"),
    [
        (0.0, [-0.5j, 0.5j]),
        (0.5, [-0.25 - 0.4330127j, -0.25 + 0.4330127j]),
        (1.0, [-0.5, -0.5]),
        (2.0, [-1.8660254, -0.1339746]),
    ],
)
def test_the_game_between_two_points_turns_as_the_paper_says(loss, gamma, eigenvalues):
    """The eigenvalues of the field (-dL_D / dD, -dL_G / dG) at its solution."""
    game = GAN(Point(0), Slope(0.0), loss, r1=gamma)
    data = torch.zeros(1, 1)

    def field(slope, at):
        with torch.no_grad():
            game.adversary.slope.fill_(slope)
            game.generator.at.fill_(at)
        critic, generator = game.updates(Batch(data))
        (down,) = torch.autograd.grad(critic.loss, game.adversary.slope)
        (along,) = torch.autograd.grad(generator.loss, game.generator.at)
        return torch.stack([-down[0], -along])

    h = 1e-5
    columns = [(field(h, 0.0) - field(-h, 0.0)), (field(0.0, h) - field(0.0, -h))]
    found = torch.linalg.eigvals(torch.stack(columns, 1) / (2 * h))
    # a double eigenvalue moves by the square root of an error
    tolerance = 1e-4 if gamma == 1 else 1e-7
    for value in eigenvalues:
        assert (found - value).abs().min() < tolerance


def dirac(gamma, steps, lr=0.2):
    """The generator's position and the discriminator's slope through training; data is at 0.

    The loss is minimax: the other one, alone, loses radius at third order.
    """
    game = GAN(Point(1.0), Slope(0.0), "minimax", r1=gamma)
    sgd = SGD(lr)
    recipe = Recipe(game.generator, game, {"discriminator": sgd, "generator": sgd}, batch_size=4)
    training = Training(recipe)
    data = iter(lambda: Batch(torch.zeros(4, 1)), None)
    path = []
    for _ in train(training, data, Budget(steps=steps)):
        path.append((game.generator.at.item(), game.adversary.slope.item()))
    return torch.tensor(path)


def test_without_a_penalty_it_cycles_and_with_r1_it_converges():
    cycling = dirac(0.0, 400)
    signs = [a * b < 0 for a, b in pairwise(cycling[:, 0].tolist())]
    assert sum(signs) >= 10
    assert cycling[-100:, 0].abs().max() > 0.9
    assert cycling[-100:].norm(dim=1).min() > 0.7
    damped = dirac(0.5, 400)
    assert damped[-1].norm() < 1e-8
    heavy = dirac(2.0, 400)
    assert (heavy[:, 0] > 0).all(), "two real eigenvalues: it does not turn"
    assert heavy[-1].norm() < 1e-4


# --- whose turn it is


class Watching(Adversarial):
    """Keeps the pairs that every update of the adversary sees."""

    role = "critic"

    def adversary_loss(self, pairs):
        self.seen.append(pairs)
        return self.adversary(pairs.x).mean() - self.adversary(pairs.x_fake).mean(), {}

    def generator_loss(self, logits):
        return -logits.mean()


def watched(rounds, x, cond=None, spec=None):
    spec = spec or DataSpec((2,), Real())
    game = Watching(
        Generator(spec, latent=2, hidden=(4,)), Discriminator(spec, hidden=(4,)), rounds
    )
    game.seen = []
    return game, game.updates(Batch(x, cond))


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_the_critic_moves_so_many_times_and_then_the_generator(rounds):
    game, updates = watched(rounds, torch.randn(20, 2))
    assert [u.player for u in updates] == ["critic"] * rounds + ["generator"]
    assert len(game.seen) == rounds


def test_every_update_sees_pairs_of_its_own():
    spec = DataSpec((2,), Real(), cond=class_spec(3))
    x, cond = torch.randn(23, 2), torch.randint(3, (23,))
    game, updates = watched(5, x, cond, spec)
    *_, generator = updates
    seen = torch.cat([p.x for p in game.seen])
    assert sorted(seen.tolist()) == sorted(x.tolist())
    for name in ("x_fake", "u"):
        values = torch.cat([getattr(p, name) for p in game.seen])
        assert len(values.unique(dim=0)) == 23
    labels = {tuple(a.tolist()): b.item() for a, b in zip(x, cond, strict=True)}
    for pairs in game.seen:
        assert 4 <= len(pairs.x) <= 5
        assert [labels[tuple(a.tolist())] for a in pairs.x] == pairs.cond.tolist()
        assert not pairs.x_fake.requires_grad
    assert generator.player == "generator"


def test_a_batch_too_small_to_deal_is_dealt_again():
    game, updates = watched(5, torch.randn(3, 2))
    assert len(list(updates)) == 6
    assert [len(p.x) for p in game.seen] == [1] * 5


def test_a_fake_is_of_its_partners_class():
    spec = DataSpec((2,), Real(), cond=class_spec(2))
    game, updates = watched(1, torch.randn(8, 2), torch.arange(8) % 2, spec)
    game.generator.forward = lambda z, cond: cond[:, None].expand(-1, 2).double()
    next(updates)
    assert torch.equal(game.seen[0].x_fake[:, 0].long(), game.seen[0].cond)


@pytest.mark.parametrize("name", ["gan", "wgan-gp"])
def test_each_player_moves_in_its_own_turn_and_in_no_other(name):
    spec = DataSpec((2,), Real())
    game = catalogue.build(name, spec, hidden=(8,)).objective
    optimizers = {k: torch.optim.SGD(m.parameters(), 0.1) for k, m in game.players.items()}

    def weights():
        return {
            k: torch.cat([p.detach().flatten() for p in m.parameters()])
            for k, m in game.players.items()
        }

    before = weights()
    for update in game.updates(Batch(torch.randn(40, 2))):
        update.loss.backward(inputs=list(game.players[update.player].parameters()))
        optimizers[update.player].step()
        optimizers[update.player].zero_grad()
        after = weights()
        for player in game.players:
            moved = not torch.equal(before[player], after[player])
            assert moved == (player == update.player)
        before = after


def test_the_generator_answers_the_adversary_that_the_last_update_left():
    game = GAN(Point(2.0), Slope(0.0), r1=0)
    updates = game.updates(Batch(torch.zeros(4, 1)))
    next(updates)
    with torch.no_grad():
        game.adversary.slope.fill_(3.0)
    update = next(updates)
    assert update.loss.item() == pytest.approx(math.log1p(math.exp(-6)))
    assert next(updates, None) is None


# --- classes and supports


def test_a_conditional_generator_heeds_the_class():
    torch.set_default_dtype(torch.float32)
    spec = DataSpec((2,), Real(), cond=class_spec(2))
    recipe = catalogue.build("gan", spec, hidden=(32, 32), steps=500, batch_size=64, ema=50.0)
    means = torch.tensor([[-1.5, 0.0], [1.5, 1.0]])

    def batch():
        cond = torch.randint(2, (64,))
        return Batch(means[cond] + 0.2 * torch.randn(64, 2), cond)

    training = Training(recipe, options=Options(seed=1))
    for _ in train(training, iter(batch, None), Budget(steps=500)):
        pass
    model = training.sampled.eval()
    assert model.conditional
    for y in range(2):
        x = model.sample(500, torch.full((500,), y))
        assert (x.mean(0) - means[y]).norm() < 0.5
    x = model.sample(2000)
    nearest = torch.cdist(x, means).argmin(1).float().mean().item()
    assert abs(nearest - 0.5) < 0.06, "each class is as likely as the other"


def test_without_a_class_samples_are_of_every_class():
    spec = DataSpec((2,), Real(), cond=class_spec(3))
    generator, seen = Generator(spec, latent=2, hidden=(4,)), []
    generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    generator.sample(3000)
    shares = torch.bincount(seen[0], minlength=3) / 3000
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.05)


def test_the_projection_adds_a_form_of_the_class_to_one_that_all_share():
    spec = DataSpec((3,), Real(), cond=class_spec(4))
    discriminator, x = Discriminator(spec, hidden=(8,)), torch.randn(5, 3)
    forms = discriminator.net(x)
    cond = torch.tensor([3, 0, 1, 1, 2])
    expected = forms[:, 0] + forms[torch.arange(5), 1 + cond]
    assert torch.allclose(discriminator(x, cond), expected)
    assert torch.allclose(discriminator(x), forms[:, 0])


SUPPORTS = {
    "real": DataSpec((3,), Real()),
    "interval": DataSpec((1, 4, 4), Interval()),
    "bytes": DataSpec((1, 5, 4), Bytes(7)),
    "bits": DataSpec((6,), Binary()),
    "bitmap": DataSpec((1, 4, 4), Binary(), cond=class_spec(2)),
    "categories": DataSpec((2,), Categorical(3)),
    "table": DataSpec(
        (5,), Mixed((Real(), Categorical(4), Binary(), Interval(), Bytes(5))), cond=class_spec(2)
    ),
}


def allowed(x, support):
    if isinstance(support, Real):
        return x.isfinite().all()
    if isinstance(support, Interval):
        return (x.abs() <= 1).all()
    return torch.isin(x, values(torch.arange(support.levels), support)).all()


def columns(x, spec):
    return zip(x.flatten(1).unbind(1), spec.columns, strict=True)


@pytest.mark.parametrize("kind", SUPPORTS)
def test_whatever_the_network_says_a_sample_lies_in_the_support(kind):
    spec = SUPPORTS[kind]
    generator = Generator(spec, latent=3, hidden=(8,), channels=4)
    with torch.no_grad():
        for p in generator.parameters():
            p *= 4
    x = generator.sample(300)
    assert x.shape == (300, *spec.shape)
    assert all(allowed(column, support) for column, support in columns(x, spec))
    extreme = 1e3 * torch.randn(50, *relaxed_shape(spec))
    relaxed = squash(extreme, spec)
    hard = harden(relaxed, spec)
    assert all(allowed(column, support) for column, support in columns(hard, spec))
    assert torch.equal(harden(relax(hard, spec), spec), hard)


@pytest.mark.parametrize("kind", SUPPORTS)
def test_fakes_live_where_relaxed_data_do(kind):
    """Bounded values in [-1, 1], a category on its simplex, so that no adversary tells them apart
    by their range alone.
    """
    spec = SUPPORTS[kind]
    y = squash(3 * torch.randn(50, *relaxed_shape(spec)), spec)
    assert y.shape == (50, *relaxed_shape(spec))
    if isinstance(spec.support, Categorical | Mixed):
        widths = [c.levels if isinstance(c, Categorical) else 1 for c in spec.columns]
        for part, support in zip(y.split(widths, 1), spec.columns, strict=True):
            if isinstance(support, Categorical):
                assert torch.allclose((part + 1).sum(1) / 2, torch.ones(50))
            assert isinstance(support, Real) or bool((part.abs() <= 1).all())
    elif not isinstance(spec.support, Real):
        assert bool((y.abs() <= 1).all())


# --- what the recipes choose and refuse


def test_an_images_penalty_grows_with_its_size_and_vectors_take_less():
    specs = SUPPORTS["bitmap"], DataSpec((3, 32, 32), Bytes()), SUPPORTS["real"]
    weights = [catalogue.build("gan", spec).objective.r1 for spec in specs]
    assert weights == [SUPPORTS["bitmap"].size / 8, 384.0, 0.1]
    assert catalogue.build("gan", SUPPORTS["bitmap"], r1=0.0).objective.r1 == 0


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("gan", {"r1": -0.1}, "r1"),
        ("wgan-gp", {"penalty": -1.0}, "penalty"),
        ("wgan-gp", {"critic_steps": 0}, "critic-steps"),
    ],
)
def test_an_impossible_weight_is_refused_in_a_sentence(name, arguments, word):
    with pytest.raises(RecipeError, match=word):
        catalogue.build(name, DataSpec((2,), Real()), **arguments)
