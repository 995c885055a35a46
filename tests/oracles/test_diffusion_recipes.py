"""Diffusion recipes against closed forms: Gaussian data, of which the best network is known, and so
the least loss and the score; and toy densities that a short training must learn.
"""

import dataclasses
import itertools
import math

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.data.toy import ring
from pofx.diffusion import bound
from pofx.diffusion.analytic import Mixture
from pofx.diffusion.coupling import optimal
from pofx.diffusion.denoiser import Clip, Denoiser, NetworkDenoiser
from pofx.diffusion.guidance import ClassifierFree
from pofx.diffusion.model import Diffusion
from pofx.diffusion.parameterization import Preconditioned
from pofx.diffusion.samplers import SAMPLERS, choose
from pofx.diffusion.schedule import EDM, VE, VP, CosineVP, LinearVP, Rectified
from pofx.diffusion.times import Even, Geometric, LogitNormal, LogNormal, LogSNR, Steps
from pofx.diffusion.weighting import Of
from pofx.errors import UserError
from pofx.evaluation.two_sample import energy_distance
from pofx.functional.draw import draw
from pofx.functional.random import noise
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Real, class_spec
from pofx.training.loop import Budget, Training, train

double = pytest.mark.usefixtures("double")
S, MEAN = 0.7, 0.4
PLANE = DataSpec((2,), Real())


class Best(torch.nn.Module):
    """What the best network says of N(MEAN, S^2) data, for whatever it is asked to predict.

    Args:
        denoiser: the one that it serves.
        gain: 1 is the best; another multiplies what it makes of its input.
        copies: how many outputs; those after the first are 0.
    """

    def __init__(self, denoiser, gain=1.0, copies=1):
        super().__init__()
        self.of, self.gain, self.copies = [denoiser], gain, copies

    def forward(self, x, t, cond):
        denoiser = self.of[0]
        level = denoiser.schedule.level(t, x.ndim)
        if denoiser.data_std is not None:
            x = x * ((level.alpha * denoiser.data_std) ** 2 + level.sigma**2) ** 0.5
        variance = (level.alpha * S) ** 2 + level.sigma**2
        x0 = MEAN + self.gain * level.alpha * S**2 / variance * (x - level.alpha * MEAN)
        p, q = denoiser.parameterization.weights(level.alpha, level.sigma)
        f = p * x0 + q * (x - level.alpha * x0) / level.sigma
        return torch.cat([f, *[torch.zeros_like(f)] * (self.copies - 1)], 1)


def best(name, gain=1.0, **options):
    recipe = catalogue.build(name, PLANE, hidden=8, **options)
    denoiser = recipe.model.denoiser
    denoiser.network = Best(denoiser, gain, 2 if denoiser.learns_variance else 1)
    return recipe


RECIPES = [
    *[("ddpm", {"parameterization": p}) for p in ("eps", "x0", "v")],
    ("ddpm", {"schedule": "linear"}),
    ("edm", {}),
    ("edm", {"data_std": 0.3}),
    ("flow-matching", {}),
    ("flow-matching", {"times": "logit-normal"}),
    ("rectified-flow", {}),
    ("score-sde", {}),
    ("score-sde", {"weighting": "likelihood"}),
    ("score-sde", {"sde": "ve"}),
    ("score-sde", {"sde": "subvp"}),
    ("ncsn", {}),
    ("improved-ddpm", {}),
]


def least(denoiser, level):
    """The mean square that no network can go below, at each level."""
    p, q = denoiser.parameterization.weights(level.alpha, level.sigma)
    slope = (q * level.alpha - p * level.sigma) / level.sigma
    variance = (level.alpha * S) ** 2 + level.sigma**2
    return slope**2 * S**2 * level.sigma**2 / variance


def simple(recipe, x):
    loss, metrics = recipe.objective.loss(Batch(x))
    return float(metrics.get("simple", loss))


