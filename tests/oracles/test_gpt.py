"""GPT against what can be said exactly."""

import itertools
import math

import pytest
import torch

from pofx import catalogue
from pofx.autoregressive.decoding import Decoding, gumbels
from pofx.autoregressive.gpt import GPT
from pofx.batch import Batch
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.functional.random import noise
from pofx.nn.transformer import Cached, Transformer, attended, dropped
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Real, class_spec
from pofx.training.loop import Budget, Training, train

KINDS = list(itertools.product(("rotary", "learned"), (False, True)))


def loud(spec, **options):
    """A model whose weights are far from 0, so that everything depends on everything."""
    net = Transformer(16, 2, 2, spec.size, **options)
    model = GPT(spec, net)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)
    return model.eval()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("positions", "gated"), KINDS)
def test_a_place_sees_those_up_to_it_and_no_other(positions, gated):
    model = loud(DataSpec((6,), Binary()), positions=positions, gated=gated)
    jacobian = torch.autograd.functional.jacobian(model.net, torch.randn(1, 6, 16))
    seen = jacobian[0, :, :, 0].abs().sum((1, 3))
    assert torch.equal(seen > 0, torch.ones(6, 6).tril().bool())
    assert torch.equal(seen.triu(1), torch.zeros(6, 6))


@pytest.mark.usefixtures("double")
def test_a_factor_does_not_depend_on_what_comes_after():
    model = loud(DataSpec((9,), Categorical(5)))
    x = torch.randint(0, 5, (4, 9)).double()
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 5
    before, after = model.log_factors(x), model.log_factors(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert bool((before[:, 5:] != after[:, 5:]).any(0).all())
    assert torch.allclose(before.sum(1), model.log_prob(x), atol=1e-12)


SPACES = {
    "bits": DataSpec((12,), Binary()),
    "categories": DataSpec((7,), Categorical(3)),
    "image": DataSpec((2, 1, 3), Bytes(3)),
    "labelled": DataSpec((8,), Binary(), cond=class_spec(3)),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", SPACES)
def test_probabilities_of_all_strings_sum_to_one(kind):
    spec = SPACES[kind]
    levels = torch.arange(float(spec.support.levels))
    levels = levels - 1 if isinstance(spec.support, Bytes) else levels
    x = torch.cartesian_prod(*[levels] * spec.size).view(-1, *spec.shape)
    model = loud(spec)
    assert model.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-10)
    for y in range(spec.classes):
        cond = torch.full((len(x),), y)
        assert model.log_prob(x, cond).exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_an_image_is_written_pixel_by_pixel_with_its_colours_together():
    model = loud(DataSpec((3, 2, 2), Bytes(4)))
    assert model.orders[0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    x = model.sample(5)
    known = torch.zeros(3, 2, 2, dtype=torch.bool)
    known[:, 0] = True
    again = model.complete(x, known)
    assert torch.equal(again[:, :, 0], x[:, :, 0])


def naive(model, n, seed, how, begun=()):
    """The whole network anew at every place, with the noise of the cached one."""
    tokens = torch.tensor(begun, dtype=torch.int64).expand(n, -1)
    with torch.no_grad(), noise(seed, n):
        gumbel = gumbels(n, model.embed.weight[:, 0])
        while tokens.shape[1] < model.spec.size:
            h = torch.cat([model.start.weight.expand(n, 1, -1), model.embed(tokens)], 1)
            logits = model.net(h)[:, -1] @ model.embed.weight.T
            tokens = torch.cat([tokens, how.draw(logits, next(gumbel))[:, None]], 1)
    return tokens


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("positions", "gated"), KINDS)
@pytest.mark.parametrize("how", [{}, {"temperature": 0.7, "top_k": 4, "top_p": 0.9}])
def test_writing_with_kept_keys_is_writing_anew(positions, gated, how):
    model = loud(DataSpec((20,), Categorical(7)), positions=positions, gated=gated)
    expected = naive(model, 5, 3, Decoding(**how), (2, 4))
    drawn = draw(model, 5, seed=3, prompt=torch.tensor([2, 4]), **how)
    assert torch.equal(drawn.long(), expected)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("positions", "gated"), KINDS)
