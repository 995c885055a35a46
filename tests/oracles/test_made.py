"""MADE against the chain rule written out, in float64."""

import itertools
import math

import pytest
import torch

from pofx import catalogue
from pofx.autoregressive.autoregressive import raster
from pofx.autoregressive.conditionals import TruncatedLogistic, conditional
from pofx.autoregressive.orders import OrderAfterOrder
from pofx.batch import Batch
from pofx.distributions.heads import head
from pofx.errors import UserError
from pofx.evaluation.check import check_model
from pofx.functional.dequantize import values
from pofx.functional.random import noise
from pofx.nn.masked import Unrolled
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec
from pofx.training.loop import Budget, Training, train

TABLE = Mixed((Real(), Categorical(3), Binary(), Interval(), Bytes(4), Categorical(3)))
SPECS = {
    "bits": DataSpec((5,), Binary()),
    "categories": DataSpec((4,), Categorical(3)),
    "colour": DataSpec((3, 2, 2), Bytes(4)),
    "real": DataSpec((3,), Real()),
    "table": DataSpec((6,), TABLE),
    "classes": DataSpec((4,), Categorical(3), cond=class_spec(2)),
}


def build(spec, **arguments):
    """A model at random weights, none of which is small."""
    torch.manual_seed(0)
    arguments = {"hidden": (12, 9), "components": 3, "conditional": bool(spec.classes)} | arguments
    model = catalogue.build("made", spec, **arguments).model.double()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn_like(p)
    return model


def every(spec):
    """Every example of a discrete spec."""
    levels = [values(torch.arange(s.levels), s).double().tolist() for s in spec.columns]
    return torch.tensor(list(itertools.product(*levels)), dtype=torch.float64).view(-1, *spec.shape)


def learn(recipe, stream):
    training = Training(recipe)
    for _ in train(training, stream, Budget(steps=recipe.steps)):
        pass
    return training.model.double()


@pytest.mark.parametrize(
    "arguments", [{}, {"orders": 2}, {"hidden": (40,), "direct": False}], ids=str
)
@pytest.mark.parametrize("kind", SPECS)
def test_parameters_see_exactly_the_elements_before_theirs(kind, arguments):
    model = build(SPECS[kind], **arguments)
    net = model.net
    for order in model.orders:
        if model.conditional:
            order = torch.cat([torch.zeros(1, dtype=torch.int64), order + 1])
        seen = torch.randn(20, len(net.input_element), dtype=torch.float64)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda x, o=order: net(x[None], o)[0]))(seen)
        for (i, a), (j, b) in itertools.product(enumerate(order.tolist()), repeat=2):
            block = jacobian[:, net.rows[a], net.columns[b]]
            assert bool((block != 0).any()) == (j < i and block.numel() > 0), (i, j)


@pytest.mark.parametrize(
    "arguments", [{}, {"orders": 3}, {"direct": False}, {"hidden": ()}], ids=str
)
@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((12,), Binary()),
        DataSpec((5,), Categorical(3)),
        DataSpec((2, 2, 1), Bytes(5)),
        DataSpec((3,), Mixed((Binary(), Categorical(4), Bytes(3)))),
        DataSpec((1,), Categorical(3)),
    ],
    ids=lambda s: type(s.support).__name__,
)
def test_probabilities_of_all_strings_sum_to_one(spec, arguments):
    assert abs(build(spec, **arguments).log_prob(every(spec)).exp().sum().item() - 1) < 1e-10


def test_a_table_of_categories_and_bounded_numbers_integrates_to_one():
    spec = DataSpec((3,), Mixed((Binary(), Interval(), Categorical(3))))
    model, points = build(spec, orders=2), 4000
    middles = (torch.arange(points, dtype=torch.float64) + 0.5) * 2 / points - 1
    total = 0.0
    for bit, category in itertools.product(range(2), range(3)):
        x = torch.stack([middles * 0 + bit, middles, middles * 0 + category], 1)
        total += model.log_prob(x).exp().sum().item() * 2 / points
    assert abs(total - 1) < 1e-6


