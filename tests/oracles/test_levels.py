"""Yardsticks of bits and categories against enumeration and closed forms, in float64."""

import itertools
import math

import pytest
import torch

from pofx import catalogue
from pofx.capabilities import Bound, Density
from pofx.classical.gmm import DequantizedGMM
from pofx.classical.kde import DequantizedKDE
from pofx.classical.latent_classes import LatentClasses
from pofx.classical.smoothed_levels import SmoothedLevels
from pofx.evaluation.check import check_model
from pofx.functional.draw import draw
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Mixed, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")

NAMES = ("gmm", "kde")
TABLE = DataSpec(
    (3,), Mixed((Categorical(3), Binary(), Categorical(4))), cond=class_spec(2), count=90
)
PICTURE = DataSpec((1, 2, 2), Binary(), count=90)


def examples(spec, n=90):
    """Levels that lean on each other, the first of them the likeliest, and classes."""
    common = torch.rand(n, 1)
    levels = torch.tensor([c.levels for c in spec.columns])
    x = ((0.5 * common + 0.5 * torch.rand(n, spec.size)).pow(2) * levels).floor()
    cond = (common[:, 0] > 0.4).long() if spec.classes else None
    return x.reshape(n, *spec.shape), cond


def every(spec):
    each = itertools.product(*(range(c.levels) for c in spec.columns))
    return torch.tensor(list(each)).double().reshape(-1, *spec.shape)


def fitted(name, spec, x, cond=None, **arguments):
    model = catalogue.build(name, spec, **arguments).model
    model.fit(x, cond)
    return model


def frequencies(x, levels):
    counts = torch.stack([torch.bincount(c, minlength=levels) for c in x.long().T])
    return (counts + 0.5) / (len(x) + levels / 2)


@pytest.mark.parametrize("spec", [TABLE, PICTURE], ids=["table", "picture"])
@pytest.mark.parametrize("name", NAMES)
def test_its_masses_sum_to_one_and_samples_follow_them(name, spec):
    x, _ = examples(spec)
    model = fitted(name, spec, x)
    assert isinstance(model, Density)
    assert not isinstance(model, Bound)
    check_model(model, spec)
    states = every(spec)
    p = model.log_prob(states).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    n = 20_000
    drawn = (model.sample(n).flatten(1)[:, None] == states.flatten(1)).all(2)
    assert drawn.sum().item() == n, "a sample is a state"
    found = drawn.sum(0) / n
    assert ((found - p).abs() < 5 * (p / n).sqrt() + 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_class_has_a_mass_of_its_own(name):
    x, cond = examples(TABLE, 200)
    model = fitted(
        name, TABLE, x, cond, conditional=True, **({"components": 3} if name == "gmm" else {})
    )
    states = every(TABLE)
    each = [model.log_prob(states, torch.full((len(states),), c)).exp() for c in (0, 1)]
    assert all(p.sum().item() == pytest.approx(1, abs=1e-12) for p in each)
    assert torch.allclose(model.log_prob(states).exp(), (each[0] + each[1]) / 2)
    drawn = model.sample(4000, torch.ones(4000).long())
    expected = (each[1][:, None] * states).sum(0)
    assert torch.allclose(drawn.mean(0), expected, atol=0.1)
    assert (drawn.mean(0) - model.sample(4000, torch.zeros(4000).long()).mean(0)).abs().max() > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_all_that_a_model_is(name):
    x, cond = examples(TABLE)
    model = fitted(name, TABLE, x, cond)
    other = catalogue.build(name, TABLE).model
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(x), model.log_prob(x))
    assert torch.equal(draw(model, 5, seed=3, batch=2), draw(other, 5, seed=3))


