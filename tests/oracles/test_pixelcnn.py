"""Models that draw pixel by pixel, against the chain rule written out, in float64."""

import itertools
import math

import pytest
import torch

from pofx import catalogue
from pofx.distributions.logistic_mixture import LogisticMixtureHead
from pofx.errors import UserError
from pofx.functional.dequantize import indices, values
from pofx.functional.random import noise
from pofx.nn.shifted_conv import ShiftedUNet
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")
SPECS = {
    "bits": DataSpec((1, 3, 4), Binary()),
    "colour": DataSpec((3, 2, 2), Bytes(3)),
    "codes": DataSpec((1, 2, 3), Categorical(3)),
    "classes": DataSpec((2, 2, 2), Binary(), cond=class_spec(3)),
    "interval": DataSpec((1, 3, 3), Interval()),
    "real": DataSpec((2, 3, 2), Real()),
    "greys": DataSpec((1, 2, 2), Bytes(3), cond=class_spec(2)),
}
SIZES = {
    "pixelcnn": {"channels": 6, "layers": 2, "first": 1},
    "pixelcnn-pp": {"channels": 6, "blocks": 1},
    "pixelrnn": {"channels": 6, "layers": 2},
}
KEPT = [("pixelcnn", kind, {}) for kind in SPECS]
KEPT += [("pixelcnn", "colour", {"likelihood": "logistic"}), ("pixelcnn", "bits", {"place": False})]
KEPT += [
    ("pixelrnn", kind, {"lstm": lstm})
    for kind in ("bits", "colour", "classes")
    for lstm in ("row", "diagonal")
]
ALL = [*KEPT, *[("pixelcnn-pp", kind, {}) for kind in ("colour", "greys")]]


def build(name, spec, **arguments):
    """A model at random weights, none of which is small."""
    torch.manual_seed(0)
    arguments = SIZES[name] | {"components": 3, "conditional": bool(spec.classes)} | arguments
    known = {p.name for p in catalogue.describe(name).parameters}
    arguments = {k: v for k, v in arguments.items() if k in known}
    model = catalogue.build(name, spec, **arguments).model.double()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn_like(p)
    return model


def every(spec):
    """Every example of a discrete spec."""
    levels = [values(torch.arange(s.levels), s).double().tolist() for s in spec.columns]
    return torch.tensor(list(itertools.product(*levels))).view(-1, *spec.shape)


def labels(spec, n):
    return torch.arange(n) % spec.classes if spec.classes else None


def jacobian(model, size):
    """Whether what comes out for one element moves with another: both in raster order."""
    one = torch.func.jacrev(lambda v: model.net(v[None], None)[0])
    out = torch.func.vmap(one)(torch.randn(8, *size)).abs().amax(0)
    out = out.unflatten(0, (size[0], -1)).sum(1)  # colours, h, w, colours, h, w
    n = math.prod(size)
    return out.permute(1, 2, 0, 4, 5, 3).reshape(n, n) != 0


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize(
    ("name", "arguments", "reach"),
    [
        ("pixelcnn", {"layers": 3, "channels": 24}, 3),
        ("pixelrnn", {"layers": 1, "channels": 24, "lstm": "diagonal"}, 9),
    ],
)
def test_an_element_sees_none_that_is_not_before_it_and_has_no_blind_spot(
    name, arguments, reach, colours
):
    """Of the earlier elements within reach, all; and a net that reaches far enough sees all."""
    size = (colours, 5, 4)
    seen = jacobian(build(name, DataSpec(size, Bytes(3)), **arguments), size)
    n = seen.shape[0]
    before = torch.arange(n)[None] < torch.arange(n)[:, None]
    pixel = torch.arange(n) // colours
    row, column = pixel // 4, pixel % 4
    near = (row[:, None] - row[None] <= reach) & ((column[:, None] - column[None]).abs() <= reach)
    assert torch.equal(seen, before & near)


