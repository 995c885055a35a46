"""WaveNet: what each element may see, and that steps are the whole."""

import itertools

import pytest
import torch

from pofx import catalogue
from pofx.autoregressive.wavenet import WaveNet
from pofx.functional.dequantize import values
from pofx.functional.random import noise
from pofx.nn.wavenet import Steps, WaveStack
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Real, class_spec

pytestmark = pytest.mark.usefixtures("double")


def shaken(model):
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn_like(p)
    return model


def test_the_mass_of_all_strings_is_one():
    model = shaken(WaveNet(DataSpec((12,), Binary()), 6, 3, 2, 1))
    strings = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 12)
    with torch.no_grad():
        assert model.log_prob(strings).exp().sum().item() == pytest.approx(1.0, abs=1e-10)


def test_an_element_sees_all_before_it_within_reach_and_nothing_else():
    net = shaken(WaveStack(1, 1, 5, layers=3))  # dilations 1, 2, 4: eight steps
    slope = torch.zeros(12, 12)
    for _ in range(20):  # a rectifier may be off for one input
        slope += torch.autograd.functional.jacobian(
            lambda x: net(x[None, :, None])[0, :, 0], torch.randn(12)
        ).abs()
    reach = torch.ones(12, 12).tril() - torch.ones(12, 12).tril(-8)
    assert torch.equal(slope != 0, reach.bool())


@pytest.mark.parametrize("blocks", [1, 2])
def test_steps_are_the_whole(blocks):
    net = shaken(WaveStack(2, 3, 6, layers=3, blocks=blocks, cond=class_spec(4)))
    x, cond = torch.randn(5, 21, 2), torch.randint(0, 4, (5,))
    steps = Steps(net, 5, cond)
    each = torch.stack([steps(x[:, i]) for i in range(21)], 1)
    assert torch.allclose(each, net(x, cond), atol=1e-12)


@pytest.mark.parametrize("support", [Binary(), Categorical(5), Bytes(7), Real()])
def test_kept_sampling_equals_naive(support):
    spec = DataSpec((9,), support)
    model = shaken(WaveNet(spec, 6, 3, 1, 3))
    with noise(3, 4):
        quick = model.sample(4)
    x = torch.zeros(4, 9)
    if isinstance(support, Bytes):
        x -= 1
    with noise(3, 4), torch.no_grad():
        for t in range(9):
            before = torch.cat([model.start.expand(4, 1, -1), model.seen(x)[:, :-1]], 1)
            x[:, t] = model.element.sample(model.net(before)[:, t])[:, 0]
    assert torch.allclose(quick, x, atol=1e-9)


def test_images_and_tables_are_refused():
    with pytest.raises(RecipeError, match="pixelcnn"):
        catalogue.build("wavenet", DataSpec((1, 8, 8), Binary()))


@pytest.mark.parametrize(("size", "most"), [(1, 1), (8, 3), (9, 4)])
def test_no_layer_sees_further_back_than_a_sequence_is_long(size, most):
    spec = DataSpec((size,), Binary())
    assert catalogue.build("wavenet", spec, layers=most).model.net.dilations[-1] < max(size, 2)
    with pytest.raises(RecipeError, match=f"--layers must be at most {most},"):
        catalogue.build("wavenet", spec, layers=most + 1)


@pytest.mark.parametrize("support", [Categorical(5), Bytes(5)])
def test_what_is_written_is_what_the_sequence_says_and_goes_on_beyond_its_length(support):
    spec = DataSpec((9,), support)
    model = shaken(catalogue.build("wavenet", spec, channels=6, layers=3).model)
    x = values(torch.randint(0, 5, (4, 9)), support).double()
    each = model.log_factors(x)
    assert torch.allclose(each.sum(1), model.sequence.log_prob(x), atol=1e-12)
    with torch.no_grad():
        likeliest = model.sample(3, prompt=torch.tensor([1, 2]), temperature=0)
        tokens = model.tokens(likeliest)
        logits = model.logits(tokens, None)
    assert torch.equal(tokens[:, :2], torch.tensor([[1, 2]]).expand(3, -1))
    assert torch.equal(tokens[:, 2:], logits.argmax(2)[:, 2:])
    going = model.continuation(torch.tensor([1, 2]), temperature=0)
    written = torch.tensor([1, 2, *itertools.islice(going, 20)])
    assert torch.equal(written[:9], tokens[0])
    with torch.no_grad():
        beyond = model.logits(written[None], None)[0, 2:].argmax(1)
    assert torch.equal(written[2:], beyond)
