import math

import pytest
import torch
from torch import nn

from pofx import catalogue
from pofx.data import load, text
from pofx.evaluation.evaluate import evaluate
from pofx.evaluation.text import in_context

RHYME = "Round and round the rugged rocks the ragged rascal ran; où ça?\n" * 240


@pytest.fixture
def rhyme(tmp_path):
    (tmp_path / "rhyme.txt").write_text(RHYME, encoding="utf-8")
    return tmp_path / "rhyme.txt"


class Even(nn.Module):
    """All tokens are as likely."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels

    def log_prob(self, x):
        return torch.full((len(x),), -x.shape[1] * math.log(self.levels))


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_units_are_those_of_tokens_and_of_characters(rhyme, kind):
    dataset = load(rhyme, length=21, tokens=kind)
    report = evaluate(Even(dataset.spec.support.levels), dataset)
    nats = math.log(dataset.spec.support.levels)
    assert report.text.kind == "exact"
    assert report.text.nats_per_token == pytest.approx(nats)
    x = dataset.test.values()[0]
    whole = dataset.schema.texts(x.flatten()[None])[0]
    per_token = len(whole.strip("\N{REPLACEMENT CHARACTER}")) / x.numel()
    assert report.text.bits_per_character == pytest.approx(nats / math.log(2) / per_token, rel=1e-3)
    assert report.text.in_context is None
    assert report.to_json()["text"]["kind"] == "exact"
    assert any("bits per character (exact)" in row for row in report.rows())
    assert not report.features


def test_windows_with_enough_context_are_the_running_text(rhyme):
    dataset = load(rhyme, length=20)
    model = catalogue.build("ngram", dataset.spec, order=4).model
    model.fit(*dataset.train.whole("rhyme"))
    tokens = text.running_text(dataset.test)
    each = -model.log_running(torch.from_numpy(tokens)[None])[0]
    scored = (len(tokens) - 20) // 10 * 10 + 10
    assert in_context(model, tokens, 20, 10) == pytest.approx(each[10 : 10 + scored].mean().item())
    report = evaluate(model, dataset)
    assert report.text.in_context < report.text.nats_per_token


def test_samples_of_a_text_are_judged_where_features_are_named(rhyme):
    dataset = load(rhyme, length=20)
    model = catalogue.build("ngram", dataset.spec, order=4).model
    model.fit(*dataset.train.whole("rhyme"))
    report = evaluate(model, dataset, n=20, features="pca")
    assert "frechet" in report.metrics


def test_what_is_learned_by_heart_is_seen(tmp_path):
    words = torch.randint(0, 26, (6000,), generator=torch.Generator().manual_seed(0))
    (tmp_path / "noise.txt").write_text("".join(chr(97 + k) for k in words.tolist()))
    dataset = load(tmp_path / "noise.txt", length=20)
    long, short = (catalogue.build("ngram", dataset.spec, order=k).model for k in (12, 2))
    for model in (long, short):
        model.fit(*dataset.train.whole("noise"))
    learned, counted = (evaluate(model, dataset).metrics["copied"] for model in (long, short))
    assert learned.value > 0.05
    assert counted.value < 0.001
    assert learned.floor == counted.floor < 0.001
