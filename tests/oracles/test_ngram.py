"""The n-gram against counts by hand, against all strings, and against the known figures."""

import itertools
import math
from collections import Counter

import pytest
import torch

from pofx import catalogue
from pofx.classical.ngram import NGram
from pofx.data import load, text
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.recipe import RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Real

pytestmark = pytest.mark.usefixtures("double")


def by_hand(strings, levels, order, x):
    """Log p of every token by the recursion, from counts in dictionaries."""
    counts, followers = Counter(), {}
    for s in strings:
        for k in range(order):
            for i in range(k, len(s)):
                context = tuple(s[i - k : i])
                counts[context, s[i]] += 1
                followers.setdefault(context, set()).add(s[i])

    def p(token, context):
        shorter = p(token, context[1:]) if context else 1 / levels
        t = len(followers.get(context, ()))
        c = sum(counts[context, f] for f in followers.get(context, ()))
        return (counts[context, token] + t * shorter) / (c + t) if c else shorter

    return [math.log(p(x[i], tuple(x[max(0, i - order + 1) : i]))) for i in range(len(x))]


@pytest.mark.parametrize("order", [1, 2, 3, 7])
def test_it_is_the_recursion(order):
    x = torch.randint(0, 4, (12, 6))
    model = NGram(DataSpec((6,), Categorical(4)), order)
    model.fit(x.double())
    asked = torch.randint(0, 4, (9, 6))
    expected = [by_hand(x.tolist(), 4, order, row) for row in asked.tolist()]
    assert torch.allclose(model.log_factors(asked.double()), torch.tensor(expected), atol=1e-12)


SPACES = {
    "bits": DataSpec((12,), Binary()),
    "categories": DataSpec((6,), Categorical(4)),
    "image": DataSpec((2, 1, 3), Bytes(3)),
    "counted image": DataSpec((2, 1, 3), Bytes(3), count=5),
}


def everything(spec):
    levels = torch.arange(float(spec.support.levels))
    levels = levels - 1 if isinstance(spec.support, Bytes) else levels
    return torch.cartesian_prod(*[levels] * spec.size).view(-1, *spec.shape)


@pytest.mark.parametrize("kind", SPACES)
def test_probabilities_of_all_strings_sum_to_one(kind):
    spec = SPACES[kind]
    model, x = NGram(spec, 4), everything(spec)
    model.fit(x[torch.randperm(len(x))[:20]])
    assert model.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["categories", "image", "counted image"])
def test_samples_have_the_frequencies_of_the_density(kind):
    spec = SPACES[kind]
    model, x = NGram(spec, 3), everything(spec)
    model.fit(x[torch.randperm(len(x))[:5]])
    p, n = model.log_prob(x).exp(), 100_000
    index = {tuple(row): i for i, row in enumerate(x.flatten(1).tolist())}
    drawn = draw(model, n, seed=1, batch=n).flatten(1).tolist()
    frequency = torch.bincount(torch.tensor([index[tuple(d)] for d in drawn]), minlength=len(x)) / n
    z = (frequency - p) / (p * (1 - p) / n).sqrt()
    assert z.square().mean().item() == pytest.approx(1, abs=0.25)
    assert z[p > 1e-3].abs().max() < 5


def frequencies_of_places(rows, levels):
    """Probabilities of tokens at each place, each count a half more, `[place][token]`."""
    n = len(rows)
    counts = [Counter(column) for column in zip(*rows, strict=True)]
    return [[(c[k] + 0.5) / (n + levels / 2) for k in range(levels)] for c in counts]