@pytest.mark.parametrize(("levels", "size"), [(1, (4, 5)), (2, (5, 6)), (3, (7, 6))])
def test_a_pixel_of_every_scale_sees_exactly_those_before_it(levels, size):
    """All colours of a pixel are drawn at once, so that it sees none of its own."""
    torch.manual_seed(0)
    net, n = ShiftedUNet(2, 3, channels=6, blocks=1, levels=levels), math.prod(size)
    one = torch.func.jacrev(lambda v: net(v[None])[0])
    out = torch.func.vmap(one)(torch.randn(3, 2, *size)).abs().amax(0).sum((0, 3))
    before = torch.arange(n)[None] < torch.arange(n)[:, None]
    assert torch.equal(out.reshape(n, n) != 0, before)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(("levels", "size"), [(1, (4, 5)), (2, (5, 6)), (3, (7, 6)), (4, (3, 9))])
def test_pixel_by_pixel_is_the_whole_on_every_scale(levels, size, classes):
    torch.manual_seed(0)
    net = ShiftedUNet(2, 3, channels=4, blocks=2, levels=levels, cond=class_spec(classes))
    x, cond = torch.randn(5, 2, *size), torch.randint(0, 3, (5,)) if classes else None
    steps, out = net.unrolled(5, *size, cond), torch.empty(5, 3, *size)
    for row, column in itertools.product(*map(range, size)):
        if column == 0:
            steps.start(row)
        out[:, :, row, column] = steps.outputs(column)
        steps.reveal(column, x[:, :, row, column])
    assert torch.allclose(out, net(x, cond), atol=1e-12)


def test_a_row_lstm_sees_a_triangle_and_nothing_later():
    size = (1, 5, 6)
    arguments = {"layers": 1, "channels": 24, "lstm": "row"}
    seen = jacobian(build("pixelrnn", DataSpec(size, Bytes(3)), **arguments), size)
    before = torch.arange(30)[None] < torch.arange(30)[:, None]
    assert not (seen & ~before).any()
    row, column = torch.arange(30) // 6, torch.arange(30) % 6
    above, aside = row[:, None] - row[None], (column[:, None] - column[None]).abs()
    assert bool(seen[(above > 0) & (aside <= above)].all())


@pytest.mark.parametrize(
    ("name", "kind", "arguments"), [a for a in ALL if SPECS[a[1]].support.discrete], ids=str
)
def test_probabilities_of_all_images_sum_to_one(name, kind, arguments):
    spec = SPECS[kind] if kind != "colour" else DataSpec((3, 1, 2), Bytes(4))
    model = build(name, spec, **arguments)
    with torch.no_grad():
        total = model.log_prob(every(spec)).exp().sum().item()
    assert abs(total - 1) < 1e-10


