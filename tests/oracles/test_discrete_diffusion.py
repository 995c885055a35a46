"""Diffusion of tokens against enumeration: three elements of three values with a known joint
distribution, and a network that knows every posterior of it.
"""

import itertools
import math

import pytest
import torch

from pofx.diffusion.d3pm import D3PM
from pofx.diffusion.discrete import Absorbing, TokenDiffusion, Uniform
from pofx.diffusion.mdlm import MDLM
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")

D, K = 3, 3
SPEC = DataSpec((D,), Categorical(K))
ALL = torch.cartesian_prod(*[torch.arange(K)] * D)
PROCESSES = {"absorbing": Absorbing, "uniform": Uniform}


def joint(seed=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(K**D, generator=g, dtype=torch.float64).mul(1.5).softmax(0)


class Exact(torch.nn.Module):
    """Log p(x_i | x_t) of every element, by summing over all 27 examples."""

    def __init__(self, process, p):
        super().__init__()
        self.process, self.p, self.model = process, p, None

    def forward(self, k_t, t, cond):
        alpha = self.model.alpha(t.double())[:, None, None]
        if isinstance(self.process, Absorbing):
            alpha = torch.full_like(alpha, 0.5)  # it cancels
        same = (k_t[:, None] == ALL).double()
        if isinstance(self.process, Absorbing):
            likelihood = alpha * same + (1 - alpha) * (k_t[:, None] == K)
        else:
            likelihood = alpha * same + (1 - alpha) / K
        weight = self.p * likelihood.prod(2)  # (n, 27)
        marginal = torch.einsum("ne,edk->ndk", weight, torch.nn.functional.one_hot(ALL, K).double())
        return marginal.clamp(min=1e-300).log()


class Wrong(torch.nn.Module):
    """Any network: a table of every noisy example."""

    def __init__(self, tokens, levels=K, size=D):
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.table = torch.randn(tokens**size, size, levels, generator=g, dtype=torch.float64)
        self.base = tokens ** torch.arange(size)

    def forward(self, k_t, t, cond):
        return self.table[(k_t * self.base).sum(1)]


def exact(kind, process, p, **options):
    noise = PROCESSES[process](K)
    network = Exact(noise, p)
    model = kind(SPEC, noise, network, **options)
    object.__setattr__(network, "model", model)
    return model


def transition(process, kept):
    """One step's matrix: row i is q(x_t | x_s = i)."""
    eye = torch.eye(K)
    if process == "uniform":
        return kept * eye + (1 - kept) / K
    matrix = torch.zeros(K + 1, K + 1)
    matrix[:K, :K], matrix[:K, K], matrix[K, K] = kept * eye, 1 - kept, 1
    return matrix


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("alpha", "alpha_s"), [(0.3, 0.7), (0.0, 0.2), (0.9, 1.0)])
def test_a_step_back_is_bayes_rule_with_the_matrices(process, alpha, alpha_s):
    noise = PROCESSES[process](K)
    before, step = transition(process, alpha_s), transition(process, alpha / alpha_s)
    whole = before @ step
    assert torch.allclose(whole, transition(process, alpha), atol=1e-14)
    guess = torch.rand(1, noise.tokens, K).softmax(2)
    for t in range(noise.tokens):
        if not whole[:K, t].any():
            continue
        possible = whole[:K, t] > 0
        posterior = before[:K] * step[:, t] / whole[:K, t].clamp(min=1e-300)[:, None]  # (x0, x_s)
        p = torch.where(possible, guess[0, t], 0.0)
        p = p / p.sum()
        found = noise.back(torch.full((1, 1), t), p.log().expand(1, 1, K), alpha, alpha_s)
        assert torch.allclose(found[0, 0], p @ posterior, atol=1e-12)


def enumerated(model, process, x, steps):
    """The bound of one example, -log p(x) <= this, by every path's matrices."""
    total = model.prior_kl()
    states = torch.cartesian_prod(*[torch.arange(model.process.tokens)] * D)
    for k in range(1, steps + 1):
        a, s = (float(model.alpha(torch.tensor(v / steps))) for v in (k, k - 1))
        whole, before, step = (
            transition(process, a),
            transition(process, s),
            transition(process, a / s),
        )
        weight = whole[x, states].prod(1)
        log_p = model.log_guess(states, torch.full((len(states),), k / steps))
        p = model.process.back(states, log_p, a, s)
        rows = weight > 0
        q = before[x] * step.T[states[rows]]
        q = q / q.sum(2, keepdim=True)
        each = (torch.xlogy(q, q) - torch.xlogy(q, p[rows])).sum((1, 2))
        total += (weight[rows] * each).sum()
    return float(total)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("network", ["exact", "wrong"])
