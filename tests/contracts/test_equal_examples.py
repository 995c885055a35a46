"""One example, one score: wherever it stands, whatever else is there.

`benchmarks/equal_examples.py` does this for every recipe on every kind of data.
"""

import numpy as np
import pytest
import torch
from zoo import CASES, NAMES, SPECS, build, examples, stream

import pofx
from pofx.capabilities import Latent
from pofx.data.under import under
from pofx.evaluation import latent
from pofx.evaluation.anomaly import Scorer, kinds
from pofx.training.loop import Budget, Training, train

EQUAL = 6


def trained(name, kind):
    recipe = build(name, kind)
    if recipe.objective is None:
        recipe.model.fit(*examples(SPECS[kind], 60))
        return recipe.model.eval()
    training = Training(recipe)
    for _ in train(training, stream(SPECS[kind], recipe.batch_size), Budget(steps=2)):
        pass
    return training.sampled.eval()


def everywhere(score, x, equal=EQUAL):
    """The score of an example alone, among equals, among others, in another order and batch."""
    one = x[:1].expand(equal, *x.shape[1:])
    mixed = torch.cat([x[1:4], one, x[4:7]])
    places = (score(one[:1], 100), score(one, 100), score(mixed, 100)[3 : 3 + equal])
    turned = score(mixed.flip(0), 5).flip(0)[3 : 3 + equal]
    return torch.cat([*places, turned]).double()


def assert_one_value(values):
    values = values.flatten(1) if values.ndim > 1 else values[:, None]
    apart = (values - values[0]).abs().amax()
    assert float(apart) <= 1e-5 * float(values[0].abs().amax().clamp(min=1e-3))


KIND = {name: next(k for n, k in CASES if n == name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_one_score_and_one_code(name):
    kind = KIND[name]
    model, (x, _) = trained(name, kind), examples(SPECS[kind], 30, seed=5)
    for score in kinds(model):
        scorer = Scorer(model, SPECS[kind], x[7:], score)
        assert_one_value(everywhere(lambda x, batch, s=scorer: s(x, batch=batch), x))
    if isinstance(model, Latent):
        assert_one_value(everywhere(lambda x, _, m=model: latent.encode(m, x), x))


@pytest.fixture
def gappy(tmp_path):
    """A table of which every third row lacks numbers, and a file of equal rows with gaps."""
    g = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{k}" for a, b, c, k in zip(
        *g.normal(size=(3, 90)), g.choice(["x", "y"], 90), strict=True)]  # fmt: skip
    rows[::3] = [",".join((a, "", "", k)) for a, _, _, k in (r.split(",") for r in rows[::3])]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    equal = ["0.100,,,x"] * 20
    (tmp_path / "equal.csv").write_text("\n".join(["a,b,c,kind", *equal]) + "\n")
    others = [*rows[1:6], *equal[:9], *rows[20:25]]
    (tmp_path / "others.csv").write_text("\n".join(["a,b,c,kind", *others]) + "\n")
    return tmp_path


@pytest.mark.parametrize("name", ["gmm", "kde", "ppca", "vae", "made", "realnvp"])
def test_equal_rows_with_gaps_have_one_score_in_any_file(name, gappy):
    sizes = {} if name in ("gmm", "kde", "ppca") else {"steps": 2, "hidden": (8, 8)}
    run = pofx.fit(name, gappy / "train.csv", out=gappy / name, quiet=True, device="cpu", **sizes)
    for kind in kinds(run.model):
        if kind == "latent":
            continue  # a code depends on what stands for a gap, and that on the row alone
        scores = run.anomaly(gappy / "equal.csv", score=kind).scores
        among = run.anomaly(gappy / "others.csv", score=kind).scores[5:14]
        assert_one_value(torch.cat([scores, among]))


def test_what_stands_for_a_gap_adds_nothing_to_a_score(gappy):
    """A model that knows the draws to be N(0, 1) scores a row by its given cells alone."""
    dataset = pofx.load_data(gappy / "train.csv")

    class Factors(torch.nn.Module):
        def log_prob(self, x):
            return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    equal = under(gappy / "equal.csv", dataset.schema, dataset.source).x
    scorer = Scorer(Factors(), dataset.spec, equal, given=dataset.schema.given)
    given = dataset.schema.given(equal)
    assert given.sum() == 20 * (equal.shape[1] - 2)
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(equal)[given].view(20, -1).sum(1)
    assert torch.allclose(scorer(equal), expected.double(), atol=1e-5)


def test_equal_rows_to_learn_from_have_draws_of_their_own(gappy):
    """A draw that is repeated in training would be a spike to learn."""
    lines = (gappy / "train.csv").read_text().splitlines()
    (gappy / "twice.csv").write_text("\n".join([lines[0], *lines[1:] * 2, *["0.1,,,x"] * 30]))
    dataset = pofx.load_data(gappy / "twice.csv")
    x = dataset.train.values()[0]
    drawn = x[~dataset.schema.given(x)]
    assert len(drawn.unique()) == len(drawn) > 100