def test_examples_are_mixed_with_the_frequencies_of_places():
    p = (2 * torch.randn(6, 3)).softmax(1)
    x = torch.multinomial(p, 40, replacement=True).T
    for i in range(1, 6):  # every second token is that before it
        x[:, i] = torch.where(torch.rand(40) < 0.5, x[:, i - 1], x[:, i])
    model = NGram(DataSpec((6,), Categorical(3), count=40), 2)
    model.fit(x.double())
    rows, share = x.tolist(), model.places.share.item()
    half, held_out = rows[::2], rows[1::2]

    def mixture(known, asked, s):
        q = frequencies_of_places(known, 3)
        p0 = by_hand(known, 3, 2, asked)
        return [math.log((1 - s) * math.exp(a) + s * q[i][asked[i]]) for i, a in enumerate(p0)]

    def of_held_out(s):
        return sum(sum(mixture(half, row, s)) for row in held_out)

    assert 0.01 < share < 0.99
    assert of_held_out(share) >= max(of_held_out(share - 0.01), of_held_out(share + 0.01))
    asked = torch.randint(0, 3, (9, 6))
    expected = torch.tensor([mixture(rows, row, share) for row in asked.tolist()])
    assert torch.allclose(model.log_factors(asked.double()), expected, atol=1e-12)
    longer = torch.randint(0, 3, (1, 9))
    strings = torch.tensor(by_hand(rows, 3, 2, longer[0].tolist()))
    assert torch.allclose(model.log_running(longer)[0, 6:], strings[6:], atol=1e-12)


def test_bits_that_know_nothing_of_each_other_are_independent_bits():
    p = 0.05 + 0.9 * torch.rand(30)
    rows = torch.bernoulli(p.expand(700, 30))
    model = NGram(DataSpec((30,), Binary(), count=400))
    model.fit(rows[:400])
    q = (rows[:400].sum(0) + 0.5) / 401
    alone = torch.distributions.Bernoulli(q).log_prob(rows[400:]).sum(1).mean()
    assert model.log_prob(rows[400:]).mean() == pytest.approx(alone.item(), abs=0.15)


def test_windows_of_a_text_are_counted_as_that_text():
    tokens = torch.randint(0, 5, (300,))
    spec, apart = DataSpec((8,), Categorical(5), count=293), DataSpec((300,), Categorical(5))
    model, whole = NGram(spec, 4), NGram(apart, 4)
    model.fit(tokens.double().unfold(0, 8, 1))
    whole.fit(tokens.double()[None])
    asked = torch.randint(0, 5, (1, 50))
    assert torch.equal(model.log_running(asked), whole.log_running(asked))


def test_weights_bring_the_model_back_and_a_prompt_begins_what_it_writes():
    spec = DataSpec((8,), Categorical(5), count=40)
    model, again = NGram(spec, 3), NGram(spec, 3)
    model.fit(torch.randint(0, 5, (40, 8)).double())
    again.load_state_dict(model.state_dict())
    assert torch.equal(draw(model, 6, seed=2), draw(again, 6, seed=2, batch=4))
    x = draw(again, 6, seed=2, prompt=torch.tensor([4, 1, 0]))
    assert x[:, :3].tolist() == [[4, 1, 0]] * 6
    assert len(list(itertools.islice(model.continuation(torch.tensor([4, 1])), 30))) == 30


def test_before_a_fit_all_tokens_are_as_likely():
    model = NGram(DataSpec((8,), Categorical(5)))
    assert torch.allclose(model.log_factors(model.sample(3)), -torch.tensor(5.0).log())


def test_mistakes_are_one_sentence():
    spec = DataSpec((8,), Categorical(5))
    with pytest.raises(UserError, match="the prompt has 9"):
        NGram(spec).sample(1, prompt=torch.zeros(9, dtype=torch.int64))
    with pytest.raises(RecipeError, match="from 1 to 64"):
        catalogue.build("ngram", spec, order=0)
    with pytest.raises(RecipeError, match="got Real"):
        catalogue.build("ngram", DataSpec((3,), Real()))


KNOWN = [3.3473, 2.4858, 2.0492, 1.7738, 1.6688, 1.6981]
"""Nats a character on the last tenth of tinyshakespeare, read as one text, for orders 1 to 6."""


def test_the_known_figures_of_tinyshakespeare(real_data):
    path = real_data / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("no tinyshakespeare in POFX_DATA")
    dataset = load("tinyshakespeare")
    tokens = dataset.schema.tokens.encode(path.read_text())
    held_out = torch.from_numpy(tokens[len(text.running_text(dataset.train)) :])[None]
    x, _ = dataset.train.whole("tinyshakespeare")
    for order, nats in enumerate(KNOWN, 1):
        model = NGram(dataset.spec, order)
        model.fit(x)
        assert -model.log_running(held_out).mean().item() == pytest.approx(nats, abs=5e-5)