def test_the_bound_of_a_chain_is_the_enumerated_one(process, network):
    p, steps, n = joint(), 4, 40_000
    if network == "exact":
        model = exact(D3PM, process, p, chain=steps)
    else:
        noise = PROCESSES[process](K)
        model = D3PM(SPEC, noise, Wrong(noise.tokens), chain=steps)
    for i in (0, 14):
        draws = -model.elbo(ALL[i].double().expand(n, D))
        stderr = float(draws.std() / math.sqrt(n))
        expected = enumerated(model, process, ALL[i], steps)
        assert draws.mean().item() == pytest.approx(expected, abs=5 * stderr)
        assert stderr < 0.1


@pytest.mark.parametrize("process", PROCESSES)
def test_with_the_true_posterior_a_longer_chain_approaches_the_entropy_from_above(process):
    p, gaps = joint(), []
    entropy = -float((p * p.log()).sum())
    for steps in (2, 8, 24):
        model = exact(D3PM, process, p, chain=steps)
        bound = sum(
            float(w) * enumerated(model, process, x, steps) for w, x in zip(p, ALL, strict=True)
        )
        gaps.append(bound - entropy)
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.15 * gaps[0]


def subsets(size=D):
    for bits in itertools.product([False, True], repeat=size):
        yield torch.tensor(bits)


def cost(model, x, masked):
    """Cross-entropy of the masked elements."""
    k_t = torch.where(masked, K, x)[None]
    log_p = model.log_guess(k_t, torch.zeros(1))[0]
    return float(-(log_p.gather(1, x[:, None])[:, 0] * masked).sum())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_masked_bound_is_the_integral_over_any_schedule(schedule):
    """The weighted cross-entropy of eq. 8, integrated over time by quadrature."""
    model = MDLM(SPEC, Absorbing(K), Wrong(K + 1), schedule)
    x, n = ALL[17], 40_000
    costs = {int(m.sum()): [] for m in subsets()}
    for m in subsets():
        costs[int(m.sum())].append(cost(model, x, m))
    t = ((torch.arange(4000) + 0.5) / 4000).requires_grad_()
    alpha = model.alpha(t)
    (slope,) = torch.autograd.grad(alpha.sum(), t)
    alpha = alpha.detach()
    rate = sum(alpha ** (D - size) * (1 - alpha) ** size * sum(c) for size, c in costs.items())
    integral = float((-slope / (1 - alpha) * rate).mean())
    by_count = sum(D / size * sum(c) / len(c) for size, c in costs.items() if size) / D
    assert integral == pytest.approx(by_count, abs=1e-5)
    draws = -model.elbo(x.double().expand(n, D))
    stderr = float(draws.std() / math.sqrt(n))
    assert draws.mean().item() == pytest.approx(by_count, abs=5 * stderr)


def test_with_the_true_conditionals_the_masked_bound_is_the_likelihood_itself():
    p = joint()
    model = exact(MDLM, "absorbing", p)
    for x, log_p in zip(ALL, p.log(), strict=True):
        sizes = [[], [], [], []]
        for m in subsets():
            sizes[int(m.sum())].append(cost(model, x, m))
        bound = sum(sum(c) / len(c) / size for size, c in enumerate(sizes) if size)
        assert bound == pytest.approx(-float(log_p), abs=1e-10)


def test_a_long_chain_of_masks_has_the_bound_of_continuous_time():
    noise = Absorbing(K)
    x = ALL[5]
    sizes = [[], [], [], []]
    continuous = MDLM(SPEC, noise, Wrong(K + 1))
    for m in subsets():
        sizes[int(m.sum())].append(cost(continuous, x, m))
    limit = sum(sum(c) / len(c) / size for size, c in enumerate(sizes) if size)
    gaps = [
        enumerated(D3PM(SPEC, noise, Wrong(K + 1), chain=t), "absorbing", x, t) - limit
        for t in (8, 16, 32)
    ]
    assert abs(gaps[1]) < 0.6 * abs(gaps[0])
    assert abs(gaps[2]) < 0.6 * abs(gaps[1])


