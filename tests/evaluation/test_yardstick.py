"""What a mixture of Gaussians, fitted in a second, scores in a model's place."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.data.source import load
from pofx.errors import UserError
from pofx.evaluation.blocks import Stopped
from pofx.evaluation.collapse import warn_of_worse_likelihood, warn_of_worse_samples
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.likelihood import scored
from pofx.evaluation.report import Measured
from pofx.evaluation.yardstick import budget, fitted
from pofx.spec import Binary, Bytes, Categorical, DataSpec, class_spec

APART, WIDTH = 3.0, 0.5
"""Two clusters in the plane, at -APART and APART on the first axis."""


def two_clusters(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = WIDTH * torch.randn(n, 2, generator=g)
    x[:, 0] += APART * (2.0 * torch.randint(0, 2, (n,), generator=g) - 1)
    return x


def log_normal(x, mean, std):
    return (-0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)).sum(1)


class Truth(nn.Module):
    """The density that `two_clusters` draws from, and its draws."""

    def log_prob(self, x, cond=None):
        mean, std = torch.tensor([APART, 0.0]), torch.tensor([WIDTH, WIDTH])
        each = torch.stack([log_normal(x, m, std) for m in (mean, -mean)])
        return each.logsumexp(0) - math.log(2)

    def sample(self, n):
        x = WIDTH * torch.randn(n, 2)
        side = (torch.rand(n) < 0.5).float() * 2 - 1
        return x + APART * torch.stack([side, torch.zeros(n)], 1)


class OneNormal(nn.Module):
    """The normal distribution that has the mean and the variances of both clusters together."""

    std = torch.tensor([math.hypot(APART, WIDTH), WIDTH])

    def log_prob(self, x, cond=None):
        return log_normal(x, torch.zeros(2), self.std)

    def sample(self, n):
        return self.std * torch.randn(n, 2)


class Bounded(nn.Module):
    def elbo(self, x, cond=None):
        return OneNormal().log_prob(x)


class Wide(nn.Module):
    """Draws that lie too far apart, without a likelihood."""

    def sample(self, n):
        return 4 * torch.randn(n, 2)


@pytest.fixture(scope="module")
def clusters():
    return load(two_clusters(4000), standardize=False)


def worse(report):
    return [w for w in report.warnings if w.startswith("Worse than a mixture")]


def test_one_normal_of_two_clusters_is_worse_than_a_mixture_and_the_truth_is_not(clusters):
    one, truth = (evaluate(m, clusters, features="raw") for m in (OneNormal(), Truth()))
    (sentence,) = worse(one)
    assert sentence == (
        f"Worse than a mixture: log p(x) is {one.likelihood.nats:.3f} nats, and a mixture of "
        f"Gaussians, fitted in a second, has {one.yardstick.nats:.3f}; train longer, or take gmm."
    )
    assert worse(truth) == []
    # the entropy of two clusters apart: that of a normal in the plane, and a bit
    entropy = 1 + math.log(2 * math.pi * WIDTH**2) + math.log(2)
    assert truth.yardstick.nats == pytest.approx(-entropy, abs=0.15)
    assert truth.yardstick.nats == one.yardstick.nats
    assert truth.yardstick.kind == "exact"
    lost = one.yardstick.nats - one.likelihood.nats
    assert lost == pytest.approx(math.log(math.hypot(APART, WIDTH) / WIDTH) - math.log(2), abs=0.15)


def test_a_bound_is_called_one(clusters):
    (sentence,) = worse(evaluate(Bounded(), clusters))
    assert sentence.startswith("Worse than a mixture: the bound of log p(x) is -")
    assert sentence.endswith("train longer, or take gmm, unless it is the bound that is loose.")


def test_samples_are_held_against_those_of_the_mixture_without_a_likelihood_too(clusters):
    found = evaluate(Wide(), clusters, features="raw")
    assert found.likelihood is None
    frechet = found.metrics["frechet"]
    (sentence,) = worse(found)
    assert sentence == (
        f"Worse than a mixture: the Frechet distance is {frechet.value:.4g}, from "
        f"{frechet.low:.4g} to {frechet.high:.4g}, and that of a mixture of Gaussians, fitted in a "
        f"second, is {found.yardstick.frechet:.4g}; train longer, or take gmm."
    )
    assert found.yardstick.nats is None
    # 16 for a variance of 9.25 and of 0.25, in closed form
    expected = (4 - math.hypot(APART, WIDTH)) ** 2 + (4 - WIDTH) ** 2
    assert frechet.value == pytest.approx(expected, rel=0.1)
    assert found.yardstick.frechet < 0.1


def test_the_table_and_the_json_have_it(clusters):
    found = evaluate(Truth(), clusters, features="raw")
    shown = {name: beside for name, _, beside in found.rows()}
    assert shown["log p(x), nats (exact, density)"] == f"gmm {found.yardstick.nats:.3f}"
    assert shown["frechet"].startswith("real ")
    assert shown["frechet"].endswith(f", gmm {found.yardstick.frechet:.4g}")
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert back["yardstick"] == {
        "name": "gmm",
        "nats": found.yardstick.nats,
        "kind": "exact",
        "frechet": found.yardstick.frechet,
    }


def test_a_seed_fixes_it_and_no_draw_of_others_is_disturbed(clusters):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = evaluate(Truth(), clusters, n=200, features="raw", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = evaluate(Truth(), clusters, n=200, features="raw", seed=3)
    other = evaluate(Truth(), clusters, n=200, features="raw", seed=4)
    assert first.yardstick == again.yardstick != other.yardstick


def test_gmm_has_no_yardstick_and_its_equal_is_not_worse(clusters):
    gmm = catalogue.build("gmm", clusters.spec).model
    with torch.random.fork_rng():
        torch.manual_seed(5)
        gmm.fit(clusters.train.values()[0])
    assert evaluate(gmm, clusters, n=300, features="raw").yardstick is None

    class Equal(nn.Module):
        def log_prob(self, x, cond=None):
            return gmm.log_prob(x)

        def sample(self, n):
            return gmm.sample(n)

    found = evaluate(Equal(), clusters, features="raw")
    assert found.yardstick is not None
    assert worse(found) == []


def test_what_is_fitted_at_once_is_not_told_to_train_longer(clusters):
    ppca = catalogue.build("ppca", clusters.spec).model
    ppca.fit(clusters.train.values()[0])
    said = worse(evaluate(ppca, clusters, n=300, features="raw"))
    assert any("log p(x) is" in w for w in said)
    assert all(w.endswith("; take gmm.") for w in said)


def test_differences_are_paired():
    """A tenth of a nat is seen on every example, though examples differ by nats."""
    spec = DataSpec((2,))
    x = two_clusters(400)

    class Lower(Truth):
        def log_prob(self, x, cond=None):
            return super().log_prob(x) - 0.1

    truth, lower = (scored(m, x, None, spec) for m in (Truth(), Lower()))
    assert 0.1 < 2 * 2**0.5 * lower.likelihood.stderr
    assert list(warn_of_worse_likelihood(lower, truth, spec, "train longer"))
    assert not list(warn_of_worse_likelihood(truth, lower, spec, "train longer"))
    assert not list(warn_of_worse_likelihood(truth, truth, spec, "train longer"))


def test_a_loss_by_luck_is_not_told_of():
    """Of 400 differences that vary by a nat the mean errs by a twentieth."""
    spec, x = DataSpec((2,)), two_clusters(400)
    truth = scored(Truth(), x, None, spec)
    noise = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    noise = (noise - noise.mean()) / noise.std()
    for errors, said in ((1.0, 0), (1.9, 0), (2.1, 1)):
        unlucky = replace(truth, values=truth.values + noise - errors / 20)
        assert len(list(warn_of_worse_likelihood(unlucky, truth, spec, "train longer"))) == said
    shared = replace(unlucky, shared_stderr=0.1)
    assert not list(warn_of_worse_likelihood(shared, truth, spec, "train longer"))


def test_a_loss_without_weight_is_not_told_of():
    spec = DataSpec((2,))

    class Hair(Truth):
        def log_prob(self, x, cond=None):
            return super().log_prob(x) - 0.0015  # below a thousandth of a nat an element

    x = two_clusters(400)
    truth, hair = (scored(m, x, None, spec) for m in (Truth(), Hair()))
    assert not list(warn_of_worse_likelihood(hair, truth, spec, "train longer"))


def test_an_impossible_example_is_worse_and_what_is_no_number_is_not_judged():
    spec, x = DataSpec((2,)), two_clusters(50)

    class Told(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def log_prob(self, x, cond=None):
            return torch.where(x[:, 0] == x[:, 0].max(), self.value, 0.0)

    truth = scored(Truth(), x, None, spec)
    (sentence,) = warn_of_worse_likelihood(
        scored(Told(-math.inf), x, None, spec), truth, spec, "train longer"
    )
    assert "log p(x) is -inf nats" in sentence
    broken = scored(Told(math.nan), x, None, spec)
    assert not list(warn_of_worse_likelihood(broken, truth, spec, "train longer"))


def test_samples_within_the_interval_are_not_worse():
    spec = DataSpec((2,))
    for low, said in ((0.3, 0), (0.5, 0), (0.51, 1)):
        frechet = Measured(0.6, low, 0.9)
        assert len(list(warn_of_worse_samples(frechet, 0.5, spec, "train longer"))) == said


def test_what_knows_the_class_is_held_against_what_knows_it():
    """Each cluster is a class: to know it is worth a bit."""
    x = two_clusters(2000)
    y = (x[:, 0] > 0).long()

    class Classes(nn.Module):
        def log_prob(self, x, cond=None):
            std = torch.tensor([WIDTH, WIDTH])
            side = 2.0 * cond - 1
            return log_normal(x - APART * torch.stack([side, 0 * side], 1), torch.zeros(2), std)

    table = np.column_stack([x.numpy(), y.numpy()]).astype(np.float32)
    data = labelled(table)
    known, unknown = (evaluate(m, data, n=150) for m in (Classes(), Truth()))
    assert "given the class" in known.likelihood.detail
    gain = known.yardstick.nats - unknown.yardstick.nats
    assert gain == pytest.approx(math.log(2), abs=0.25)
    assert worse(known) == []


def labelled(table):
    """Rows of two numbers and a class."""

    class Part:
        def __init__(self, rows):
            self.rows = torch.from_numpy(rows)

        def __len__(self):
            return len(self.rows)

        def values(self, index=None):
            rows = self.rows if index is None else self.rows[index]
            return rows[:, :2].clone(), rows[:, 2].long()

    class Data:
        name = "labelled"
        spec = DataSpec((2,), cond=class_spec(2))
        train, valid, test = (Part(table[a:b]) for a, b in ((0, 1600), (1600, 1800), (1800, 2000)))

    return Data()


def rows_of(x):
    return lambda n: (x[:n], None)


def test_bits_and_categories_have_latent_classes_and_an_exact_mass():
    """Two bits that always agree are each other's copy: ln 2 nats, and not 2 ln 2."""
    x = torch.randint(0, 2, (2000, 1), generator=torch.Generator().manual_seed(0)).float()
    x = x.repeat(1, 2)
    spec = DataSpec((2,), Binary())
    model = fitted(None, spec, len(x), rows_of(x))
    found = scored(model, x, None, spec).likelihood
    assert (found.kind, found.unit) == ("exact", "mass")
    assert found.nats == pytest.approx(-math.log(2), abs=0.02)
    few = fitted(None, DataSpec((2,), Categorical(3)), len(x), rows_of(x))
    assert scored(few, x, None, DataSpec((2,), Categorical(3))).likelihood.kind == "exact"
    bound = fitted(None, DataSpec((2,), Bytes(8)), len(x), rows_of(2 * x - 1))
    assert scored(bound, 2 * x - 1, None, DataSpec((2,), Bytes(8))).likelihood.kind == "bound"