@double
@pytest.mark.parametrize(("name", "options"), RECIPES)
def test_the_loss_of_the_best_network_is_the_least_there_is(name, options):
    n = 100_000
    x = MEAN + S * torch.randn(n, 2)
    recipe = best(name, **options)
    denoiser = recipe.model.denoiser
    if name == "improved-ddpm":
        times = Steps(1000)
    elif name == "rectified-flow":
        times = Even()
    else:
        times = recipe.objective.times
    level = denoiser.schedule.level(times(denoiser.schedule, x), 2)
    each = least(denoiser, level)
    stderr = float((each.std() + 2 * each.mean()) / math.sqrt(n))
    with noise(1, n):
        found = simple(recipe, x)
    assert found == pytest.approx(float(each.mean()), abs=8 * stderr)
    for gain in (0.9, 1.1):
        with noise(1, n):
            assert simple(best(name, gain, **options), x) > found


@double
@pytest.mark.parametrize(("name", "options"), RECIPES)
def test_what_the_best_network_says_is_the_score(name, options):
    model = best(name, **options).model
    schedule = model.denoiser.schedule
    t = (torch.rand(50) * 0.9 + 0.05).clamp(min=schedule.first)
    alpha, sigma = (v[:, None] for v in schedule(t))
    x_t = (alpha * S + sigma) * torch.randn(50, 2)
    expected = -(x_t - alpha * MEAN) / ((alpha * S) ** 2 + sigma**2)
    assert torch.allclose(model.score(x_t, t), expected, rtol=1e-6, atol=1e-6)


# --- edm


@double
@pytest.mark.parametrize("s", [0.5, 1.0])
def test_preconditioning_is_table_1(s):
    net = torch.nn.Linear(3, 3)
    denoiser = NetworkDenoiser(
        lambda x, t, cond: net(x), EDM(), Preconditioned(s), data_std=s
    )  # fmt: skip
    t = torch.linspace(0.25, 1, 40)
    sigma = denoiser.schedule(t)[1][:, None]
    x = torch.randn(40, 3) * sigma
    norm = (sigma**2 + s**2).sqrt()
    expected = s**2 / norm**2 * x + sigma * s / norm * net(x / norm)
    assert torch.allclose(denoiser(x, t), expected, rtol=1e-9, atol=1e-9)


@double
def test_what_edm_sees_and_says_has_unit_variance_and_its_weighting_is_even():
    s, schedule = 0.5, EDM()
    level = schedule.level(torch.linspace(0.25, 1, 40), 2)
    p, q = Preconditioned(s).weights(level.alpha, level.sigma)
    assert torch.allclose(p**2 * s**2 + q**2, torch.ones(()), atol=1e-12)
    x0, guess = torch.randn(40, 5) * s, torch.randn(40, 5) * s
    x_t = x0 + level.sigma * torch.randn(40, 5)
    eps = (x_t - x0) / level.sigma
    f, f_guess = (p * v + q * (x_t - v) / level.sigma for v in (x0, guess))
    assert torch.allclose(f, Preconditioned(s).target(x0, eps, level))
    weighted = Of(Preconditioned(s))(level) * (x0 - guess) ** 2
    assert torch.allclose((f - f_guess) ** 2, weighted, rtol=1e-6)


# --- times


@double
@pytest.mark.parametrize("schedule", [VP(), VE(), EDM(), Rectified(), CosineVP(), LinearVP()])
def test_times_have_the_laws_that_they_are_named_after(schedule):
    n = 20_000
    x0 = torch.zeros(n, 1)

    def log_ratio(times):
        alpha, sigma = schedule(times(schedule, x0))
        return (sigma / alpha).log()

    def ks(values, low, high):
        share = ((values.sort().values - low) / (high - low)).clamp(0, 1)
        return float((share - (torch.arange(n) + 0.5) / n).abs().max())

    bar = 2.0 / math.sqrt(n)
    first, last = (math.log(schedule.ratio(t)) for t in (schedule.first, schedule.last))
    even = Even()(schedule, x0)
    assert ks(even, schedule.first, 1) < bar
    if not isinstance(schedule, CosineVP):  # whose last step alone covers much of the range
        assert ks(log_ratio(LogSNR()), first, last) < bar
    logit = LogitNormal(0.3, 0.7)(schedule, x0).logit()
    assert logit.mean().item() == pytest.approx(0.3, abs=5 * 0.7 / math.sqrt(n))
    assert logit.std().item() == pytest.approx(0.7, rel=0.03)
    if isinstance(schedule, VP | VE | EDM):
        r = log_ratio(LogNormal(-1.2, 0.5))
        assert r.mean().item() == pytest.approx(-1.2, abs=5 * 0.5 / math.sqrt(n))
        assert r.std().item() == pytest.approx(0.5, rel=0.03)
    levels = log_ratio(Geometric(7)).mul(1e6).round().unique() / 1e6
    assert torch.allclose(levels, torch.linspace(first, last, 7), atol=1e-4)
    steps = Steps(10)(schedule, x0)
    assert torch.allclose(steps.unique(), torch.arange(1.0, 11) / 10)


