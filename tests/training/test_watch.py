"""When a run looks at validation data, and what of: the number of steps decides, and the cost."""

import itertools

import numpy as np
import pytest
import torch

import pofx
from pofx import catalogue
from pofx.data import load
from pofx.ebm.energy import pseudo_log_prob as of_bits
from pofx.functional.draw import evaluating
from pofx.functional.random import noise
from pofx.spec import Binary, Categorical, DataSpec, Mixed
from pofx.training.fit import fit
from pofx.training.loop import Budget, Training
from pofx.training.pseudo_likelihood import pseudo_log_prob, serves
from pofx.training.validation import kind_of, validation_loss
from pofx.training.watch import Watch


def watch(name="made", *, rows=4000, steps=1000, minutes=None, **arguments):
    data = load(np.random.default_rng(0).integers(0, 2, (rows, 12), dtype=np.uint8))
    training = Training(catalogue.build(name, data.spec, **arguments))
    return Watch(training, data, Budget(steps=None if minutes else steps, minutes=minutes))


def looked_at(watch, cost, steps):
    """The steps with a look, each of which costs so many training examples an example."""
    watch.cost, watch.work = cost, 0.0
    found = []
    for watch.training.step in range(1, steps + 1):
        if watch.is_due:
            watch.look()
            found.append(watch.training.step)
    return found


def test_looks_come_every_epoch_and_then_at_most_a_hundredth_of_the_budget_apart():
    w = watch(rows=400, batch_size=100, steps=5000)  # an epoch is four steps or less
    found = looked_at(w, 0.001, 5000)
    assert w.epoch < 4
    assert found[:6] == [1, 5, 9, 13, 17, 21]
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert gaps == sorted(gaps[:-1]) + gaps[-1:]
    assert max(gaps) == 50
    assert found[-1] == 5000


@pytest.mark.parametrize("cost", [1 / 3, 4.0])
def test_looks_cost_no_more_than_a_tenth_of_training_however_dear(cost):
    w = watch(batch_size=16, steps=600)
    found = looked_at(w, cost, 600)
    examples = min(w.examples, len(w.dataset.valid))
    assert len(found) * examples * cost <= 0.1 * 600 * 16 + 2 * examples * cost
    assert found[-1] == 600


def test_a_budget_in_minutes_is_looked_at_by_its_share():
    w = watch(minutes=1.0, batch_size=100)
    found = []
    for w.training.step in range(1, 601):
        w.training.elapsed = w.training.step / 10
        if w.is_due:
            w.look()
            w.seconds = 0.0
            found.append(w.spent)
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert max(gaps) <= 0.0101 + 1 / 600
    w.seconds, w.training.elapsed, w.training.step = 5.9, 50.0, 601
    assert not w.is_due, "looks have had their tenth"
    w.training.elapsed = 60.0
    assert w.is_due, "the last one is always taken"


def test_a_slow_first_look_does_not_put_off_the_second(monkeypatch):
    w = watch(minutes=1.0, rows=400, batch_size=400)
    clock, validate = [0.0], w._validate

    def slow_at_first(*arguments):
        clock[0] += 0.01 if w.looks else 5.0
        return validate(*arguments)

    monkeypatch.setattr("pofx.training.watch.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(w, "_validate", slow_at_first)
    found = []
    for w.training.step in range(1, 8):
        w.training.elapsed = w.training.step / 4
        if w.is_due:
            w.look()
            found.append(w.training.step)
    assert found[:2] == [1, 2], "an epoch is a step"


def test_a_watch_that_is_put_back_goes_on_as_it_would_have():
    one, two = watch(), watch()
    looked_at(one, 0.01, 50)
    weights, numbers = one.state()
    two.load_state(weights, numbers)
    assert two.state()[1] == numbers
    assert two.looks == one.looks
    assert two.best is not None
    assert all(torch.equal(two.best.weights[k], v) for k, v in weights.items())


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("made", "bits", "density"),
        ("vae", "bits", "bound"),
        ("iwae", "bits", "loss"),
        ("rbm", "bits", "pseudo-likelihood"),
        ("deep-energy", "bits", "pseudo-likelihood"),
        ("deep-energy", "plane", None),
        ("gan", "plane", None),
        ("edm", "plane", "loss"),
        ("autoencoder", "plane", "loss"),
    ],
)
def test_what_a_recipe_is_judged_by(name, data, kind):
    spec = {"bits": DataSpec((20,), Binary()), "plane": DataSpec((2,))}[data]
    training = Training(catalogue.build(name, spec))
    assert kind_of(training, spec) == kind


def test_a_vae_that_lowers_something_else_than_its_bound_is_judged_by_that():
    spec = DataSpec((2,))
    for arguments in ({"beta": 2.0}, {"free_bits": 0.5}):
        assert kind_of(Training(catalogue.build("vae", spec, **arguments)), spec) == "loss"


