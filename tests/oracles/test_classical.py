"""The yardsticks against closed forms and scikit-learn, in float64."""

import itertools
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logit
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch.distributions import MultivariateNormal

from pofx import catalogue
from pofx.capabilities import Bound, Density, Latent
from pofx.classical.covariance import Covariance
from pofx.classical.gmm import GMM, DequantizedGMM
from pofx.classical.kde import KDE, DequantizedKDE
from pofx.classical.leave_one_out import Examples
from pofx.classical.ppca import PPCA, DequantizedPPCA
from pofx.evaluation.check import check_model
from pofx.functional.dequantize import dequantize, values
from pofx.functional.draw import draw
from pofx.functional.random import noise as noise_of
from pofx.recipe import RecipeError
from pofx.run import Run
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec
from pofx.training.fit import Interrupted, fit, resume

NAMES = ("ppca", "gmm", "kde")
SPECS = {
    "vector": DataSpec((2,), Real()),
    "interval": DataSpec((2,), Interval()),
    "picture": DataSpec((1, 4, 4), Bytes(17), cond=class_spec(3)),
    "smooth": DataSpec((1, 4, 4), Interval()),
    "table": DataSpec((5,), Mixed((Real(), Categorical(3), Binary(), Interval(), Bytes(7)))),
}
DIGITS = torch.from_numpy(load_digits().data / 16)


def examples(spec, n=200, seed=0):
    g = torch.Generator().manual_seed(seed)
    columns = []
    for support in spec.columns:
        if support.discrete:
            pair = torch.randint(0, support.levels, (2, n), generator=g)
            columns.append(values(pair.amin(0), support))
        elif isinstance(support, Interval):
            columns.append(torch.rand(n, generator=g) * 1.6 - 0.8)
        else:
            columns.append(torch.randn(n, generator=g) * 3 - 1)
    cond = torch.arange(n) % spec.classes if spec.classes else None
    return torch.stack(columns, 1).reshape(n, *spec.shape).float(), cond


def fitted(name, spec, x=None, cond=None, **arguments):
    model = catalogue.build(name, spec, **arguments).model
    if x is None:
        x, cond = examples(spec)
    model.fit(x, cond)
    return model