def test_what_cannot_be_fitted_is_left_out():
    x = two_clusters(100)
    assert fitted(None, DataSpec((2,)), 100, rows_of(x)) is not None
    assert fitted(None, DataSpec((2,)), 5, rows_of(x)) is None, "fewer than components"
    assert fitted(None, DataSpec((2,)), 0, rows_of(x)) is None
    for value in (math.nan, math.inf):
        broken = x.clone()
        broken[3, 1] = value
        assert fitted(None, DataSpec((2,)), 100, rows_of(broken)) is None
    assert fitted(None, DataSpec((2,)), 100, rows_of(x), conditional=True) is None, "no classes"
    bits = (x > 0).float()
    bits[3, 1] = math.nan
    assert fitted(None, DataSpec((2,), Binary()), 100, rows_of(bits)) is None


def test_a_fit_is_bounded_and_reads_no_row_more():
    asked = []

    def rows(n):
        asked.append(n)
        return torch.zeros(n, 2) + torch.arange(n)[:, None] % 7, None

    assert fitted(None, DataSpec((2,)), 10**9, rows) is not None
    assert asked == [10_000]
    assert fitted(None, DataSpec((3, 512, 512)), 10**9, rows) is None
    assert asked == [10_000], "nothing is read of examples so large"
    for shape in ((2,), (64,), (256,), (1, 28, 28), (3, 32, 32), (3, 64, 64)):
        n, turns = budget(DataSpec(shape), 10)
        size = math.prod(shape)
        each = size**2 if size <= 256 else 16 * size
        assert n * size <= 1 << 21
        assert turns * n * each * 10 <= 1.1e10
        assert n >= 100
        assert turns >= 10