@double
def test_the_loss_at_times_even_in_log_snr_is_the_entropy():
    """Half the loss times the range of log-SNR, and what both ends cost (Kingma et al., eq. 11)."""
    n, recipe = 400_000, best("score-sde", weighting="likelihood")
    schedule = recipe.model.denoiser.schedule
    loss = simple(recipe, MEAN + S * torch.randn(n, 1).expand(n, 2))
    first, last = schedule.ratio(schedule.first), schedule.ratio(1.0)
    start = 0.5 * math.log(2 * math.pi * math.e * first**2)
    ((alpha, sigma),) = schedule.scales([1.0])
    end = 0.5 * (alpha**2 * (S**2 + MEAN**2) + sigma**2 - 1 - 2 * math.log(sigma))
    entropy = 0.5 * math.log(2 * math.pi * math.e * S**2)
    total = start + loss * math.log(last / first) + end
    assert total == pytest.approx(entropy, abs=0.02)


@double
def test_min_snr_weighs_what_is_left_by_the_signal_to_noise_ratio_up_to_gamma():
    """x0 of N(., S^2) has a variance of S^2 sigma^2 / (alpha^2 S^2 + sigma^2) given x_t."""
    recipe = best("ddpm", min_snr=5.0)
    schedule = recipe.model.denoiser.schedule
    alpha, sigma = torch.tensor(schedule.scales(schedule.grid(1000)[:-1])).T
    left = S**2 * sigma**2 / (alpha**2 * S**2 + sigma**2)
    expected = ((alpha / sigma) ** 2).clamp(max=5.0) * left
    loss = simple(recipe, MEAN + S * torch.randn(400_000, 1).expand(-1, 2))
    assert loss == pytest.approx(expected.mean().item(), rel=0.01)
    with pytest.raises(RecipeError, match="above 0"):
        best("ddpm", min_snr=0.0)


# --- improved-ddpm


@double
def test_the_variance_is_learned_between_the_two_that_are_right_at_either_end():
    chain = bound.Chain(LinearVP(), 1000)
    k, y, guess = torch.arange(0, 999, 100), torch.randn(10, 3), torch.randn(10, 3)
    for end, weight in ((1.0, chain.weights[0]), (0.0, chain.weights[1])):
        found = chain.divergence(k, y, guess, torch.full((10, 3), end))
        ratio = chain.ratio[k] if end else torch.ones(10)
        constant = 0.5 * (ratio - 1 - ratio.log())
        expected = weight[k][:, None] * (y - guess) ** 2 + constant[:, None]
        assert torch.allclose(found, expected, rtol=1e-8)
    share = torch.rand(10, 3)
    posterior = chain.beta * chain.ratio
    v = (share * chain.beta[k][:, None].log() + (1 - share) * posterior[k][:, None].log()).exp()
    slope = (chain.alpha[1:] * chain.beta / chain.sigma[:-1] ** 2)[k][:, None]
    q = torch.distributions.Normal(slope * y, posterior[k][:, None].sqrt())
    p = torch.distributions.Normal(slope * guess, v.sqrt())
    expected = torch.distributions.kl_divergence(q, p)
    assert torch.allclose(chain.divergence(k, y, guess, share), expected, rtol=1e-8)


class Learned(Denoiser):
    """The best denoiser of N(MEAN, S^2) data, with the variance that is best for it."""

    learns_variance = True

    def __init__(self, schedule, share=None):
        super().__init__(schedule)
        self.share, self.chain = share, bound.Chain(schedule, 1000)

    def denoise(self, x_t, level, cond=None):
        variance = (level.alpha * S) ** 2 + level.sigma**2
        return MEAN + level.alpha * S**2 / variance * (x_t - level.alpha * MEAN)

    def guess(self, x_t, level, cond=None):
        share = self.share
        if share is None:
            k = (self.chain.times[None] - level.t[:, None]).abs().argmin(1).clamp(max=998)
            chain, alpha, sigma = self.chain, self.chain.alpha[:-1], self.chain.sigma[:-1]
            error = S**2 * sigma**2 / ((alpha * S) ** 2 + sigma**2)
            posterior = chain.beta * chain.ratio
            best = posterior + (chain.alpha[1:] * chain.beta / sigma**2) ** 2 * error
            share = ((best / posterior).log() / -chain.ratio.log())[k][:, None].expand_as(x_t)
        else:
            share = torch.full_like(x_t, share)
        return self.denoise(x_t, level, cond), share


