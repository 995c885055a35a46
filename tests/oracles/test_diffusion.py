"""Diffusion against closed forms: Gaussian data, of which every noisy marginal is known."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pofx import catalogue
from pofx.batch import Batch
from pofx.diffusion import bound
from pofx.diffusion.decoder import log_interval, log_likelihood
from pofx.diffusion.denoiser import Clip, Denoiser, NetworkDenoiser
from pofx.diffusion.guidance import ClassifierFree
from pofx.diffusion.model import Diffusion
from pofx.diffusion.parameterization import X0, Eps, V
from pofx.diffusion.sampler import transition
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.diffusion.samplers.ddim import DDIM
from pofx.diffusion.schedule import VE, VP, CosineVP, Level, LinearVP
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.functional.random import noise
from pofx.nn.unet import UNet
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec

SAMPLERS = {"ddim": DDIM(), "large": Ancestral("large"), "small": Ancestral("small")}
# Final standard deviation of samples of N(0, s^2) data with the exact eps, by (s, steps): DDIM,
# variance beta, variance beta-tilde.
STDS = {
    (1.0, 10): (0.81459, 0.99995, 0.72165),
    (1.0, 20): (0.90820, 0.99995, 0.83701),
    (1.0, 50): (0.96338, 0.99995, 0.92469),
    (1.0, 100): (0.98167, 0.99995, 0.95962),
    (1.0, 1000): (0.99812, 0.99995, 0.99552),
    (0.1, 10): (0.03436, 0.35436, 0.02679),
    (0.1, 20): (0.05392, 0.19548, 0.04553),
    (0.1, 50): (0.07817, 0.12864, 0.06813),
    (0.1, 100): (0.08830, 0.11298, 0.07934),
    (0.1, 1000): (0.09832, 0.10077, 0.09631),
}


pytestmark = pytest.mark.usefixtures("double")


class Gaussian(Denoiser):
    """The best denoiser of N(means[y], std^2) data of class y; no class is the last."""

    def __init__(self, schedule, std, means=(0.0,)):
        super().__init__(schedule, class_spec(len(means) - 1))
        self.std, self.calls = std, 0
        self.register_buffer("means", torch.tensor(means))

    def gain(self, alpha, sigma):
        return alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)

    def denoise(self, x_t, level, cond=None):
        self.calls += 1
        label = torch.full(x_t.shape[:1], -1) if cond is None else cond
        mean = self.means[label].reshape(-1, *(1,) * (x_t.ndim - 1)).to(x_t)
        return mean + self.gain(level.alpha, level.sigma) * (x_t - level.alpha * mean)


class TwoPoints(Denoiser):
    """The best denoiser of +1 with probability p and -1 otherwise."""

    def __init__(self, schedule, p):
        super().__init__(schedule)
        self.half_logit = 0.5 * math.log(p / (1 - p))

    def denoise(self, x_t, level, cond=None):
        return torch.tanh(level.alpha * x_t / level.sigma**2 + self.half_logit)


# --- schedules


def abar(schedule, k):
    return schedule(torch.tensor(k / 1000))[0].item() ** 2


def test_constants_of_the_schedules():
    assert abar(LinearVP(), 1000) == pytest.approx(4.035830e-05, rel=1e-6)
    assert abar(LinearVP(), 500) == pytest.approx(0.078587, abs=5e-7)
    assert abar(CosineVP(), 500) == pytest.approx(0.493844, abs=5e-7)
    assert VP()(torch.tensor(1.0))[0].item() ** 2 == pytest.approx(4.3186e-05, abs=5e-10)
    assert VP()(torch.tensor(1.0))[0].item() ** 2 == pytest.approx(math.exp(-10.05), rel=1e-6)


def test_prior_divergence_of_the_linear_schedule():
    """2.91e-5 bits a dimension where |x0| = 1."""
    chain = bound.Chain(LinearVP(), 1000)
    assert chain.prior_kl(torch.ones(1, 7)).item() / 7 / math.log(2) == pytest.approx(
        2.91e-5, rel=1e-3
    )


@pytest.mark.parametrize("schedule", [LinearVP(20, 0.01, 0.1), VE(0.01, 3.0)])
def test_the_prior_divergence_where_signal_is_left_at_the_end(schedule):
    chain, y = bound.Chain(schedule, 20), torch.randn(5, 2, 3)
    ((alpha, sigma),) = schedule.scales([1.0])
    assert alpha / sigma > 0.3
    end, prior = Normal(alpha * y, sigma), Normal(0.0, schedule.prior_scale)
    expected = kl_divergence(end, prior).flatten(1).sum(1)
    assert torch.allclose(chain.prior_kl(y), expected, atol=1e-9)


@pytest.mark.parametrize("schedule", [LinearVP(), CosineVP(), VP()])
def test_schedules_keep_variance_and_lose_signal(schedule):
    alpha, sigma = schedule(torch.linspace(0, 1, 4321))
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(()), atol=1e-14)
    assert (alpha.diff() < 0).all()
    assert (alpha[0], sigma[0]) == (1, 0)
    single = schedule(torch.linspace(0, 1, 4321, dtype=torch.float32))
    assert single[0].dtype == torch.float32
    assert torch.allclose(single[0].double(), alpha, atol=1e-5)


def test_one_draw_of_x_t_has_the_law_of_the_chained_steps():
    schedule, mean, variance = LinearVP(), 1.0, 0.0
    for k, beta in enumerate(torch.linspace(1e-4, 0.02, 1000).tolist(), 1):
        mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
        if k in (1, 2, 10, 500, 1000):
            alpha, sigma = schedule.scales([k / 1000])[0]
            assert mean == pytest.approx(alpha, rel=1e-10)
            assert variance == pytest.approx(sigma**2, rel=1e-10)
    (t, s), beta = schedule.scales([0.5, 0.499]), torch.linspace(1e-4, 0.02, 1000)[499].item()
    assert transition(t, s) == pytest.approx((math.sqrt(1 - beta), beta), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50, 333, 999, 1000])
def test_grids_fall_from_noise_to_data_and_repeat_no_time(steps):
    for schedule in (LinearVP(), CosineVP(), VP()):
        times = schedule.grid(steps)
        assert len(times) == steps + 1
        assert (times[0], times[-1]) == (1.0, 0.0)
        assert all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize(("schedule", "steps"), [(LinearVP(), 0), (LinearVP(), 1001), (VP(), 0)])
def test_impossible_grids_are_refused(schedule, steps):
    with pytest.raises(UserError, match=r"steps on this schedule|at least 1 step"):
        schedule.grid(steps)


# --- parameterisations and denoisers


@pytest.mark.parametrize("parameterization", [Eps(), X0(), V()])
def test_conversions_round_trip(parameterization):
    x0, eps = torch.randn(2, 50, 3)
    t = torch.linspace(0.001, 1, 50)
    for schedule in (LinearVP(), VP()):
        level = schedule.level(t, 2)
        x_t = level.alpha * x0 + level.sigma * eps
        output = parameterization.target(x0, eps, level)
        assert torch.allclose(parameterization.clean(output, x_t, level), x0, atol=1e-10)
        assert torch.allclose(parameterization.noise(output, x_t, level), eps, atol=1e-10)
        one = Level(t[7:8], level.alpha[7].item(), level.sigma[7].item())
        assert torch.allclose(
            parameterization.clean(output[7:8], x_t[7:8], one), x0[7:8], atol=1e-10
        )


def test_targets_are_what_the_papers_call_them():
    x0, eps, level = torch.randn(4), torch.randn(4), Level(torch.ones(1), 0.6, 0.8)
    assert torch.equal(Eps().target(x0, eps, level), eps)
    assert torch.equal(X0().target(x0, eps, level), x0)
    assert torch.allclose(V().target(x0, eps, level), 0.6 * eps - 0.8 * x0)


def test_score_is_the_gradient_of_the_log_density():
    denoiser = Gaussian(VP(), 0.4, (0.7,))
    x_t, t = torch.randn(30, 2, requires_grad=True), torch.rand(30) * 0.9 + 0.05
    alpha, sigma = denoiser.schedule(t)
    variance = (alpha**2 * 0.4**2 + sigma**2)[:, None]
    log_prob = -0.5 * (x_t - alpha[:, None] * 0.7) ** 2 / variance
    (gradient,) = torch.autograd.grad(log_prob.sum(), x_t)
    model = Diffusion(denoiser, DataSpec((2,), Real()))
    assert torch.allclose(model.score(x_t, t), gradient, atol=1e-10)


def test_guidance_recovers_both_denoisers_in_one_call():
    denoiser = Gaussian(LinearVP(), 0.5, (-1.0, 2.0, 0.3))
    x_t, cond, t = torch.randn(9, 4), torch.arange(9) % 2, torch.rand(9)
    with_class, without = denoiser(x_t, t, cond), denoiser(x_t, t)
    assert torch.equal(ClassifierFree(denoiser, 0.0)(x_t, t, cond), with_class)
    assert torch.equal(ClassifierFree(denoiser, -1.0)(x_t, t, cond), without)
    assert torch.equal(ClassifierFree(denoiser, 3.0)(x_t, t), without)
    denoiser.calls = 0
    assert torch.allclose(
        ClassifierFree(denoiser, 1.5)(x_t, t, cond), 2.5 * with_class - 1.5 * without, atol=1e-12
    )
    assert denoiser.calls == 1


def test_guidance_works_with_one_level_for_the_whole_batch():
    denoiser = Gaussian(LinearVP(), 0.5, (-1.0, 2.0, 0.3))
    x_t, cond, t = torch.randn(6, 4), torch.arange(6) % 2, torch.full((6,), 0.25)
    whole = Level(t, *denoiser.schedule.scales([0.25])[0])
    guided = ClassifierFree(denoiser, 0.7)
    assert torch.allclose(guided.denoise(x_t, whole, cond), guided(x_t, t, cond), atol=1e-12)


def test_clip_bounds_what_is_bounded():
    wild = Gaussian(LinearVP(), 1.0, (5.0,))
    t = torch.full((3,), 0.5)
    assert Clip(wild)(torch.randn(3, 2), t).abs().max() == 1
    each = Clip(wild, torch.tensor([1.0, math.inf]))(torch.randn(3, 2), t)
    assert (each[:, 0] == 1).all()
    assert (each[:, 1] > 2).all()


# --- samplers


def final_std(sampler, schedule, s, steps):
    """The exact standard deviation after sampling: every step is linear in the state."""
    denoiser, variance = Gaussian(schedule, s), 1.0
    for t, u in itertools.pairwise(schedule.scales(schedule.grid(steps))):
        keep, clean, scale = sampler.coefficients(t, u)
        variance = (keep + clean * denoiser.gain(*t)) ** 2 * variance + scale**2
    return math.sqrt(variance)


@pytest.mark.parametrize(("s", "steps"), STDS)
def test_final_std_of_gaussian_data(s, steps):
    found = [final_std(sampler, LinearVP(), s, steps) for sampler in SAMPLERS.values()]
    assert found == pytest.approx(STDS[s, steps], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "column"), [("ddim", 0), ("ancestral", 1), ("ancestral-small", 2)]
)
def test_samples_have_that_std(name, column):
    model = Diffusion(Gaussian(LinearVP(), 0.1), DataSpec((5,), Real()), sampler=name, steps=20)
    x = draw(model, 8000, batch=4000).double()
    expected = STDS[0.1, 20][column]
    assert x.std().item() == pytest.approx(expected, abs=5 * expected / math.sqrt(2 * x.numel()))
    assert x.mean().abs().item() < 5 * expected / math.sqrt(x.numel())


@pytest.mark.parametrize("steps", [2, 7, 100])
def test_each_variance_is_exact_for_its_data(steps):
    """Beta is right for standard normal data, beta-tilde for a single point."""
    schedule, unit, point = LinearVP(), 1.0, (0.0, 1.0)
    for t, s in itertools.pairwise(schedule.scales(schedule.grid(steps))[:-1]):
        keep, clean, scale = Ancestral("large").coefficients(t, s)
        unit = (keep + clean * t[0]) ** 2 * unit + scale**2
        assert unit == pytest.approx(1, abs=1e-10)
        keep, clean, scale = Ancestral("small").coefficients(t, s)
        start = (t[0], t[1] ** 2)  # q(x_t | x0 = 1)
        point = (keep * start[0] + clean, keep**2 * start[1] + scale**2)
        assert point == pytest.approx((s[0], s[1] ** 2), abs=1e-10)


def test_ddim_is_euler_on_rescaled_data_and_ancestral_at_eta_one():
    schedule = LinearVP()
    for t, s in itertools.pairwise(schedule.scales(schedule.grid(17))):
        x_t, x0 = 0.37, -0.8
        keep, clean, scale = DDIM().coefficients(t, s)
        eps = (x_t - t[0] * x0) / t[1]
        euler = s[0] * (x_t / t[0] + (s[1] / s[0] - t[1] / t[0]) * eps)
        assert keep * x_t + clean * x0 == pytest.approx(euler, abs=1e-10)
        assert scale == 0
        assert DDIM(1.0).coefficients(t, s) == pytest.approx(
            Ancestral("small").coefficients(t, s), abs=1e-10
        )


def test_ddim_approaches_the_exact_flow_at_first_order():
    """x(0) = s x(1) for N(0, s^2) data that starts from N(0, 1)."""
    error = [abs(final_std(DDIM(), VP(), 0.5, n) - 0.5) for n in (100, 200, 400)]
    assert 1.7 < error[0] / error[1] < 2.3
    assert 1.7 < error[1] / error[2] < 2.3


def test_ddim_draws_nothing_on_the_way():
    denoiser, times, x = Gaussian(CosineVP(), 0.5), CosineVP().grid(10), torch.randn(3, 2)
    before = torch.get_rng_state()
    one, two = (
        [s.x_t for s in DDIM().trajectory(denoiser, x.clone(), times)][-1] for _ in range(2)
    )
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
    noisy = [s.x_t for s in DDIM(0.5).trajectory(denoiser, x.clone(), times)][-1]
    assert not torch.allclose(noisy, one)


def test_a_trajectory_tells_where_it_is():
    model = Diffusion(Gaussian(LinearVP(), 0.5), DataSpec((2,), Real()), steps=5)
    states = [(s.t, s.x_t.clone(), s.x0) for s in model.trajectory(4)]
    assert [t for t, _, _ in states] == LinearVP().grid(5)[1:]
    assert torch.equal(states[-1][1], states[-1][2])


@pytest.mark.parametrize(
    "options",
    [{}, {"eta": 0.5}, {"sampler": "ancestral"}, {"sampler": "ancestral-small", "guidance": 1.0}],
)
def test_a_sample_is_its_own_for_any_batch(options):
    model = catalogue.build(
        "ddpm", DataSpec((1, 8, 8), Bytes(16), cond=class_spec(3)), channels=(8, 16)
    ).model
    for p in model.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.05)
    cond = torch.arange(7) % 3
    whole = draw(model, 7, cond=cond, steps=4, seed=3, **options)
    parts = draw(model, 7, cond=cond, steps=4, seed=3, batch=2, **options)
    assert torch.allclose(whole, parts, atol=1e-9)
    assert whole.unique().numel() > 1


def test_what_sampling_refuses():
    model = Diffusion(Gaussian(LinearVP(), 1.0), DataSpec((2,), Real()))
    for options, match in (
        ({"sampler": "ddmi"}, "did you mean 'ddim'"),
        ({"sampler": "ancestral", "eta": 0.5}, "eta belongs to"),
        ({"eta": 1.5}, "eta is from 0"),
        ({"steps": 0}, "1 to 1000"),
    ):
        with pytest.raises(UserError, match=match):
            model.sample(2, **options)


# --- the bound


def test_expected_bound_is_the_closed_form_and_below_the_exact_likelihood():
    s, schedule, x = 0.5, LinearVP(), torch.tensor([[0.9]])
    denoiser, spec = Gaussian(schedule, s), DataSpec((1,), Real())
    chain = bound.Chain(schedule, 1000)
    gain = denoiser.gain(chain.alpha, chain.sigma)
    square = (1 - gain * chain.alpha) ** 2 * x.item() ** 2 + (gain * chain.sigma) ** 2
    std = chain.decoder_std
    decoder = -0.5 * square[-1] / std**2 - math.log(std * math.sqrt(2 * math.pi))
    kl = (chain.weights[0] * square[:-1]).sum() + chain.constant + chain.prior_kl(x)
    expected = (decoder - kl).item()

    draws = Diffusion(denoiser, spec).elbo(x.expand(20_000, 1))
    stderr = draws.std().item() / math.sqrt(20_000)
    assert draws.mean().item() == pytest.approx(expected, abs=5 * stderr)
    assert stderr < 0.1

    variance = 1.0  # of the model whose bound this is: the reverse chain, then the decoder
    scales = schedule.scales(schedule.grid(1000))
    for t, u in itertools.pairwise(scales[:-1]):
        keep, clean, scale = Ancestral("large").coefficients(t, u)
        variance = (keep + clean * denoiser.gain(*t)) ** 2 * variance + scale**2
    variance = denoiser.gain(*scales[-2]) ** 2 * variance + std**2
    exact = -0.5 * (x.item() ** 2 / variance + math.log(2 * math.pi * variance))
    assert expected <= exact
    assert expected > exact - 0.02


@pytest.mark.parametrize("support", [Real(), Bytes(5), Interval()], ids=str)
def test_the_bound_of_independent_elements_is_the_sum_of_theirs(support, monkeypatch):
    """At one step of the chain and without noise, so that nothing is left to chance."""
    monkeypatch.setattr(torch, "multinomial", lambda p, n, **_: torch.full((n,), 300))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    denoiser = Gaussian(LinearVP(), 0.5)
    x = torch.randint(5, (4, 2, 1, 3)) / 2.0 - 1
    whole = Diffusion(denoiser, DataSpec((2, 1, 3), support)).elbo(x)
    parts = Diffusion(denoiser, DataSpec((1,), support)).elbo(x.reshape(-1, 1))
    assert torch.allclose(whole, parts.view(4, 6).sum(1), atol=1e-9)


def test_errors_of_discrete_data_weigh_as_the_fall_of_the_signal_to_noise_ratio():
    chain = bound.Chain(LinearVP(), 1000)
    snr = (chain.alpha / chain.sigma) ** 2
    assert torch.allclose(chain.weights[1], 0.5 * snr.diff(), rtol=1e-9)


def test_bound_of_two_points_is_a_little_below_their_entropy():
    p, n = 0.8, 20_000
    model = Diffusion(TwoPoints(LinearVP(), p), DataSpec((1,), Binary()))
    x = (torch.arange(n) < p * n).double()[:, None]
    value = model.elbo(x)
    stderr = value.std().item() / math.sqrt(n)
    log_prob = p * math.log(p) + (1 - p) * math.log(1 - p)
    assert value.mean().item() < log_prob + 4 * stderr
    assert value.mean().item() > log_prob - 0.1


def test_the_decoder_is_a_distribution():
    for support in (Binary(), Bytes(5), Categorical(4)):
        spec = DataSpec((1,), support)
        levels = torch.arange(float(support.levels))
        x = (2 * levels / 4 - 1 if isinstance(support, Bytes) else levels)[:, None]
        width = 4 if isinstance(support, Categorical) else 1
        mu = torch.randn(1, width).expand(len(x), width)
        for std in (0.01, 0.3, 2.0):
            assert log_likelihood(x, mu, std, spec).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_a_category_is_decoded_by_bayes_rule():
    """From normal noise about its +1 and -1s, every category being as likely before."""
    mu, std = torch.randn(6, 4), 0.8
    ends = 2 * torch.eye(4) - 1
    joint = Normal(ends, std).log_prob(mu[:, None]).sum(2)
    x = torch.arange(6.0)[:, None] % 4
    found = log_likelihood(x, mu, std, DataSpec((1,), Categorical(4)))
    assert torch.allclose(found, joint.log_softmax(1).gather(1, x.long())[:, 0], atol=1e-12)


def test_the_decoder_of_a_table_is_that_of_its_columns():
    columns = (Real(), Categorical(3), Binary(), Interval())
    x = torch.tensor([[0.3, 2.0, 1.0, -0.5]])
    mu = torch.randn(1, 6)
    total = log_likelihood(x, mu, 0.4, DataSpec((4,), Mixed(columns)))
    parts = zip(columns, x.unbind(1), mu.split([1, 3, 1, 1], 1), strict=True)
    each = [log_likelihood(v[:, None], m, 0.4, DataSpec((1,), c)) for c, v, m in parts]
    assert total.item() == pytest.approx(sum(v.item() for v in each), abs=1e-10)


def test_intervals_far_out_in_a_tail_keep_their_mass():
    z = torch.tensor([-40.0, 30.0, 3.0])
    found = log_interval(z, z + 0.5)
    expected = [
        -40.0 * 40 / 2 + 40 * 0.5 - 0.125 - math.log(39.5 * math.sqrt(2 * math.pi)),
        -30.0 * 30 / 2 - math.log(30 * math.sqrt(2 * math.pi)),
        math.log(0.5 * (math.erfc(3 / math.sqrt(2)) - math.erfc(3.5 / math.sqrt(2)))),
    ]
    assert found.tolist() == pytest.approx(expected, abs=2e-3)


# --- the objective and the network


def test_loss_at_the_start_is_the_power_of_the_target_and_noise_belongs_to_the_example():
    spec = DataSpec((1, 8, 8), Binary(), cond=class_spec(2))
    built = catalogue.build("ddpm", spec, channels=(8, 16), parameterization="eps")
    x, cond = torch.randint(0, 2, (400, 1, 8, 8)).double(), torch.arange(400) % 2
    assert built.objective.loss(Batch(x, cond))[0].item() == pytest.approx(
        1, abs=0.05
    )  # the network says 0
    for p in built.model.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.05)
    with noise(1, 400):
        whole = built.objective.loss(Batch(x, cond))[0]
    halves = []
    for first in (0, 200):
        with noise(1, 200, first=first):
            halves.append(
                built.objective.loss(Batch(x[first : first + 200], cond[first : first + 200]))[0]
            )
    assert whole.item() == pytest.approx(sum(halves).item() / 2, abs=1e-9)


def test_labels_are_dropped_as_often_as_asked():
    spec = DataSpec((2,), Real(), cond=class_spec(4))
    objective = catalogue.build("ddpm", spec, drop_label=0.25).objective
    labels = objective.labels(torch.arange(10_000) % 4)
    dropped = (labels == -1).double().mean().item()
    assert dropped == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 10_000))
    assert (labels[labels >= 0] == (torch.arange(10_000) % 4)[labels >= 0]).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14), (4, 5, 5), (2, 33, 27)])
def test_the_unet_serves_any_size_and_keeps_examples_apart(shape):
    net = UNet(shape, widths=(8, 16, 16), patch=2 if shape[1] > 20 else 1, cond=class_spec(3))
    x, t, cond = torch.randn(3, *shape), torch.rand(3), torch.tensor([0, 1, 3])
    assert net(x, t, cond).abs().max() == 0
    for p in net.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.05)
    y = net(x, t, cond)
    assert y.shape == x.shape
    assert torch.allclose(net(x[1:2], t[1:2], cond[1:2]), y[1:2], atol=1e-10)
    assert torch.equal(net(x, t)[2], net(x, t, torch.full((3,), 3))[2])
    assert not torch.allclose(net(x, t, cond.flip(0))[0], y[0])
    assert not torch.allclose(net(x, t * 0.5, cond), y)


def test_every_weight_of_the_unet_learns():
    net = UNet((1, 8, 8), widths=(8, 16), cond=class_spec(3))
    for p in net.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.05)
    net(torch.randn(8, 1, 8, 8), torch.rand(8), torch.arange(8) % 4).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


def test_what_the_recipe_refuses():
    for spec, options in (
        (DataSpec((2, 3)), {}),
        (DataSpec((2,)), {"drop_label": 0.0}),
        (DataSpec((1, 8, 8)), {"channels": ()}),
        (DataSpec((1, 8, 8)), {"blocks": 0}),
    ):
        with pytest.raises(RecipeError, match="ddpm: "):
            catalogue.build("ddpm", spec, **options)


def test_a_denoiser_without_classes_leaves_labels_alone():
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x, t, cond):
            seen.append(cond)
            return x

    NetworkDenoiser(Network(), LinearVP(), Eps())(
        torch.randn(2, 3), torch.rand(2), torch.zeros(2).long()
    )
    NetworkDenoiser(Network(), LinearVP(), Eps(), class_spec(5))(
        torch.randn(2, 3), torch.rand(2), torch.ones(2).long()
    )
    assert seen[0] is None
    assert seen[1].tolist() == [1, 1]