def frequencies(x):
    index = (x.long() * torch.tensor([9, 3, 1])).sum(1)
    return torch.bincount(index, minlength=27) / len(x)


def distance(found, p):
    """Pearson's statistic for each example, about 26 / n where p is the truth."""
    return float(((found - p) ** 2 / p).sum())


@pytest.mark.parametrize(
    ("kind", "process"), [(MDLM, "absorbing"), (D3PM, "absorbing"), (D3PM, "uniform")]
)
def test_samples_of_the_true_posterior_have_the_joint_law(kind, process):
    """In one step elements are independent, in many they are not."""
    p, n = joint(), 6000
    model = exact(kind, process, p)
    one_hot = torch.nn.functional.one_hot(ALL, K).double()
    each = torch.einsum("e,edk->dk", p, one_hot)
    independent = torch.einsum("a,b,c->abc", *each).flatten()
    few, many = (frequencies(draw(model, n, steps=s, batch=n)) for s in (1, 60))
    bar = 62 / n  # five standard deviations above 26 / n
    assert distance(few, independent) < bar
    assert distance(many, p) < bar
    assert distance(few, p) > 20 * bar


def test_the_rest_of_what_is_begun_is_drawn_from_its_conditional():
    p, n = joint(), 6000
    model = exact(MDLM, "absorbing", p, steps=30)
    known = torch.tensor([True, False, False])
    x = torch.tensor([2.0, float("nan"), float("nan")]).expand(n, D)
    done = model.complete(x, known)
    assert torch.equal(done[:, known], x[:, known])
    expected = torch.where(ALL[:, 0] == 2, p, 0.0)
    found = frequencies(done)
    assert not found[expected == 0].any()
    expected, found = expected[18:] / expected.sum(), found[18:]
    assert distance(found, expected) < (8 + 5 * 4) / n


def test_columns_of_fewer_values_never_get_one_that_they_lack():
    spec = DataSpec((3,), Mixed((Categorical(4), Binary(), Bytes(3))))
    noise = Uniform(4)
    model = D3PM(spec, noise, Wrong(4, 4, 3), chain=20, steps=7)
    x = draw(model, 300)
    assert x[:, 0].unique().tolist() == [0, 1, 2, 3]
    assert x[:, 1].unique().tolist() == [0, 1]
    assert x[:, 2].unique().tolist() == [-1, 0, 1]
    assert model.elbo(x).isfinite().all()
    log_p = model.log_guess(model.indices(x), torch.zeros(300))
    assert torch.allclose(log_p.exp().sum(2), torch.ones(300, 3))


class Classes(torch.nn.Module):
    """Says of class c that every element is c."""

    def forward(self, k_t, t, cond):
        logits = torch.zeros(*k_t.shape, K)
        if cond is not None:
            logits[torch.arange(len(k_t)), :, cond] = 1.0
        return logits


def test_guidance_exaggerates_the_class():
    model = MDLM(DataSpec((D,), Categorical(K), cond=class_spec(K)), Absorbing(K), Classes())
    cond, n = torch.full((6000,), 2), 6000
    for w in (-1.0, 0.0, 2.0):
        share = (draw(model, n, cond=cond, steps=3, guidance=w, batch=n) == 2).double().mean()
        expected = math.exp(1 + w) / (math.exp(1 + w) + K - 1)
        assert share.item() == pytest.approx(expected, abs=0.02)


def test_what_is_refused():
    from pofx import catalogue

    model = MDLM(SPEC, Absorbing(K), Wrong(K + 1))
    with pytest.raises(UserError, match="at least 1 step"):
        model.sample(2, steps=0)
    for name in ("d3pm", "mdlm"):
        for spec, options, match in (
            (DataSpec((2,), Real()), {}, "must be discrete"),
            (SPEC, {"drop_label": 0.0}, "drop-label"),
            (SPEC, {"width": 10, "heads": 4}, "multiple of --heads"),
        ):
            with pytest.raises(RecipeError, match=match):
                catalogue.build(name, spec, **options)


def test_every_model_of_the_room_is_one():
    assert issubclass(D3PM, TokenDiffusion)
    assert issubclass(MDLM, TokenDiffusion)
