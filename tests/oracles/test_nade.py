"""NADE against its own recursion written out, in float64."""

import itertools

import pytest
import torch

from pofx import catalogue
from pofx.autoregressive import nade
from pofx.errors import UserError
from pofx.functional.random import noise
from pofx.spec import Binary, Categorical, DataSpec, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")
SPECS = {
    "bits": DataSpec((12,), Binary()),
    "categories": DataSpec((5,), Categorical(3)),
    "bitmap": DataSpec((2, 2, 3), Binary()),
    "classes": DataSpec((4,), Categorical(3), cond=class_spec(2)),
}


def build(kind, **arguments):
    torch.manual_seed(0)
    spec = SPECS[kind]
    arguments = {"hidden": 9, "conditional": bool(spec.classes)} | arguments
    model = catalogue.build("nade", spec, **arguments).model
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn_like(p)
    return model


def every(spec):
    levels = torch.arange(spec.support.levels, dtype=torch.float64)
    return torch.cartesian_prod(*[levels] * spec.size).view(-1, *spec.shape)


def labels(spec, n):
    return torch.zeros(n, dtype=torch.int64) if spec.classes else None


@pytest.mark.parametrize("block", [64, 5, 1])
@pytest.mark.parametrize("kind", SPECS)
def test_it_is_the_product_of_its_own_conditionals(kind, block, monkeypatch):
    """The definition, element by element with a hidden layer of its own."""
    monkeypatch.setattr(nade, "_BLOCK", block)
    spec, model = SPECS[kind], build(kind)
    x = model.sample(7)
    cond = labels(spec, 7)
    ordered = x.flatten(1)[:, model.orders[0]]
    total = torch.zeros(7)
    for d in range(spec.size):
        a = model.c.expand(7, -1) + (0 if cond is None else model.label(cond))
        for j in range(d):
            if isinstance(spec.support, Binary):
                a = a + (2 * ordered[:, j : j + 1] - 1) * model.W[j]
            else:
                hot = torch.nn.functional.one_hot(ordered[:, j].long(), 3) * 2.0 - 1
                a = a + hot @ model.W[j]
        logits = a.sigmoid() @ model.V[d].t() + model.b[d]
        if isinstance(spec.support, Binary):
            sign = 2 * ordered[:, d] - 1
            total += torch.nn.functional.logsigmoid(sign * logits[:, 0])
        else:
            total += logits.log_softmax(1).gather(1, ordered[:, d : d + 1].long())[:, 0]
    assert torch.allclose(model.log_prob(x, cond), total, atol=1e-12)


@pytest.mark.parametrize("kind", SPECS)
def test_probabilities_of_all_strings_sum_to_one(kind):
    assert abs(build(kind).log_prob(every(SPECS[kind])).exp().sum().item() - 1) < 1e-10


def test_parameters_see_exactly_the_elements_before_theirs():
    model, n = build("bits"), 12
    x = torch.rand(n)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: model.parameters_of(model.seen(v[None]), None)[0, :, 0], x
    )
    for d, j in itertools.product(range(n), repeat=2):
        assert bool(jacobian[d, j] != 0) == (j < d)


@pytest.mark.parametrize("kind", SPECS)
def test_samples_follow_the_probabilities(kind):
    """Pearson's chi-square over all strings, or over the first elements of long ones."""
    spec, model, n = SPECS[kind], build(kind), 20_000
    x = every(spec)
    for cond in (None, 1) if spec.classes else (None,):
        drawn = model.sample(n, None if cond is None else torch.full((n,), cond))
        label = None if cond is None else torch.full((len(x),), cond)
        p = model.log_prob(x, label).exp()
        places = spec.support.levels ** torch.arange(spec.size)
        found = torch.bincount((drawn.flatten(1) @ places.double()).long(), minlength=len(x))
        expected = n * torch.zeros_like(p).scatter_(0, (x.flatten(1) @ places.double()).long(), p)
        kept = expected > 5
        chi = ((found - expected)[kept] ** 2 / expected[kept]).sum().item()
        assert abs(chi - kept.sum()) < 5 * (2 * kept.sum()) ** 0.5


@pytest.mark.parametrize("kind", SPECS)
def test_a_sample_completed_by_its_own_noise_is_itself(kind):
    spec, model = SPECS[kind], build(kind)
    cond = labels(spec, 6)
    known = torch.zeros(spec.size, dtype=torch.bool)
    known[model.orders[0][: spec.size // 2]] = True
    with noise(3, 6):
        x = model.sample(6, cond)
    with noise(3, 6):
        assert torch.equal(model.complete(x, known.view(spec.shape), cond), x)


@pytest.mark.parametrize(
    ("spec", "arguments", "said"),
    [
        (DataSpec((2,), Real()), {}, "use made"),
        (SPECS["bits"], {"conditional": True}, "--conditional"),
        (SPECS["bits"], {"weight_decay": -1.0}, "--weight-decay"),
        (SPECS["bits"], {"hidden": 0}, "--hidden"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused_by_name(spec, arguments, said):
    with pytest.raises(UserError, match=said):
        catalogue.build("nade", spec, **arguments)