@double
def test_the_bound_with_the_best_variance_is_the_tightest_and_beta_gives_the_old_one():
    n = 20_000
    x, spec = MEAN + S * torch.randn(n, 1), DataSpec((1,), Real())

    def mean(denoiser):
        with noise(3, n):
            value = bound.elbo(denoiser, x, spec)
        return float(value.mean()), float(value.std() / math.sqrt(n))

    large, small, tight = (mean(Learned(LinearVP(), share)) for share in (1.0, 0.0, None))

    class Plain(Learned):
        guess = Denoiser.guess

    plain = mean(Plain(LinearVP()))
    assert large[0] == pytest.approx(plain[0], abs=5 * (large[1] + plain[1]))
    assert tight[0] > max(large[0], small[0])
    entropy = 0.5 * math.log(2 * math.pi * math.e * S**2)
    assert tight[0] < -entropy + 5 * tight[1]
    assert tight[0] > -entropy - 0.02 - 3 * tight[1]


@double
def test_the_divergence_moves_the_variance_alone():
    recipe = catalogue.build("improved-ddpm", PLANE, hidden=16, share=1.0)
    for p in recipe.model.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.1)
    last = recipe.model.denoiser.network.body.last[-1].weight
    x, gradients = torch.randn(64, 2), []
    for share in (1.0, 3.0):
        recipe.objective.share = share
        with noise(1, 64):
            gradients.append(torch.autograd.grad(recipe.objective.loss(Batch(x))[0], last)[0])
    assert torch.allclose(gradients[0][:2], gradients[1][:2], atol=1e-12)
    assert torch.allclose(3 * gradients[0][2:], gradients[1][2:], atol=1e-9)
    assert gradients[0][2:].abs().sum() > 0


@double
@pytest.mark.parametrize(("share", "name"), [(1.0, "ancestral"), (0.0, "ancestral-small")])
def test_learned_steps_at_either_end_are_the_fixed_ones(share, name):
    denoiser = Learned(LinearVP(), share)
    times, start = LinearVP().grid(20), torch.randn(50, 2)
    ends = []
    for which in (name, "ancestral-learned"):
        torch.manual_seed(4)
        ends.append([s.x_t for s in choose(which).trajectory(denoiser, start.clone(), times)][-1])
    assert torch.allclose(*ends, atol=1e-9)


@double
def test_variances_pass_through_wrappers():
    network = NetworkDenoiser(
        lambda x, t, cond: torch.cat([x, cond[:, None].expand_as(x).double()], 1),
        LinearVP(), Preconditioned(1.0), 4, learns_variance=True,
    )  # fmt: skip
    level = network.schedule.level(torch.rand(3), 2)
    cond, x = torch.tensor([0, 1, 2]), torch.randn(3, 2)
    _, own = network.guess(x, level, cond)
    assert torch.equal(own, ((cond + 1.0) / 2)[:, None].expand(3, 2))
    x0, through = Clip(ClassifierFree(network, 1.0), 0.1).guess(x, level, cond)
    assert torch.equal(own, through)
    assert x0.abs().max() <= 0.1
    assert Learned(LinearVP()).denoise(x, level).shape == x.shape
    fixed = catalogue.build("ddpm", PLANE, hidden=8).model
    with pytest.raises(UserError, match="learned variances"):
        fixed.sample(2, sampler="ancestral-learned", steps=3)


# --- couplings and reflow


@double
def test_the_coupling_is_the_best_of_all_permutations_within_classes():
    x0, eps, cond = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])

    def cost(order):
        return float((x0 - order).square().sum())

    every = [torch.tensor(p) for p in itertools.permutations(range(6))]
    assert cost(optimal(x0, eps)) == pytest.approx(min(cost(eps[p]) for p in every))
    kept = [p for p in every if torch.equal(cond[p], cond)]
    found = optimal(x0, eps, cond)
    assert cost(found) == pytest.approx(min(cost(eps[p]) for p in kept))
    assert torch.equal(found.sort(0).values, eps.sort(0).values)
    image = optimal(x0.view(6, 1, 3, 1), eps.view(6, 1, 3, 1))
    assert torch.equal(image.view(6, 3), optimal(x0, eps))