def eight(n=4000, sd=0.1):
    """Eight Gaussians on a circle of radius 2, and where they are."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = 2 * torch.stack([angles.cos(), angles.sin()], 1)
    which = torch.arange(n) % 8
    return means[which] + sd * torch.randn(n, 2, dtype=torch.float64), means, which


# every yardstick


@pytest.mark.parametrize("support", [Binary(), Bytes(17), Bytes(256), Categorical(3)], ids=str)
def test_where_a_discrete_value_lies_over_its_cell(support):
    model = PPCA(DataSpec((support.levels,), support), 1)
    x = values(torch.arange(support.levels), support)[None]
    y, noise = model.spread(x.double())
    for k in {0, 1, support.levels // 2, support.levels - 1}:
        cell, c = (2 * k / support.levels - 1, 2 * (k + 1) / support.levels - 1), model.c[0].item()
        first, second = (
            quad(lambda x, p=p, c=c: logit(0.5 + 0.5 * c * x) ** p, *cell)[0] * support.levels / 2
            for p in (1, 2)
        )
        assert y[0, k].item() == pytest.approx(first, abs=1e-3)
        assert noise[0, k].item() == pytest.approx(second - first**2, rel=0.02)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_it_says_on_every_kind_of_data(name, kind):
    spec = SPECS[kind]
    model = fitted(name, spec)
    discrete = any(c.discrete for c in spec.columns)
    assert isinstance(model, Bound if discrete else Density)
    assert not isinstance(model, Density if discrete else Bound)
    assert isinstance(model, Latent) == (name == "ppca")
    ran = check_model(model, spec)
    assert ("integral" in ran) == (kind in ("vector", "interval"))


@pytest.mark.parametrize("kind", ["vector", "table"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_all_that_a_model_is(name, kind):
    spec = SPECS[kind]
    model = fitted(name, spec)
    other = catalogue.build(name, spec).model
    other.load_state_dict(model.state_dict())
    assert all(bool(t.isfinite().all()) for t in model.state_dict().values())
    x, _ = examples(spec, 9, seed=5)
    ask = "log_prob" if isinstance(model, Density) else "elbo"
    with noise_of(0, 9):
        expected = getattr(model, ask)(x)
    with noise_of(0, 9):
        assert torch.equal(getattr(other, ask)(x), expected)
    assert torch.equal(draw(model, 5, seed=3, batch=2), draw(other, 5, seed=3))


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_stays_below_the_mass(name):
    """Of a table small enough for every mass to be had by sampling, and they sum to one."""
    spec = DataSpec((3,), Mixed((Binary(), Categorical(3), Bytes(4))))
    model = fitted(name, spec, *examples(spec, 300))
    states = torch.tensor(
        list(itertools.product(*(values(torch.arange(s.levels), s).tolist() for s in spec.columns)))
    )
    drawn = draw(model, 200_000, batch=50_000)
    seen = (drawn[:, None] - states).abs().amax(2) < 1e-4
    mass = seen.double().mean(0)
    assert mass.sum().item() == pytest.approx(1)
    bound = torch.stack([model.elbo(states) for _ in range(400)]).double().mean(0)
    error = (mass / 200_000).sqrt() + 1e-5
    assert bool((bound.exp() <= mass + 4 * error).all())
    assert bound.exp().sum() > 0.3  # it says something


@pytest.mark.parametrize("name", NAMES)
def test_a_column_that_never_varies_and_a_repeated_row_stay_finite(name):
    x = torch.cat([torch.randn(50, 2), torch.full((50, 1), 3.0)], 1)
    x = torch.cat([x, x])
    model = fitted(name, DataSpec((3,), Real()), x)
    assert model.log_prob(x).isfinite().all()
    assert torch.allclose(model.sample(100)[:, 2], torch.tensor(3.0), atol=4.0)
    same = fitted(name, DataSpec((3,), Real()), torch.full((40, 3), 0.1))
    assert same.log_prob(torch.zeros(2, 3)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_units_do_not_matter(name):
    """Data in other units, far from zero, has the density that the Jacobian says."""
    mix, spec = torch.tensor([[1.0, 0.5], [0.0, 0.3]], dtype=torch.float64), DataSpec((2,))
    x = torch.randn(300, 2, dtype=torch.float64) @ mix
    units = torch.tensor([100.0, 100.0] if name == "ppca" else [1e-3, 1e4], dtype=torch.float64)
    y = x * units + (units if name == "kde" else 1e5)  # kde keeps its points in float32
    models = []
    for data in (x, y):
        torch.manual_seed(0)
        models.append(fitted(name, spec, data))
    moved = models[1].log_prob(y) + units.log().sum()
    assert torch.allclose(models[0].log_prob(x), moved, atol=1e-4)


@pytest.mark.parametrize("name", ["gmm", "kde"])
def test_a_class_has_a_density_of_its_own(name):
    x, means, which = eight(800)
    spec = DataSpec((2,), Real(), cond=class_spec(8))
    arguments = {"components": 2} if name == "gmm" else {"points": 400}
    model = fitted(name, spec, x, which, conditional=True, **arguments)
    drawn = draw(model, 80, cond=torch.arange(80) % 8)
    assert torch.equal(torch.cdist(drawn.double(), means).argmin(1), torch.arange(80) % 8)
    alone = fitted(name, DataSpec((2,)), x[which == 3], **arguments)
    given = model.log_prob(x[which == 3], which[which == 3])
    assert abs(given.mean() - alone.log_prob(x[which == 3]).mean()) < 0.15
    every = torch.stack([model.log_prob(x, torch.full_like(which, c)) for c in range(8)])
    assert torch.allclose(model.log_prob(x), every.logsumexp(0) - math.log(8))
    assert check_model(model, spec)


@pytest.mark.parametrize(
    ("name", "spec", "arguments", "sentence"),
    [
        ("ppca", DataSpec((4,)), {"latent": 4}, "below the 4 elements"),
        ("ppca", DataSpec((4,)), {"latent": 0}, "at least 1"),
        ("ppca", DataSpec((1,)), {}, "use gmm"),
        ("gmm", DataSpec((4,)), {"components": 0}, "--components must be at least 1"),
        ("gmm", DataSpec((4,)), {"iterations": 0}, "--iterations must be at least 1"),
        ("gmm", DataSpec((4,)), {"conditional": True}, "must have data with classes"),
        ("kde", DataSpec((4,)), {"conditional": True}, "must have data with classes"),
        ("kde", DataSpec((4,)), {"points": 0}, "--points must be at least 1"),
        ("kde", DataSpec((4,), cond=class_spec(3)), {"conditional": True, "points": 2}, "of 3"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_is_told(name, spec, arguments, sentence):
    with pytest.raises(RecipeError, match=sentence):
        catalogue.build(name, spec, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "n", "sentence"),
    [
        ("ppca", {"latent": 3}, 3, "--latent 3 needs at least 4 examples, and 3 came"),
        ("gmm", {"components": 5}, 4, "--components 5 needs at least 5 examples, and 4 came"),
        ("gmm", {"components": 3, "conditional": True}, 7, "3 examples of class 'b', and 2 came"),
        ("kde", {"conditional": True}, 2, "1 examples of class '2', and 0 came"),
    ],
)  # fmt: skip
def test_too_few_examples_are_told(name, arguments, n, sentence):
    spec = DataSpec((5,), Real(), cond=class_spec(3, ("a", "b", "c") if n == 7 else ()))
    cond = torch.tensor([0, 1, 2, 0, 1, 2, 0])[:n]
    with pytest.raises(RecipeError, match=sentence):
        fitted(name, spec, torch.randn(n, 5), cond, **arguments)
    if "conditional" in arguments:
        with pytest.raises(RecipeError, match="labels"):
            fitted(name, spec, torch.randn(n, 5), None, **arguments)


def test_a_signal_ends_a_long_fit_and_a_resume_starts_it_again(monkeypatch):
    def endless(self, x, cond=None):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        pytest.fail("the signal was not heeded")

    with monkeypatch.context() as patch:
        patch.setattr(GMM, "fit", endless)
        with pytest.raises(Interrupted, match=r"start again with `pofx resume run`") as caught:
            fit("gmm", torch.randn(100, 2), out="run", quiet=True)
    assert caught.value.signal == signal.SIGTERM
    assert not Path("run/model.safetensors").exists()
    resume("run", quiet=True)
    weights = Path("run/model.safetensors").read_bytes()
    resume("run", quiet=True)  # is complete, and says so
    assert Path("run/model.safetensors").read_bytes() == weights
    assert Run("run").sample(3).shape == (3, 2)


# ppca


@pytest.mark.parametrize(("k", "nats", "sigma2"), [(2, 0.0057, 0.054117), (8, 14.2098, 0.027329)])
def test_ppca_on_digits(k, nats, sigma2):
    model = fitted("ppca", DataSpec((64,)), DIGITS, latent=k)
    log_prob = model.log_prob(DIGITS)
    assert log_prob.mean() == pytest.approx(nats, abs=1e-3)
    assert model.sigma2 == pytest.approx(sigma2, abs=1e-6)
    covariance = model.loadings @ model.loadings.T + model.sigma2 * torch.eye(
        64, dtype=torch.float64
    )
    normal = MultivariateNormal(DIGITS.mean(0), covariance)
    assert torch.allclose(log_prob, normal.log_prob(DIGITS), atol=1e-8)
    # scikit-learn divides by n - 1; on each row twice over 2n - 1, that is nearer to n
    near = PCA(k).fit(np.tile(DIGITS.numpy(), (50, 1))).score(DIGITS.numpy())
    assert log_prob.mean() == pytest.approx(near, abs=1e-3)


def test_ppca_encodes_to_the_posterior_mean():
    model = fitted("ppca", DataSpec((64,)), DIGITS, latent=5)
    w, r = model.loadings, DIGITS - DIGITS.mean(0)
    m = w.T @ w + model.sigma2 * torch.eye(5, dtype=torch.float64)
    z = model.encode(DIGITS)
    assert torch.allclose(z, torch.linalg.solve(m, w.T @ r.T).T, atol=1e-10)
    expected = DIGITS.mean(0) + z @ w.T
    assert torch.allclose(model.decode(z).double(), expected, atol=1e-6)


def test_ppca_samples_have_its_covariance():
    model = fitted("ppca", DataSpec((64,)), DIGITS, latent=8)
    x = draw(model, 40_000, batch=10_000).double()
    covariance = model.loadings @ model.loadings.T + model.sigma2 * torch.eye(
        64, dtype=torch.float64
    )
    assert (x.T.cov() - covariance).abs().max() < 0.02
    assert (x.mean(0) - DIGITS.mean(0)).abs().max() < 0.02


def test_ppca_of_discrete_data_is_fitted_to_the_mean_over_the_cells():
    spec = DataSpec((1, 8, 8), Bytes(17))
    x = (DIGITS * 2 - 1).float().reshape(-1, 1, 8, 8)
    model = fitted("ppca", spec, x, latent=8)
    y, noise = model.spread(x.double())
    eigenvalues = torch.linalg.eigvalsh(y.T.cov(correction=0) + noise.mean(0).diag())
    assert abs(model.sigma2 / eigenvalues[:56].mean() - 1) < 1e-6
    assert torch.allclose(model.variances, eigenvalues[56:].flip(0), rtol=1e-6)

    def bound():
        with noise_of(1, len(x)):
            return model.elbo(x).mean()

    before = bound()
    for change in (0.9, 1.1):
        model.sigma2 *= change
        assert bound() < before
        model.sigma2 /= change


def test_a_subspace_finds_the_leading_eigenvectors():
    q, _ = torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64))
    eigenvalues = torch.arange(60, 0, -1, dtype=torch.float64) ** 2 / 60 + 0.1
    mean, noise = torch.randn(60, dtype=torch.float64), torch.full((60,), 0.1).double()
    away = q.T * (60 * (eigenvalues - noise)).sqrt()[:, None]
    covariance = Covariance(torch.cat([mean + away, mean - away]), mean, noise)
    assert torch.allclose(covariance.whole(), (q * eigenvalues) @ q.T, atol=1e-10)
    for direct in (10, 60):
        values, axes = covariance.leading(4, direct)
        assert torch.allclose(values, eigenvalues[:4], rtol=1e-6)
        assert torch.allclose((axes.T @ q[:, :4]).abs(), torch.eye(4).double(), atol=1e-3)


@pytest.mark.parametrize("name", ["ppca", "gmm"])
def test_one_that_finds_nothing_is_the_likelihood_of_independent_bits(name):
    spec, x = DataSpec((30,), Binary(), count=80), (torch.rand(80, 30) < 0.2).float()
    model = fitted(name, spec, x, **({} if name == "ppca" else {"covariance": "diagonal"}))
    if name == "ppca":
        model.variances.fill_(1.0)
        model.sigma2.fill_(1.0)
        model.mean.zero_()
    else:
        model.means.zero_()
        model.roots.fill_(1.0)
    p = (x.double().sum(0) + 0.5) / 81
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    assert torch.allclose(model.elbo(x).double(), expected, atol=1e-5)
    drawn = draw(model, 20_000, batch=5_000).double().mean(0)
    assert (drawn - p).abs().max() < 5 * 0.5 / 20_000**0.5


def test_ppca_of_few_bits_is_no_worse_than_independent_ones_and_finds_what_is_there():
    logits = torch.randn(60) - 1
    for apart, gain in ((0.0, -0.2), (1.5, 0.1)):
        sides = torch.stack([logits, logits + apart * torch.randn(60)])
        x = torch.bernoulli(sides[torch.arange(260) % 2].sigmoid())
        x, held_out = x[:60], x[60:]
        p = (x.double().sum(0) + 0.5) / 61
        independent = (held_out * p.log() + (1 - held_out) * (1 - p).log()).sum(1).mean()
        model = fitted("ppca", DataSpec((60,), Binary(), count=60), x)
        found = torch.stack([model.elbo(held_out) for _ in range(20)]).double().mean()
        assert found > independent + gain


def test_variances_of_rows_held_out_are_those_of_the_truth_along_what_was_found():
    d, n = 120, 100
    truth = torch.ones(d, dtype=torch.float64)
    truth[0] = 40.0
    y = torch.randn(n, d, dtype=torch.float64) * truth.sqrt()
    covariance = Covariance(y, y.mean(0), torch.zeros(d, dtype=torch.float64))
    values, axes = covariance.leading(10)
    held_out = covariance.held_out(10, 5)
    along = (axes.square() * truth[:, None]).sum(0)  # of new rows
    assert held_out[0] == pytest.approx(along[0].item(), rel=0.4)
    assert held_out[1:].mean() == pytest.approx(along[1:].mean().item(), rel=0.15)
    assert values[1:].mean() > 2 * along[1:].mean()  # what the rows that found them say


# gmm


@pytest.mark.parametrize("full", [True, False])
def test_gmm_is_scikit_learns_density(full):
    x = DIGITS[:600, 18:24].numpy()
    kind = "full" if full else "diag"
    peer = GaussianMixture(4, covariance_type=kind, random_state=0).fit(x)
    model = GMM(DataSpec((6,)), 4, full=full)
    roots = np.linalg.cholesky(peer.covariances_) if full else np.sqrt(peer.covariances_)
    state = {"weights": peer.weights_[None], "means": peer.means_, "roots": roots}
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    expected = torch.from_numpy(peer.score_samples(x))
    assert torch.allclose(model.log_prob(torch.from_numpy(x)), expected, atol=1e-9)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("collapsing", [False, True])
@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_em_never_loses_likelihood(full, collapsing, prior):
    x = DIGITS[:400, 10:22].clone()
    if collapsing:  # rows repeated and columns tied: without a floor, likelihood has no limit
        x = torch.cat([x[:40].repeat(5, 1), x])
        x[:, 3] = x[:, 4]
    model = GMM(DataSpec((12,)), 6, full=full, prior=prior)
    trace = []
    for risen in itertools.islice(model.em(x), 25):
        trace.append(risen)
        if not prior:
            assert abs(model.log_prob(x).mean() - risen) < 1e-6
    assert all(b - a > -1e-9 for a, b in itertools.pairwise(trace))
    assert trace[-1] - trace[0] > 0.1


def test_em_averages_over_the_noise_of_dequantisation():
    """What rises is a lower bound of the mean bound, and tight where one component answers."""
    spec = DataSpec((12,), Bytes(17))
    x = (DIGITS[:400, 10:22] * 2 - 1).float()
    for components, gap in ((1, 0.0), (6, 1.0)):
        model = DequantizedGMM(spec, components, prior=0.0)
        trace = list(itertools.islice(model.em(x), 25))
        assert all(b - a > -1e-9 for a, b in itertools.pairwise(trace))
        places = (model.to_line(dequantize(x, spec))[0] for _ in range(100))
        draws = torch.stack([model.log_density(y).mean() for y in places])
        error = draws.std() / 10
        assert -5 * error < draws.mean() - trace[-1] < gap + 5 * error


def test_a_prior_keeps_a_component_with_few_examples_sound():
    columns = [18, 19, 20, 21, 26, 27, 28, 33, 34, 35]
    x, new = DIGITS[:60, columns], DIGITS[60:, columns]
    none, some = (
        fitted("gmm", DataSpec((10,)), x, components=10, prior=p).log_prob(new).mean()
        for p in (0.0, 0.5)
    )
    one = MultivariateNormal(x.mean(0), x.T.cov()).log_prob(new).mean()
    assert none < one - 20
    assert one - 5 < some


def test_em_of_classes_never_loses_likelihood():
    x, _, which = eight(400, sd=0.6)
    model = GMM(DataSpec((2,), cond=class_spec(8)), 3, prior=0.0, conditional=True)
    trace = list(itertools.islice(model.em(x, which), 25))
    assert all(b - a > -1e-10 for a, b in itertools.pairwise(trace))
    assert model.log_prob(x, which).mean() == pytest.approx(trace[-1], abs=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_gmm_recovers_eight_gaussians(seed):
    torch.manual_seed(seed)
    x, means, _ = eight()
    model = fitted("gmm", DataSpec((2,)), x, components=8)
    apart, nearest = torch.cdist(means, model.means).min(1)
    assert apart.max() < 0.02
    assert torch.allclose(model.weights[0, nearest], torch.tensor(1 / 8).double(), atol=1e-3)
    deviations = (model.roots @ model.roots.mT).diagonal(dim1=1, dim2=2).sqrt()
    assert torch.allclose(deviations, torch.tensor(0.1).double(), atol=0.01)
    square = 0.01 * torch.eye(2, dtype=torch.float64)
    truth = torch.stack([MultivariateNormal(m, square).log_prob(x) for m in means])
    assert model.log_prob(x).mean() >= (truth.logsumexp(0) - math.log(8)).mean()


def test_gmm_is_as_likely_as_scikit_learns():
    x = DIGITS[:, 18:24]
    ours = fitted("gmm", DataSpec((6,)), x, components=5, prior=0.0).log_prob(x).mean()
    peers = [
        GaussianMixture(5, random_state=s, tol=1e-5, max_iter=300).fit(x.numpy()).score(x.numpy())
        for s in range(3)
    ]
    assert ours > min(peers) - 0.05


def test_one_gaussian_is_the_sample_covariance():
    model = fitted("gmm", DataSpec((10,)), DIGITS[:, 18:28], components=1, prior=0.0)
    assert torch.allclose(
        model.roots[0] @ model.roots[0].T, DIGITS[:, 18:28].T.cov(correction=0), atol=1e-12
    )


def test_a_prior_is_so_many_examples_of_the_covariance_that_all_share():
    """Of one component: (n S + nu W) / (n + nu), and W is S with its correlations lowered."""
    x = DIGITS[:60, [18, 19, 20, 26, 27, 28]]
    n, nu = 60, 0.5 * 6
    s = x.T.cov(correction=0)
    expected = s * (n + nu * (1 - nu / (n + nu))) / (n + nu)
    expected.diagonal().copy_(s.diagonal())
    model = fitted("gmm", DataSpec((6,)), x, components=1, prior=0.5)
    assert torch.allclose(model.roots[0] @ model.roots[0].T, expected, atol=1e-12)
    model = fitted("gmm", DataSpec((6,)), x, components=1, prior=7.0, covariance="diagonal")
    assert torch.allclose(model.roots[0].square(), s.diagonal(), atol=1e-12)


# kde


@pytest.mark.parametrize(("rule", "share"), [("scott", 1.0), ("silverman", 5 / 4)])
def test_the_rules_of_a_conditional_kde_count_the_examples_of_a_class(rule, share):
    x, cond = torch.randn(200, 3), torch.arange(200) % 4
    spec = DataSpec((3,), cond=class_spec(4))
    model = fitted("kde", spec, x, cond, bandwidth=rule, conditional=True)
    widths = (model.roots[:200] / x.double().std(0, correction=0)).mean().item()
    assert widths == pytest.approx((share * 50) ** (-1 / 7), rel=1e-5)


def test_kde_is_scikit_learns_density():
    x = DIGITS[:300, 18:24]
    model = fitted("kde", DataSpec((6,)), x, points=500)
    ask = DIGITS[300:400, 18:24]
    std = x.std(0, correction=0)
    assert torch.allclose(model.roots[0] / std, (model.roots[0] / std).mean())
    peer = KernelDensity(bandwidth=(model.roots[0] / std).mean().item()).fit((x / std).numpy())
    expected = torch.from_numpy(peer.score_samples((ask / std).numpy())) - std.log().sum()
    assert torch.allclose(model.log_prob(ask), expected, atol=1e-4)  # points are float32


@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_kde_has_scikit_learns_rules(rule):
    x = torch.randn(200, 3)
    model = fitted("kde", DataSpec((3,)), x, bandwidth=rule)
    peer = KernelDensity(bandwidth=rule).fit(x.numpy())
    std = x.double().std(0, correction=0)
    assert torch.allclose(model.roots[0] / std, torch.tensor(peer.bandwidth_).double(), rtol=1e-6)


def test_the_likeliest_width_has_no_better_neighbour():
    y, label = torch.randn(300, 3, dtype=torch.float64), torch.arange(300) % 2
    variance, noise = y.var(0), torch.rand(300, 3, dtype=torch.float64)
    noise[:, 0] = 0.0
    h = Examples(y, noise, variance, label).likeliest(1.0)

    def left_out(h):
        sigma2 = h**2 * variance + noise
        log_normal = -0.5 * (((y[:, None] - y) ** 2 + noise[:, None]) / sigma2 + sigma2.log())
        others = (label[:, None] == label) & ~torch.eye(300, dtype=torch.bool)
        return log_normal.sum(2).masked_fill(~others, -math.inf).logsumexp(1).mean()

    assert all(left_out(h) > left_out(h * c) for c in (0.5, 0.9, 0.98, 1.02, 1.1, 2.0))
    twice = Examples(y.repeat(2, 1), noise.repeat(2, 1), variance, label.repeat(2))
    assert twice.likeliest(1.0) == pytest.approx(h, rel=2e-3)
    same = Examples(y[:1].expand(9, 3), noise[:9], variance, label[:9])
    assert same.likeliest(0.7) == 0.7


def test_kde_keeps_at_most_so_many_points_and_every_class():
    x, cond = torch.randn(1000, 2), (torch.arange(1000) < 5).long()
    model = fitted("kde", DataSpec((2,), cond=class_spec(2)), x, cond, points=50, conditional=True)
    assert (model.weights > 0).sum(1).tolist() == [45, 5]
    assert model.means.shape == (50, 2)
    few = fitted("kde", DataSpec((2,)), x[:20], points=50)
    assert (few.weights > 0).sum() == 20
    assert torch.allclose(few.weights.sum(1), torch.ones(1).double())
    assert draw(few, 500).isfinite().all()


def test_discrete_data_has_the_class_that_promises_a_bound():
    spec = SPECS["picture"]
    kinds = [DequantizedPPCA, DequantizedGMM, DequantizedKDE]
    assert [type(fitted(n, spec)) for n in NAMES] == kinds
    assert [type(fitted(n, SPECS["smooth"])) for n in NAMES] == [PPCA, GMM, KDE]