def test_one_place_after_another_is_all_at_once(positions, gated):
    net = Transformer(16, 3, 2, 11, positions=positions, gated=gated).eval()
    h = torch.randn(4, 11, 16)
    step = Cached(net, 4)
    each = torch.stack([step(h[:, i]) for i in range(11)], 1)
    assert torch.allclose(each, net(h), atol=1e-12)
    assert step.full


@pytest.mark.usefixtures("double")
def test_rotary_attention_depends_on_distances_alone():
    net = Transformer(8, 1, 1, 30)
    h = torch.randn(1, 1, 8).expand(1, 30, 8)
    q, k = torch.randn(2, 8)
    turn = torch.view_as_complex(net.turns)
    turned = [
        torch.view_as_real(torch.view_as_complex(v.view(4, 2)) * turn).flatten(1) for v in (q, k)
    ]
    scores = turned[0] @ turned[1].T
    for distance in (0, 3, 10):
        diagonal = scores.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-12)
    assert h.shape == net(h).shape


def test_at_the_start_every_token_is_about_as_likely():
    spec = DataSpec((64,), Categorical(65))
    model = catalogue.build("gpt", spec).model
    x = torch.randint(0, 65, (50, 64)).float()
    # a place holds little but its own token at first, and one matrix at both ends makes that one
    # likelier to come again
    assert 0 <= -model.log_prob(x).mean().item() / 64 - math.log(65) < 0.1


def test_weights_start_as_small_as_the_paper_says():
    model = catalogue.build("gpt", DataSpec((16,), Categorical(65)), layers=8).model
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for block in model.net.blocks:
        assert block.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert all(p.ndim == 2 for p in model.parameters()), "weight decay is for matrices"


def chain(n, length, flip=0.1):
    """A stationary chain of bits that flips now and then."""
    first = torch.randint(0, 2, (n, 1))
    flips = (torch.rand(n, length - 1) < flip).long()
    return torch.cat([first, first + flips.cumsum(1)], 1).remainder(2).float()


def test_a_markov_chain_is_learned_to_its_entropy():
    spec, entropy = DataSpec((16,), Binary()), 0.325083
    recipe = catalogue.build("gpt", spec, width=32, layers=1, heads=2, lr=1e-2, steps=400)

    def data():
        while True:
            yield Batch(chain(64, 16))

    training = Training(recipe)
    for _ in train(training, data(), Budget(steps=400)):
        pass
    x = chain(20_000, 16)
    flips = (x[:, 1:] != x[:, :-1]).double()
    true = torch.where(flips > 0, math.log(0.1), math.log(0.9))
    with torch.no_grad():
        each = training.sampled.eval().log_factors(x).double()
    excess = float((true - each[:, 1:]).mean())  # on the same strings, so that their luck cancels
    assert abs(-0.1 * math.log(0.1) - 0.9 * math.log(0.9) - entropy) < 1e-6
    assert -1e-4 < excess < 0.003
    assert -each[:, 0].mean().item() == pytest.approx(math.log(2), abs=0.003)


LOGITS = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05], [0.05, 0.1, 0.15, 0.2, 0.5]]).log()


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.51}, [0, 1]),
        ({"top_p": 0.86}, [0, 1, 2, 3]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.7}, [0, 1]),
        ({"top_p": 0.01}, [0]),
        ({"temperature": 0.5, "top_p": 0.75}, [0]),
    ],
)
def test_what_is_kept(how, kept):
    left = Decoding(**how).kept(LOGITS).isfinite()
    assert left[0].nonzero()[:, 0].tolist() == kept
    assert left[1].flip(0).equal(left[0])


def test_ties_keep_as_many_as_were_asked_for():
    assert Decoding(top_k=2).kept(torch.zeros(3, 5)).isfinite().sum(1).tolist() == [2, 2, 2]


def test_draws_have_the_frequencies_of_what_is_kept():
    logits = LOGITS[:1].expand(100_000, -1)
    for how, expected in (
        ({}, LOGITS[0].exp()),
        ({"top_k": 3}, torch.tensor([0.5, 0.2, 0.15, 0, 0]) / 0.85),
        ({"temperature": 0.5}, (2 * LOGITS[0]).softmax(0)),
    ):
        with noise(0, len(logits)):
            gumbel = -torch.empty(logits.shape).exponential_().log()
            drawn = Decoding(**how).draw(logits, gumbel)
        frequency = torch.bincount(drawn, minlength=5) / len(drawn)
        assert torch.allclose(frequency, expected, atol=0.008)
    assert Decoding(temperature=0).draw(logits[:3], logits[:3]).tolist() == [0, 0, 0]