@pytest.mark.parametrize(("name", "kind", "arguments"), KEPT, ids=str)
def test_cached_samples_are_those_of_whole_passes(name, kind, arguments):
    spec = SPECS[kind]
    model = build(name, spec, **arguments)
    cond = labels(spec, 9)
    with noise(5, 9):
        cached = model.sample(9, cond)
    with noise(5, 9):
        naive = model.naive(9, cond)
    assert torch.equal(cached, naive) if spec.support.discrete else torch.allclose(cached, naive)
    assert len(cached.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize(("name", "kind", "arguments"), ALL, ids=str)
def test_a_sample_completed_by_its_own_noise_is_itself(name, kind, arguments):
    spec = SPECS[kind]
    model, cond = build(name, spec, **arguments), labels(spec, 6)
    for count in (spec.shape[0], spec.size // 2):
        known = torch.zeros(spec.size, dtype=torch.bool)
        known[model.orders[0][:count]] = True
        known = known.view(spec.shape)
        with noise(3, 6):
            x = model.sample(6, cond)
        with noise(3, 6):
            done = model.complete(torch.where(known, x, torch.nan), known, cond)
        assert torch.equal(done, x)


def test_bits_are_not_drawn_from_logistics():
    with pytest.raises(UserError, match="use pixelcnn"):
        catalogue.build("pixelcnn-pp", SPECS["bits"])
    with pytest.raises(UserError, match="--dropout"):
        catalogue.build("pixelcnn-pp", SPECS["greys"], dropout=1.0)


@pytest.mark.parametrize(
    ("name", "kind"), [("pixelcnn", "classes"), ("pixelcnn-pp", "greys"), ("pixelrnn", "classes")]
)
def test_samples_and_completions_follow_the_probabilities(name, kind):
    """Pearson's chi-square over all images, over a class that nobody named as well."""
    spec, n = SPECS[kind], 3000
    model, x = build(name, spec), every(SPECS[kind])
    known = torch.zeros(spec.size, dtype=torch.bool)
    known[model.orders[0][: spec.size // 2]] = True
    known = known.view(spec.shape)
    begun = x[len(x) * 5 // 7].expand(n, *spec.shape)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    fits = (x[:, known] == begun[0, known]).all(1)
    draws = ((model.sample(n), p), (model.complete(begun, known), torch.where(fits, p, 0)))
    for drawn, weight in draws:
        places = spec.support.levels ** torch.arange(spec.size).flip(0)
        found = (indices(drawn, spec.support).flatten(1) * places).sum(1).bincount(minlength=len(x))
        expected = n * weight / weight.sum()
        kept = expected > 5
        chi = ((found - expected)[kept] ** 2 / expected[kept]).sum().item()
        assert abs(chi - kept.sum()) < 5 * (2 * kept.sum()) ** 0.5


@pytest.mark.parametrize("colours", [1, 2])
def test_a_discretised_logistic_mixture_sums_to_one_over_all_bytes(colours):
    levels = 256 if colours == 1 else 32
    head = LogisticMixtureHead((colours,), levels, 4)
    grid = values(torch.arange(levels), Bytes(levels))
    x = torch.cartesian_prod(*[grid] * colours).view(-1, colours)
    for scale in (0.5, 3.0, 20.0):
        parameters = scale * torch.randn(1, head.channels)
        total = head.log_prob(parameters.expand(len(x), -1), x).exp().sum()
        assert abs(total.item() - 1) < 1e-6


def test_a_pixel_known_in_part_has_the_probability_of_that_part():
    """What is left of the mixture is the sum over all that the last colours may be."""
    head, grid = LogisticMixtureHead((2,), 16, 3), values(torch.arange(16), Bytes(16))
    parameters = torch.randn(1, head.channels)
    both = torch.cartesian_prod(grid, grid)
    p = head.log_prob(parameters.expand(256, -1), both).exp().view(16, 16)
    first = torch.tensor([True, False])
    part = head.each(parameters.expand(16, -1), both.view(16, 16, 2)[:, 3], first).exp()
    assert torch.allclose(part, p.sum(1), atol=1e-12)
    n = 20_000
    x = grid[torch.full((n, 2), 9)]
    drawn = head.complete(parameters.expand(n, -1), x, first)
    assert torch.equal(drawn[:, 0], x[:, 0])
    found = torch.bincount(((drawn[:, 1] + 1) * 7.5).round().long(), minlength=16)
    expected = n * p[9] / p[9].sum()
    kept = expected > 5
    chi = ((found - expected)[kept] ** 2 / expected[kept]).sum().item()
    assert abs(chi - kept.sum()) < 5 * (2 * kept.sum()) ** 0.5


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    ("spec", "arguments", "said"),
    [
        (DataSpec((12,), Binary()), {}, "made for tables"),
        (SPECS["bits"], {"conditional": True}, "--conditional"),
        (SPECS["greys"], {"channels": 0}, "--channels"),
    ],
    ids=["vector", "classes", "channels"],
)
def test_what_cannot_be_served_is_refused_by_name(name, spec, arguments, said):
    with pytest.raises(UserError, match=said):
        catalogue.build(name, spec, **arguments)
