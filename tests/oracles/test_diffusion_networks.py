"""Networks that are told a time and a class: each starts at zero, keeps examples apart, and knows
where things are.
"""

import pytest
import torch

from pofx.nn.dit import DiT, SequenceDiT, TokenDiT
from pofx.nn.unet import TimedMLP, UNet
from pofx.nn.unet1d import SequenceUNet
from pofx.spec import class_spec

pytestmark = pytest.mark.usefixtures("double")

THREE = class_spec(3)
SMALL = {"width": 16, "layers": 2, "heads": 2, "cond": THREE}
NETS = {
    "dit": (lambda **k: DiT((1, 8, 8), **SMALL, **k), (1, 8, 8)),
    "dit, padded": (lambda **k: DiT((3, 7, 10), patch=3, **SMALL, **k), (3, 7, 10)),
    "sequence dit": (lambda **k: SequenceDiT(6, 3, **SMALL, **k), (18,)),
    "sequence unet": (
        lambda **k: SequenceUNet(13, 3, widths=(8, 16), cond=THREE, **k),
        (39,),
    ),
    "short unet": (lambda **k: SequenceUNet(2, 1, widths=(8, 16), cond=THREE, **k), (2,)),
    "unet": (lambda **k: UNet((2, 8, 8), widths=(8, 16), cond=THREE, **k), (2, 8, 8)),
    "mlp": (lambda **k: TimedMLP(5, hidden=16, cond=THREE, **k), (5,)),
}


def perturbed(net):
    for p in net.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.1)
    return net


@pytest.mark.parametrize("name", NETS)
def test_it_starts_at_zero_and_heeds_its_own_example_its_time_and_its_class(name):
    make, shape = NETS[name]
    net, x, t, cond = make(), torch.randn(3, *shape), torch.rand(3), torch.tensor([0, 1, 3])
    assert net(x, t, cond).abs().max() == 0
    y = perturbed(net)(x, t, cond)
    assert y.shape == x.shape
    assert torch.allclose(net(x[1:2], t[1:2], cond[1:2]), y[1:2], atol=1e-10)
    assert torch.equal(net(x, t)[2], net(x, t, torch.full((3,), 3))[2])
    assert not torch.allclose(net(x, t, cond.flip(0))[0], y[0])
    assert not torch.allclose(net(x, t * 0.5, cond), y)


@pytest.mark.parametrize("name", NETS)
def test_every_weight_learns(name):
    make, shape = NETS[name]
    net = perturbed(make())
    y = net(torch.randn(8, *shape), torch.rand(8), torch.arange(8) % 4)
    (y.square() * torch.rand_like(y)).sum().backward()  # a plain sum may be invariant to a weight
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_copies_lie_along_the_first_axis(name):
    make, shape = NETS[name]
    y = perturbed(make(copies=2))(torch.randn(2, *shape), torch.rand(2))
    assert y.shape == (2, 2 * shape[0], *shape[1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SequenceDiT(200, 2, **SMALL, copies=2),
        lambda: SequenceUNet(200, 2, widths=(8,), copies=2),
    ],
)
def test_copies_of_a_sequence_keep_its_places(make):
    """At the start blocks are identities, so that a place reaches itself and its neighbours; the
    rest feels it through the normalisation alone.
    """
    net = make()
    torch.nn.init.normal_(net.last.weight)
    x, t = torch.randn(1, 400), torch.rand(1)
    other = x.clone()
    other[0, 200:202] += 1
    moved = (net(x, t) - net(other, t)).abs().view(2, 200, 2).amax(2)
    assert (moved[:, 100] > 20 * moved[:, :95].amax(1)).all()
    assert (moved[:, 100] > 20 * moved[:, 106:].amax(1)).all()


@pytest.mark.parametrize("patch", [1, 2])
def test_a_dit_without_places_would_not_care_where_patches_are(patch):
    net = perturbed(DiT((1, 8, 8), patch=patch, **SMALL))
    x, t = torch.randn(1, 1, 8, 8), torch.rand(1)
    turned = x.roll((2, 4), (2, 3))
    assert not torch.allclose(net(turned, t), net(x, t).roll((2, 4), (2, 3)), atol=1e-6)
    net.places.zero_()
    assert torch.allclose(net(turned, t), net(x, t).roll((2, 4), (2, 3)), atol=1e-10)


def test_places_of_an_image_tell_rows_from_columns():
    places = DiT((1, 6, 10), patch=2, width=16).places
    assert places.shape == (15, 16)
    assert torch.equal(places[0, :8], places[4, :8])  # one row
    assert torch.equal(places[0, 8:], places[5, 8:])  # one column
    assert len(places.unique(dim=0)) == 15


def test_tokens_see_every_place_and_their_order_matters():
    net = perturbed(TokenDiT(7, 5, 4, **SMALL))
    k, t = torch.randint(0, 5, (3, 7)), torch.rand(3)
    y = net(k, t)
    assert y.shape == (3, 7, 4)
    other = k.clone()
    other[:, 6] = (k[:, 6] + 1) % 5
    assert (net(other, t) != y).any(2).all()
    assert torch.allclose(net(k[:1], t[:1]), y[:1], atol=1e-10)
    flipped = net(k.flip(1), t).flip(1)
    assert not torch.allclose(flipped, y)


def test_a_block_at_the_start_is_the_identity():
    net = DiT((1, 8, 8), **SMALL)
    h = torch.randn(2, 5, 16)
    films = net.body.film(torch.randn(2, 16))[:, None].split(16, 2)
    assert torch.equal(net.body.blocks[0](h, films[:6]), h)


@pytest.mark.parametrize(("shape", "patch"), [((1, 6, 4), 2), ((1, 3, 5), 1)])
def test_a_patch_knows_its_row_and_its_column(shape, patch):
    """Half of its place tells the row alone, the other half the column alone."""
    net = DiT(shape, patch=patch, width=16, layers=1, heads=2)
    rows, columns = shape[1] // patch, shape[2] // patch
    places = net.places.view(rows, columns, 2, 8)
    assert torch.equal(places[:, :, 0], places[:, :1, 0].expand(-1, columns, -1))
    assert torch.equal(places[:, :, 1], places[:1, :, 1].expand(rows, -1, -1))
    assert len({tuple(p.tolist()) for p in net.places}) == rows * columns


def test_an_image_is_padded_along_the_side_that_needs_it():
    for shape in ((1, 5, 8), (1, 8, 5)):
        net = perturbed(UNet(shape, widths=(8,), patch=2))
        assert net(torch.randn(2, *shape), torch.rand(2)).shape == (2, *shape)