def test_the_same_seed_writes_the_same_whatever_the_batch():
    model = loud(DataSpec((20,), Categorical(7)))
    whole = draw(model, 9, seed=1, temperature=0.8, top_p=0.9)
    assert torch.equal(draw(model, 9, seed=1, batch=4, temperature=0.8, top_p=0.9), whole)
    assert not torch.equal(draw(model, 9, seed=2, temperature=0.8, top_p=0.9), whole)


def test_writing_goes_on_beyond_the_window():
    model = loud(DataSpec((8,), Categorical(7)))
    written = list(itertools.islice(model.continuation(torch.tensor([1, 2, 3])), 40))
    assert len(written) == 40
    assert set(written) <= set(range(7))
    likeliest = {"temperature": 0.0}
    whole = model.sample(1, prompt=torch.tensor([1, 2, 3]), **likeliest)[0].long().tolist()
    going = model.continuation(torch.tensor([1, 2, 3]), **likeliest)
    assert [1, 2, 3, *itertools.islice(going, 5)] == whole
    # from there on, the later half of the window is what is seen
    seen = whole[4:]
    for _ in range(4):
        following = model.sample(1, prompt=torch.tensor(seen), **likeliest)[0].long()
        seen.append(int(following[len(seen)]))
        assert seen[-1] == next(going)


def test_a_prompt_may_be_longer_than_the_window():
    model = loud(DataSpec((8,), Categorical(7)))
    assert len(list(itertools.islice(model.continuation(torch.arange(30) % 7), 3))) == 3
    with pytest.raises(UserError, match="the prompt has 9"):
        model.sample(1, prompt=torch.arange(9) % 7)


def test_mistakes_are_one_sentence():
    spec = DataSpec((8,), Categorical(7))
    model = loud(spec)
    for how in ({"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(UserError, match="came"):
            model.sample(1, **how)
    with pytest.raises(RecipeError, match="multiple of twice"):
        catalogue.build("gpt", spec, width=20, heads=4)
    with pytest.raises(RecipeError, match="dropout"):
        catalogue.build("gpt", spec, dropout=1.0)
    with pytest.raises(RecipeError, match="got Real"):
        catalogue.build("gpt", DataSpec((3,), Real()))


def test_what_is_known_is_counted_where_it_stands():
    """In an image of several colors the second token is not the second element."""
    model = loud(DataSpec((3, 2, 2), Bytes(4)))
    x, first = model.sample(5), model.orders[0][:4]
    known = torch.zeros(12)
    known[first] = 1
    with torch.no_grad():
        found = model.chain(x, None, known.view(3, 2, 2))
        assert torch.allclose(found, model.log_factors(x)[:, :4].sum(1))


def test_dropout_is_for_training_alone():
    model = catalogue.build("gpt", DataSpec((8,), Categorical(7)), dropout=0.5).model
    x = model.sample(4)
    assert not torch.equal(model.train().log_prob(x), model.log_prob(x))
    assert torch.equal(model.eval().log_prob(x), model.log_prob(x))


def test_in_bfloat16_it_is_nearly_the_same_and_as_causal():
    model = loud(DataSpec((12,), Categorical(5)))
    x = torch.randint(0, 5, (8, 12)).float()
    changed = x.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        quick, after = model.log_factors(x), model.log_factors(changed)
    assert quick.dtype == torch.float32
    assert torch.equal(quick[:, :7], after[:, :7])
    with torch.no_grad():
        assert (quick - model.log_factors(x)).abs().mean() < 0.2


def test_dropout_keeps_the_mean():
    h = dropped(torch.ones(200_000), 0.3, training=True)
    assert torch.allclose(h.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert h.mean().item() == pytest.approx(1.0, abs=0.01)


def test_in_bfloat16_attention_is_scaled_by_the_root_of_its_depth():
    q, k, v = (3 * torch.randn(3, 2, 2, 7, 16)).to(torch.bfloat16)
    exact = torch.nn.functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), is_causal=True
    )
    assert (attended(q, k, v).double() - exact).abs().max() < 0.1 * exact.abs().max()