@pytest.mark.parametrize("support", [Real(), Interval(), Bytes(2), Bytes(256)], ids=str)
def test_the_conditional_of_a_number_is_normalised_wherever_its_means_are(support):
    own = conditional(support, 3).double()
    parameters = torch.randn(12, own.channels, dtype=torch.float64)
    parameters[:, 3:6] *= 5
    if support.discrete:
        x = values(torch.arange(support.levels), support).double()
        weights = torch.ones_like(x)
    else:
        reach = 1.0 if support == Interval() else 500.0
        x = torch.linspace(-reach, reach, 50_001, dtype=torch.float64)
        weights = (x[1] - x[0]) * torch.ones_like(x)
        weights[[0, -1]] /= 2
    for row in parameters:
        p = own.log_prob(row.expand(len(x), -1), x[:, None]).exp()
        assert abs((p @ weights).item() - 1) < 1e-6


def test_a_bounded_conditional_stays_finite_with_its_gradient_at_every_extreme():
    mean = torch.tensor([-80.0, -1, 0, 1, 80], requires_grad=True)
    for log_scale, x in itertools.product((-7.0, 0.0, 3.0), (-1.0, 0.0, 1.0)):
        log_prob = TruncatedLogistic().log_prob(torch.tensor(x), mean, torch.tensor(log_scale))
        (gradient,) = torch.autograd.grad(log_prob.sum(), mean)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("support", [Real(), Interval()], ids=str)
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_draws_of_a_number_follow_its_density(support, shift):
    """Kolmogorov and Smirnov's distance to the integrated density."""
    own, n = conditional(support, 3).double(), 20_000
    parameters = torch.randn(own.channels, dtype=torch.float64)
    parameters[3:6] += shift
    drawn = own.sample(parameters.expand(n, -1))[:, 0].sort().values
    assert bool((drawn.abs() <= 1).all()) or support == Real()
    reach = 1 if support == Interval() else 60
    grid = torch.linspace(-reach, reach, 100_001, dtype=torch.float64)
    density = own.log_prob(parameters.expand(len(grid), -1), grid[:, None]).exp()
    integral = torch.cumulative_trapezoid(density, grid)
    cdf = integral[torch.searchsorted(grid[1:], drawn).clamp(max=len(integral) - 1)]
    assert (cdf - (torch.arange(n) + 0.5) / n).abs().max() < 2 / n**0.5


@pytest.mark.parametrize("arguments", [{}, {"orders": 3}, {"hidden": (), "direct": False}], ids=str)
@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((4,), Binary()),
        DataSpec((3,), Categorical(3), cond=class_spec(2)),
        DataSpec((2, 2, 1), Bytes(3)),
        DataSpec((3,), Mixed((Binary(), Categorical(4), Bytes(3))), cond=class_spec(3)),
    ],
    ids=lambda s: type(s.support).__name__,
)
def test_samples_follow_the_probabilities(spec, arguments):
    """Pearson's chi-square over all strings, and over classes that nobody named."""
    model, x, n = build(spec, **arguments), every(spec), 20_000
    for cond in (None, *(torch.full((n,), k) for k in range(spec.classes))):
        drawn = model.sample(n, cond)
        label = None if cond is None else cond[: len(x)]
        expected = n * model.log_prob(x, label).exp()
        found = (drawn.flatten(1)[:, None] - x.flatten(1)).abs().sum(2) < 1e-6
        assert bool((found.sum(1) == 1).all())
        kept = expected > 5
        chi = ((found.sum(0) - expected)[kept] ** 2 / expected[kept]).sum().item()
        assert abs(chi - kept.sum()) < 5 * (2 * kept.sum()) ** 0.5


@pytest.mark.parametrize("kind", SPECS)
def test_element_by_element_the_network_is_what_it_is_at_once(kind):
    model = build(SPECS[kind])
    net, order = model.net, model.orders[0]
    if model.conditional:
        order = torch.cat([torch.zeros(1, dtype=torch.int64), order + 1])
    seen = torch.randn(3, len(net.input_element), dtype=torch.float64)
    whole, steps = net(seen, order), Unrolled(net, 3)
    for element in order.tolist():
        assert torch.allclose(steps.outputs(element), whole[:, net.rows[element]], atol=1e-12)
        steps.reveal(element, seen[:, net.columns[element]])