@pytest.mark.parametrize("name", NAMES)
def test_few_equal_or_single_examples_stay_finite(name):
    one = {"components": 1} if name == "gmm" else {}
    for n in (1, 7):
        model = fitted(name, TABLE, torch.tensor([[2.0, 1.0, 3.0]]).repeat(n, 1), **one)
        assert model.log_prob(every(TABLE)).isfinite().all()
    with pytest.raises(RecipeError, match="10 examples, and 9 came"):
        fitted("gmm", TABLE, examples(TABLE, 9)[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_counted_is_a_density_over_cells(name):
    former = {"gmm": DequantizedGMM, "kde": DequantizedKDE}[name]
    for spec in (
        DataSpec((2,), Binary()),  # a run of former days
        DataSpec((2,), Bytes(4), count=9),
        DataSpec((2,), Categorical(257), count=9),
        DataSpec((2,), Mixed((Binary(), Real())), count=9),
    ):
        assert type(catalogue.build(name, spec).model) is former
    mine = {"gmm": LatentClasses, "kde": SmoothedLevels}[name]
    assert type(catalogue.build(name, DataSpec((2,), Binary(), count=9)).model) is mine


def test_a_covariance_asks_for_normal_distributions():
    spec = DataSpec((2,), Binary(), count=9)
    assert type(catalogue.build("gmm", spec, covariance="full").model) is DequantizedGMM


# gmm


@pytest.mark.parametrize("prior", [0.0, 3.0])
@pytest.mark.parametrize("conditional", [False, True])
def test_em_never_loses_likelihood(prior, conditional):
    x, cond = examples(TABLE, 200)
    model = LatentClasses(TABLE, 3, conditional=conditional)
    label = cond if conditional else torch.zeros(200).long()
    turns = list(itertools.islice(model.em(x.long(), label, prior), 30))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(turns))
    assert turns[-1] > turns[0] + 0.01


def test_without_a_prior_what_rises_is_the_likelihood():
    x, _ = examples(TABLE, 200)
    model = LatentClasses(TABLE, 3)
    for reached, _ in zip(model.em(x.long(), torch.zeros(200).long(), 0.0), range(5), strict=False):
        assert reached == pytest.approx(model.log_prob(x).mean().item(), abs=1e-9)


def test_one_component_is_the_frequencies_and_the_prior_leaves_them():
    x, _ = examples(PICTURE)
    flat = x.flatten(1)
    for prior, p in ((0.0, flat.mean(0)), (1e9, frequencies(flat, 2)[:, 1])):
        model = fitted("gmm", PICTURE, x, components=1, prior=prior)
        expected = (flat * p.log() + (1 - flat) * (1 - p).log()).sum(1)
        assert torch.allclose(model.log_prob(x), expected, atol=1e-6)


def test_it_recovers_a_known_mixture():
    p = torch.tensor([[0.9] * 6 + [0.1] * 6, [0.1] * 6 + [0.9] * 6, [0.9, 0.1] * 6])
    owner = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 6000, replacement=True)
    x = torch.bernoulli(p[owner])
    spec = DataSpec((12,), Binary(), count=6000)
    model = fitted("gmm", spec, x, components=3)
    order = model.weights[0].argsort(descending=True)
    assert torch.allclose(model.weights[0][order], torch.tensor([0.5, 0.3, 0.2]), atol=0.03)
    assert torch.allclose(model.p[order].unflatten(1, (-1, 2))[:, :, 1], p, atol=0.05)


def test_of_few_examples_the_prior_is_chosen_so_that_noise_is_not_learned():
    spec = DataSpec((100,), Binary(), count=60)
    x, test = torch.bernoulli(torch.full((2, 60, 100), 0.3))
    p = frequencies(x, 2)[:, 1]
    alone = (test * p.log() + (1 - test) * (1 - p).log()).sum(1).mean()
    assert fitted("gmm", spec, x).log_prob(test).mean() > alone - 1
    assert fitted("gmm", spec, x, prior=1.0).log_prob(test).mean() < alone - 3


# kde


def kernels(x, points, m, blur):
    """Log-mass of each of `x` under the kernel of each point, by its definition."""
    own = m[torch.arange(x.shape[1]), x.long()]
    same = (x[:, None] == points[None]).double()
    return ((1 - blur) * same + blur * own[:, None]).log().sum(2)


def test_kde_is_its_definition():
    spec = DataSpec((5,), Categorical(3), count=40)
    x, _ = examples(spec, 40)
    model = fitted("kde", spec, x, bandwidth="scott")
    blur = 40 ** (-2 / 9)
    assert model.blur.item() == pytest.approx(blur)
    new, _ = examples(spec, 7)
    pairs = kernels(new, x, frequencies(x, 3), blur)
    assert torch.allclose(model.log_prob(new), pairs.logsumexp(1) - math.log(40))


def test_the_widest_kernel_is_that_of_independent_elements():
    x, _ = examples(PICTURE)
    model = fitted("kde", PICTURE, x)
    model.blur.fill_(1.0)
    p = frequencies(x.flatten(1), 2)[:, 1]
    flat = x.flatten(1)
    expected = (flat * p.log() + (1 - flat) * (1 - p).log()).sum(1)
    assert torch.allclose(model.log_prob(x), expected)


def test_the_likeliest_blur_has_no_better_neighbour():
    spec = DataSpec((8,), Binary(), count=50)
    x, _ = examples(spec, 50)
    model = fitted("kde", spec, x)

    def left_out(blur):
        each = []
        for i in range(50):
            rest = torch.cat([x[:i], x[i + 1 :]])
            pairs = kernels(x[i : i + 1], rest, frequencies(rest, 2), blur)
            each.append(pairs.logsumexp(1) - math.log(49))
        return torch.cat(each).mean().item()

    best = model.blur.item()
    assert 0.01 < best < 0.99
    reached = left_out(best)
    assert all(reached >= left_out(best * f) for f in (0.9, 1.1) if best * f < 1)


def test_kde_keeps_at_most_so_many_points_and_every_class():
    x, _ = examples(TABLE, 400)
    cond = (torch.arange(400) < 5).long()
    model = fitted("kde", TABLE, x, cond, points=50, conditional=True)
    assert (model.weights > 0).sum(1).tolist() == [45, 5]
    assert model.sample(9, torch.ones(9).long()).shape == (9, 3)