@double
def test_coupled_lines_cross_less():
    """The least loss is the variance of velocities that meet: less of it where noise is near."""
    x = torch.cat([torch.randn(200, 2) * 0.1 + 3, torch.randn(200, 2) * 0.1 - 3])
    torch.manual_seed(1)
    eps = torch.randn(400, 2)
    apart = [(eps - x).square().mean(), (optimal(x, eps) - x).square().mean()]
    assert apart[1] < 0.9 * apart[0]


@double
def test_pairs_of_a_flow_keep_their_order_and_have_the_law_of_the_data():
    """On the line a flow cannot cross itself, so it is the map between equal quantiles."""
    recipe = catalogue.build("rectified-flow", DataSpec((1,), Real()), hidden=8, solver_steps=200)
    weights, means = torch.tensor([0.3, 0.7]), torch.tensor([[-1.0], [1.0]])
    stds = torch.tensor([0.3, 0.2])
    recipe.objective.teacher = Mixture(Rectified(), weights, means, stds)
    eps = torch.linspace(-2.2, 2.2, 41)[:, None]
    x0 = recipe.objective.pair(eps, None)
    assert (x0.diff(dim=0) > 0).all()
    law = torch.distributions.Normal(means[:, 0], stds)
    cdf = (weights * law.cdf(x0)).sum(1)
    expected = torch.distributions.Normal(0.0, 1.0).cdf(eps[:, 0])
    assert torch.allclose(cdf, expected, atol=5e-3)


def steps(training, data, count):
    loop = train(training, data, Budget(steps=20))
    for _ in range(count):
        next(loop)


def plane(count):
    g = torch.Generator().manual_seed(count)
    while True:
        yield Batch(torch.randn(32, 2, generator=g) * 0.3 + 1)


def test_the_flow_that_makes_pairs_follows_the_weights_and_then_stays():
    recipe = catalogue.build(
        "rectified-flow", PLANE, hidden=8, first_part=0.5, solver_steps=2, steps=6, ema=2.0
    )
    training = Training(recipe)
    objective, seen = recipe.objective, []
    loop = train(training, plane(0), Budget(steps=6))
    for _ in loop:
        seen.append([p.clone() for p in objective.teacher.parameters()])
    moved = [
        any(not torch.equal(a, b) for a, b in zip(*pair, strict=True))
        for pair in itertools.pairwise(seen)
    ]
    assert moved == [True, True, False, False, False]
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    assert int(objective.taken) == 6


def test_reflow_resumes_on_either_side_of_its_start():
    def build():
        torch.manual_seed(0)
        return catalogue.build(
            "rectified-flow", PLANE, hidden=8, first_part=0.2, solver_steps=2, steps=8
        )

    batches = list(itertools.islice(plane(0), 8))
    whole = Training(build())
    steps(whole, iter(batches), 8)
    for half in (3, 4, 6):
        first = Training(build())
        steps(first, iter(batches), half)
        tensors, numbers = first.state()
        rest = Training(build())
        rest.load_state({k: v.clone() for k, v in tensors.items()}, numbers)
        steps(rest, iter(batches[half:]), 8 - half)
        for key, value in whole.state()[0].items():
            assert torch.equal(value, rest.state()[0][key]), key


# --- a short training

RING = ring(8, 1.4, 0.1)
LEARNERS = [
    ("ddpm", {}),
    ("edm", {}),
    ("edm", {"network": "unet", "channels": (16,), "steps": 200}),
    ("edm", {"network": "dit", "hidden": 16, "steps": 400}),
    ("flow-matching", {}),
    ("flow-matching", {"coupling": "optimal", "batch_size": 64, "steps": 200}),
    ("score-sde", {"sampling_steps": 50}),
    ("score-sde", {"sde": "ve", "sigma_max": 10.0, "sampling_steps": 50}),
    ("score-sde", {"sde": "subvp", "sampling_steps": 50}),
    ("ncsn", {"sigma_max": 10.0, "sampling_steps": 40}),
    ("improved-ddpm", {"sampling_steps": 50}),
]