def test_the_last_block_counts():
    """250 examples in blocks of 100: the mean is of all, and so is its error."""
    data = load(torch.randn(2500, 3) * 3, standardize=False)
    training = Training(catalogue.build("realnvp", data.spec, layers=2, hidden=(8,)))
    x, _ = data.valid.values()
    assert len(x) == 250
    with torch.no_grad(), evaluating(training.model), noise(0, len(x)):
        expected = -training.model.log_prob(x).double()
    found = validation_loss(training, data.valid, data.spec)
    assert found.loss == pytest.approx(float(expected.mean()), rel=1e-6)
    assert found.loss != pytest.approx(float(expected[:200].mean()), rel=1e-4)
    assert found.stderr == pytest.approx(float(expected.std() / 250**0.5), rel=1e-6)
    assert len(found.each) == 250
    blocks = validation_loss(training, data.valid, data.spec, most=120)
    assert blocks.loss == pytest.approx(float(expected[:120].mean()), rel=1e-6)


def test_a_loss_is_of_the_weights_to_sample_from_and_leaves_those_that_train():
    data = load(torch.randn(1000, 2), standardize=False)
    training = Training(catalogue.build("edm", data.spec, hidden=8, ema=10.0))
    before = validation_loss(training, data.valid, data.spec)
    own = [p.detach().clone() for p in training.model.parameters()]
    with torch.no_grad():
        for p in training.model.parameters():
            p += torch.randn_like(p)
    moved = [p.detach().clone() for p in training.model.parameters()]
    assert validation_loss(training, data.valid, data.spec).loss == before.loss
    for p, kept, first in zip(training.model.parameters(), moved, own, strict=True):
        assert torch.equal(p, kept)
        assert not torch.equal(p, first)


# --- pseudo-likelihood


def table(x):
    """An energy of three categories and two bits, all of which act on each other."""
    return (x @ torch.tensor([0.3, -1.0, 0.7]) - 1).square() + x[:, 0] * x[:, 1]


def test_of_categories_it_is_each_element_s_share_of_its_own_column():
    spec = DataSpec((3,), Mixed((Categorical(4), Binary(), Categorical(3))))
    x = torch.tensor([[3.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    expected = torch.zeros(2)
    for i, levels in enumerate((4, 2, 3)):
        states = x[:, None].repeat(1, levels, 1)
        states[:, :, i] = torch.arange(levels).float()
        logits = -table(states.reshape(-1, 3)).view(2, levels)
        expected += logits.log_softmax(1).gather(1, x[:, i : i + 1].long())[:, 0]
    assert torch.allclose(pseudo_log_prob(table, x, spec), expected, atol=1e-5)
    assert serves(spec)
    assert not serves(DataSpec((3,)))


def test_of_bits_it_is_what_flipping_each_says_and_of_many_an_unbiased_part():
    spec = DataSpec((5, 8), Binary())
    g = torch.Generator().manual_seed(0)
    w = torch.randn(40, 40, generator=g)

    def energy(x):
        y = x.flatten(1)
        return ((y @ w) * y).sum(1) / 8

    x = torch.randint(0, 2, (3000, 5, 8), generator=g).float()
    exact = of_bits(energy, x)
    assert torch.allclose(pseudo_log_prob(energy, x, spec, sites=40), exact, atol=1e-3)
    part = pseudo_log_prob(energy, x, spec, sites=6)
    error = (part - exact).double()
    assert float(error.std()) > 0.1
    assert abs(float(error.mean())) < 4 * float(error.std()) / 3000**0.5
    later = pseudo_log_prob(energy, x[1000:], spec, first=1000, sites=6)
    assert torch.allclose(later, part[1000:], atol=1e-3), "the same part whatever stands before"


# --- runs


def test_equal_runs_keep_equal_weights_and_over_fitting_is_named(tmp_path, capfd):
    rows = np.random.default_rng(0).integers(0, 2, (160, 40), dtype=np.uint8)  # nothing to learn
    size = {"hidden": (64,), "batch_size": 32, "steps": 100, "threads": 1, "lr": 1e-2}
    size |= {"weight_decay": 0.0}  # by default so few rows pull it towards independent bits
    runs = [fit("made", rows, out=tmp_path / n, sample_every=10**9, **size) for n in ("a", "b")]
    said = capfd.readouterr().err
    assert said.count("Over-fitting: the validation loss rose to") == 2
    assert "a smaller --hidden" in said
    assert "validation loss" in said.splitlines()[-3]
    assert said.splitlines()[-1].strip().startswith("pofx evaluate")
    one, two = (pofx.load(r) for r in runs)
    assert one.model_hash == two.model_hash
    assert one.step < 50, "kept from before it over-fitted"
    last = fit("made", rows, out=tmp_path / "c", quiet=True, keep="last", **size)
    assert pofx.load(last).step == 100
    valid = one.dataset.valid.values()[0]
    with torch.no_grad():
        kept, end = (-pofx.load(r).model.log_prob(valid).mean() for r in (runs[0], last))
    assert kept < end - 1


def test_a_budget_in_minutes_reaches_the_second_part_of_a_rectified_flow(tmp_path):
    out = fit(
        "rectified-flow", "two-moons", out=tmp_path / "r", minutes=0.01, quiet=True, hidden=16,
        batch_size=32, data_options={"limit": 400}, sample_every=10**9, solver_steps=2,
    )  # fmt: skip
    from pofx.training import checkpoint

    files, _ = checkpoint.load(checkpoint.newest(out / "checkpoints", print))
    assert int(files["state"]["objective.reflowed"]) == 1