def test_a_likelihood_is_the_sum_of_its_heads():
    """One pass over the parameters, against the heads element by element."""
    spec = SPECS["table"]
    model = build(spec)
    x = model.sample(7)
    parameters = model.net(model.conditionals.seen(x), model.orders[0])
    total = torch.zeros(7, dtype=torch.float64)
    for element, (support, rows) in enumerate(zip(spec.columns, model.net.rows, strict=True)):
        own = conditional(support, 3).double()
        total += own.log_prob(parameters[:, rows], x[:, element : element + 1])
    assert torch.allclose(total, model.log_prob(x), atol=1e-12)
    bits = build(SPECS["bits"])
    x = bits.sample(7)
    logits = bits.net(2 * x - 1, bits.orders[0])
    assert torch.allclose(head(SPECS["bits"]).log_prob(logits, x), bits.log_prob(x), atol=1e-12)


def test_several_orders_are_an_equal_mixture_and_learn_in_turn():
    spec = SPECS["bits"]
    model, x = build(spec, orders=3), every(spec)
    each = torch.stack([model.in_order(order, x, None).exp() for order in model.orders])
    assert torch.allclose(model.log_prob(x), each.mean(0).log(), atol=1e-12)
    assert len({tuple(o.tolist()) for o in model.orders}) == 3
    objective = OrderAfterOrder(model)
    for turn in range(6):
        loss = objective.loss(Batch(x))[0].item()
        assert abs(loss + each[turn % 3].log().mean().item()) < 1e-12
        objective.after_step()