def lesson(name, **options):
    """A short training on eight Gaussians, after every step."""
    torch.manual_seed(0)
    options = {
        "hidden": 64, "ema": 40.0, "steps": 300, "lr": 5e-3, "batch_size": 200, **options
    }  # fmt: skip
    recipe = dataclasses.replace(catalogue.build(name, PLANE, **options), warmup=30)
    training = Training(recipe)

    def examples():
        while True:
            yield Batch(RING.sample(recipe.batch_size))

    for _ in train(training, examples(), Budget(steps=recipe.steps)):
        yield training


def apart(training, **options):
    x = draw(training.sampled.eval(), 1000, batch=1000, **options)
    return energy_distance(x, RING.sample(4000))


@pytest.mark.parametrize(("name", "options"), LEARNERS)
def test_a_short_training_learns_eight_gaussians(name, options):
    *_, training = lesson(name, **options)
    assert energy_distance(torch.randn(1000, 2), RING.sample(4000)) > 0.04
    assert apart(training) < 0.015


def test_reflow_makes_a_single_step_do():
    for training in lesson("rectified-flow", solver_steps=4, first_part=0.5):
        if training.step == 150:
            assert apart(training, steps=10) < 0.03
            assert apart(training, steps=1) > 0.3
    assert apart(training, steps=10) < 0.015
    assert apart(training, steps=1) < 0.03


COMMON = ("edm", "flow-matching", "rectified-flow", "score-sde", "ncsn", "improved-ddpm")


@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (DataSpec((1, 9, 8), Bytes(16), cond=class_spec(3)), {"network": "dit", "hidden": 16}),
        (
            DataSpec((1, 9, 8), Bytes(16), cond=class_spec(3)),
            {"channels": (8, 16), "guidance": 1.0},
        ),
        (DataSpec((6,), Categorical(3)), {"network": "unet", "channels": (8, 8)}),
        (DataSpec((6,), Binary(), cond=class_spec(2)), {"network": "dit", "hidden": 16}),
    ],
)
def test_every_network_serves_every_recipe(name, spec, options):
    model = catalogue.build(name, spec, **options, sampling_steps=3).model.eval()
    for p in model.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.05)
    cond = torch.arange(5) % spec.classes if spec.classes else None
    x = draw(model, 5, cond=cond)
    assert x.shape == (5, *spec.shape)
    assert torch.allclose(draw(model, 5, cond=cond, batch=2), x, atol=1e-4)
    assert model.elbo(x, cond).shape == (5,)


@pytest.mark.parametrize("name", COMMON)
def test_what_recipes_refuse(name):
    for spec, options, match in (
        (DataSpec((2, 3)), {}, "images or vectors"),
        (PLANE, {"drop_label": 0.0}, "drop-label"),
        (PLANE, {"blocks": 0}, "--blocks must be at least 1"),
        (DataSpec((1, 8, 8)), {"channels": ()}, "--channels must be one number or more"),
        (DataSpec((1, 8, 8)), {"network": "mlp"}, "--network mlp must have vectors"),
    ):
        with pytest.raises(RecipeError, match=f"{name}: .*{match}"):
            catalogue.build(name, spec, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edm", {"data_std": 0.0}),
        ("edm", {"noise_std": -1.0}),
        ("score-sde", {"sigma_max": 0.01}),
        ("score-sde", {"sigma_max": 0.012}),  # twice the least noise lies beyond the most
        ("ncsn", {"sigma_max": 0.0}),
        ("ncsn", {"levels": 1}),
        ("ncsn", {"langevin_steps": 0}),
        ("improved-ddpm", {"share": 0.0}),
        ("rectified-flow", {"solver_steps": 0}),
    ],
)
def test_numbers_out_of_range_are_refused(name, options):
    with pytest.raises(RecipeError, match=f"^{name}: --"):
        catalogue.build(name, PLANE, **options)


@pytest.mark.parametrize("name", [n for n in COMMON if n != "improved-ddpm"])
def test_defaults_of_sampling_are_samplers_that_there_are(name):
    model = catalogue.build(name, PLANE, hidden=8).model
    assert isinstance(model, Diffusion)
    assert model.sampler in SAMPLERS or not isinstance(model.sampler, str)