@pytest.mark.parametrize("calls", [0, 1])
def test_a_stop_is_heard_before_the_fit_and_after_it(calls):
    left, asked = iter(range(calls)), []

    def rows(n):
        asked.append(n)
        return two_clusters(n), None

    with pytest.raises(Stopped):
        fitted(None, DataSpec((2,)), 100, rows, stop=lambda: next(left, None) is None)
    assert asked == [100] * calls


def test_a_table_with_gaps_has_one(tmp_path):
    x = two_clusters(600).numpy().round(3)
    rows = [f"{a},{'' if i % 5 == 0 else b}" for i, (a, b) in enumerate(x)]
    path = tmp_path / "gaps.csv"
    path.write_text("a,b\n" + "\n".join(rows))
    data = load(path)
    assert data.spec.size == 3, "a number, a number and whether it is missing"

    class Still(nn.Module):
        def sample(self, n):
            return torch.zeros(n, 3)

    found = evaluate(Still(), data, features="raw")
    assert math.isfinite(found.yardstick.frechet)
    assert worse(found)


def test_a_text_has_none(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat. " * 200)
    data = load(path)

    class Even(nn.Module):
        def log_prob(self, x, cond=None):
            return torch.full((len(x),), -float(x.shape[1]))

    found = evaluate(Even(), data, n=20)
    assert found.text is not None
    assert found.yardstick is None
    assert found.to_json()["yardstick"] is None


def test_an_error_of_the_users_is_not_swallowed():
    def rows(n):
        raise UserError("the file is gone")

    with pytest.raises(UserError, match="gone"):
        fitted(None, DataSpec((2,)), 100, rows)