def test_without_a_class_all_classes_are_equally_likely():
    spec = SPECS["classes"]
    model, x = build(spec, orders=2, direct=False), every(SPECS["classes"])
    given = torch.stack([model.log_prob(x, torch.full((len(x),), k)) for k in range(2)])
    assert torch.allclose(given.exp().sum(1), torch.ones(2, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(model.log_prob(x), given.exp().mean(0).log(), atol=1e-12)
    first = [given[k].exp()[x[:, e] == 0].sum() for k in range(2) for e in model.orders[0][:1]]
    assert abs(first[0] - first[1]) > 1e-3


def chain(n, length, flip):
    """Stationary binary Markov chains, which flip with this probability."""
    flips = (torch.rand(n, length) < flip).double()
    flips[:, 0] = (torch.rand(n) < 0.5).double()
    return flips.cumsum(1) % 2


def chain_log_prob(x, flip):
    flips = (x[:, 1:] != x[:, :-1]).double()
    return math.log(0.5) + (flips * math.log(flip) + (1 - flips) * math.log(1 - flip)).sum(1)


@pytest.mark.parametrize("order", ["natural", "random"])
def test_a_markov_chain_is_learned_to_its_entropy_rate(order):
    """Cross-entropy over all strings, so that no test data is drawn: a flip of .1 is .325083 nats
    for each symbol after the first, which is ln 2.
    """
    length, flip, rate = 12, 0.1, 0.325083
    spec = DataSpec((length,), Binary())
    stream = (Batch(chain(100, length, flip).float()) for _ in itertools.count())
    recipe = catalogue.build(
        "made", spec, order=order, hidden=(64,), weight_decay=0.0, lr=3e-3, steps=1500
    )
    model = learn(recipe, stream)
    x = every(spec)
    true = chain_log_prob(x, flip)
    with torch.no_grad():
        nll = -(true.exp() * model.log_prob(x)).sum().item()
    assert -(true.exp() * true).sum().item() == pytest.approx(math.log(2) + 11 * rate, abs=1e-5)
    assert 0 < (nll - math.log(2)) / (length - 1) - rate < 0.003


def test_correlated_gaussians_are_learned_to_their_entropy():
    rho = 0.9
    truth = torch.distributions.MultivariateNormal(
        torch.zeros(2), torch.tensor([[1.0, rho], [rho, 1.0]])
    )
    stream = (Batch(truth.sample((256,))) for _ in itertools.count())
    recipe = catalogue.build("made", DataSpec((2,), Real()), hidden=(64,), lr=3e-3, steps=600)
    model = learn(recipe, stream).float()
    x = truth.sample((20_000,))
    with torch.no_grad():
        gap = (truth.log_prob(x) - model.log_prob(x)).mean().item()
    assert abs(gap) < 0.02


@pytest.mark.parametrize(("kind", "cond"), [("bits", None), ("classes", None), ("classes", 1)])
def test_completions_follow_the_probabilities_given_what_is_known(kind, cond):
    """Pearson's chi-square, over a class and an order that nobody named as well."""
    spec, n = SPECS[kind], 20_000
    model, every_x = build(spec, orders=2), every(spec)
    natural = torch.arange(spec.size)
    model.orders.copy_(
        torch.stack([natural, torch.cat([natural[:2].flip(0), natural[2:].flip(0)])])
    )
    known = torch.arange(spec.size) < 2
    x = torch.full((n, spec.size), float("nan"), dtype=torch.float64)
    x[:, :2] = every_x[-1, :2]
    label = None if cond is None else torch.full((n,), cond)
    drawn = model.complete(x, known, label)
    fits = (every_x[:, :2] == every_x[-1, :2]).all(1)
    label = None if cond is None else label[: int(fits.sum())]
    p = model.log_prob(every_x[fits], label).softmax(0)
    found = (drawn[:, None] == every_x[fits]).all(2)
    assert bool((found.sum(1) == 1).all())
    chi = ((found.sum(0) - n * p) ** 2 / (n * p)).sum().item()
    assert abs(chi - len(p)) < 5 * (2 * len(p)) ** 0.5


@pytest.mark.parametrize("kind", SPECS)
def test_a_sample_completed_by_its_own_noise_is_itself(kind):
    spec, model = SPECS[kind], build(SPECS[kind])
    cond = torch.zeros(6, dtype=torch.int64) if spec.classes else None
    with noise(3, 6):
        x = model.sample(6, cond)
    known = torch.zeros(spec.size, dtype=torch.bool)
    known[model.orders[0][: spec.size // 2]] = True
    with noise(3, 6):
        done = model.complete(x, known.view(spec.shape), cond)
    assert torch.equal(done, x)


def test_what_is_no_prefix_of_the_order_is_refused():
    model, x = build(SPECS["colour"]), torch.zeros(2, 3, 2, 2)
    known = torch.zeros(3, 2, 2, dtype=torch.bool)
    known[:, 1] = True
    with pytest.raises(UserError, match=r"element \(0, 0, 0\) is not among them; .* from the top"):
        model.complete(x, known)
    with pytest.raises(UserError, match="mask of shape"):
        model.complete(x, known[0])
    later = torch.arange(5) > 1
    with pytest.raises(UserError, match=r"order begins with \(\d,\)"):
        build(SPECS["bits"], order="random").complete(torch.zeros(2, 5), later)
    with pytest.raises(UserError, match="in each of its orders"):
        build(SPECS["bits"], orders=2).complete(torch.zeros(2, 5), torch.arange(5) == 3)


def test_pixels_come_row_by_row_with_their_colours_together():
    image = torch.arange(12).view(3, 2, 2)
    assert raster((3, 2, 2)).tolist() == image.permute(1, 2, 0).flatten().tolist()
    assert build(SPECS["colour"]).orders.tolist() == [raster((3, 2, 2)).tolist()]
    assert raster((4,)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", SPECS)
def test_a_model_of_several_orders_means_what_it_says(kind):
    """Among others: an example of a seed is the same in any batch, whichever order it took."""
    assert "split" in check_model(build(SPECS[kind], orders=3).float(), SPECS[kind])


@pytest.mark.parametrize(
    "arguments",
    [
        {"orders": 0},
        {"components": 0},
        {"hidden": (8, 0)},
        {"conditional": True},
        {"weight_decay": -1.0},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_by_name(arguments):
    flag = next(iter(arguments)).replace("_", "-")
    with pytest.raises(UserError, match=f"--{flag}"):
        catalogue.build("made", SPECS["bits"], **arguments)
