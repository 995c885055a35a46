"""What a notebook shows of each public object: a line or a short table, never an array."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from rich.console import Console

import pofx
from pofx.batch import Batch
from pofx.data.inspect import inspect
from pofx.evaluation.ladder import Ladder
from pofx.tables import Table

TABLE = Table(
    [("<b>name</b>", "a\x1b[31m"), ("日本", "1")], ("column", "value"), "a & b", ("note: <i>",)
)


class Tags(HTMLParser):
    """Tags of a page, each closed where it should be, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_one_table_is_shown_three_ways():
    assert str(TABLE).splitlines() == [
        "a & b", "column       value", "<b>name</b>  a�[31m", "日本         1", "note: <i>"
    ]  # fmt: skip
    page = Tags(TABLE._repr_html_())
    assert page.text == ["a & b", "column", "value", "<b>name</b>", "a�[31m", "日本", "1",
                         "note: <i>"]  # fmt: skip
    assert "i" not in page.seen
    file = io.StringIO()
    Console(width=60, file=file).print(TABLE.terminal())
    assert "<b>name</b>  a�[31m" in file.getvalue()


def test_many_rows_are_counted_and_long_cells_cut():
    many = Table([(str(i), "x" * 1000) for i in range(70)])
    lines = str(many).splitlines()
    assert lines[-1] == "and 20 more"
    assert len(lines) == 51
    assert max(map(len, lines)) < 110
    assert Tags(many._repr_html_()).text[-1] == "and 20 more"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    small = {"channels": (4, 4), "batch_size": 8, "steps": 2, "quiet": True}
    return pofx.fit("ddpm", data="digits", out=folder, **small)


@pytest.fixture
def pets(tmp_path):
    path = tmp_path / "pets.csv"
    rows = "".join(f"{'<script>' if i % 3 else 'dog'},{i / 8}\n" for i in range(80))
    path.write_text(f"pet,<img src=x>\n{rows}")
    return pofx.load_data(path)


def test_a_run_says_what_it_is_and_how_far_it_came(run):
    assert repr(run) == f"Run('{run.path}': ddpm on digits, complete, 2 of 2 steps)"
    assert Tags(run._repr_html_()).text == [
        "run", str(run.path), "recipe", "ddpm", "data", "digits", "state", "complete", "steps",
        "2 of 2",
    ]  # fmt: skip


def test_data_are_a_line_and_a_table(pets):
    digits = pofx.load_data("digits")
    assert repr(digits) == (
        "Dataset('digits': grey images of 8x8 (height x width); 1,437 train, 180 valid, 180 test; "
        "10 classes)"
    )
    assert repr(digits.test) == "Split(180 examples of shape (1, 8, 8): uint8, labels)"
    assert repr(digits.schema) == "Schema(grey images of 8x8 (height x width))"
    assert "1,797 (1,437 train, 180 valid, 180 test)" in Tags(digits._repr_html_()).text
    assert repr(pets.schema.columns[0]) == "Column('pet', category, 2 categories)"
    assert "Mixed(1 x Categorical, 1 x Real)" in repr(pets.spec)


def test_a_report_is_its_table_and_its_warnings(run):
    report = replace(run.evaluate(n=20), warnings=("Nothing <b> was learned.",))
    lines = repr(report).splitlines()
    assert lines[0] == "digits"
    assert lines[2].startswith("log p(x), nats (bound, mass)")
    assert lines[-1] == "warning: Nothing <b> was learned."
    assert lines[-1] in Tags(report._repr_html_()).text
    assert "frechet" in Tags(report._repr_html_()).text
    assert "tensor" not in repr(report.memorization)
    assert repr(report.likelihood) == str(report.likelihood)
    assert " nats (bound, mass; " in repr(report.likelihood)


def test_scores_and_rungs_are_lines(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    fitted = pofx.fit("gmm", data=x, components=1, out=tmp_path / "b", quiet=True)
    found = fitted.anomaly()
    assert repr(found).startswith("score likelihood; threshold ")
    assert " of 6 examples" in repr(found)
    assert "threshold" in Tags(found._repr_html_()).text
    assert repr(fitted.examples(x)).endswith("60 of shape (2,))")
    ladder = Ladder(run.model, run.dataset, samplers=["ddim"], steps=(1,), n=10)
    assert repr(ladder) == "Ladder(1 settings, 10 samples of each)"
    assert "tensor" not in repr(next(iter(ladder)))


def test_names_of_the_user_are_no_tags(pets):
    for page in (pets._repr_html_(), pets.schema._repr_html_(), inspect(pets)._repr_html_()):
        assert not {"script", "img"} & Tags(page).seen
    assert "<img src=x>" in Tags(pets.schema._repr_html_()).text


def test_a_recipe_and_a_batch_are_a_line():
    vae = pofx.build("vae", pofx.DataSpec((2,)), latent=1, hidden=(2,), steps=1000)
    count = sum(p.numel() for p in vae.model.parameters())
    assert repr(vae) == f"Recipe(VAE of {count} parameters, 1,000 steps of 128 examples)"
    assert repr(pofx.build("gmm", pofx.DataSpec((2,)))).endswith("fitted at once)")
    batch = Batch(torch.zeros(5, 2), torch.zeros(5), 0.25)
    assert repr(batch) == "Batch(5 of shape (2,), conditions of shape (), progress 0.25)"


def test_a_long_text_is_not_shown(tmp_path):
    (tmp_path / "a.txt").write_text("some words and more words, " * 100)
    data = pofx.load_data(tmp_path / "a.txt", tokens="bpe", length=8)
    assert "in sequences of 8 pieces" in repr(data)
    assert repr(data.schema.tokens).startswith("Tokens(")
    everything = (data, data.schema, data.schema.tokens, data.train, data.spec)
    assert all(len(repr(o)) < 200 for o in everything)
    assert all("\n" not in repr(o) for o in everything)
