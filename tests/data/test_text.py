import builtins
import importlib.util
import json
from itertools import islice

import numpy as np
import pytest
import torch

import pofx
from pofx.cli import main
from pofx.data import DataError, batches, limits, load, text, write
from pofx.data.inspect import inspect
from pofx.data.schema import Schema
from pofx.data.tokens import Tokens, cut
from pofx.data.under import under
from pofx.spec import Categorical

PROSE = "The quick brown fox jumps over the lazy dog; Größe zählt, naïve café, 日本語 — 😀!\n" * 60
_ABSENT = importlib.util.find_spec("tokenizers") is None
_PIECES = pytest.param("bpe", marks=pytest.mark.skipif(_ABSENT, reason="no tokenizers"))
KINDS = ["characters", "bytes", _PIECES]


@pytest.fixture
def prose(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text(PROSE, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_text_comes_back_from_its_tokens(kind):
    tokens = cut(PROSE, kind)
    index = tokens.encode(PROSE)
    assert tokens.decode(index) == PROSE
    assert "".join(tokens.stream(index.tolist())) == PROSE
    assert tokens.count(index) == len(PROSE)
    assert index.min() >= 0
    assert index.max() < tokens.levels
    again = Tokens.from_json(json.loads(json.dumps(tokens.to_json())))
    assert again == tokens
    assert again.decode(index) == PROSE


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_comes_back(kind):
    rng, pieces = np.random.default_rng(0), cut(PROSE, "bpe") if kind == "bpe" else None
    ends = (0x80, 0x800, 0xD800, 0x110000)
    for i in range(1000):
        points = rng.integers(0, ends[i % 4], rng.integers(0, 30))
        strange = (
            "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000) + "\r\n\u2028 \u0301\0"
        )
        tokens = pieces or cut(strange, kind)
        index = tokens.encode(strange)
        assert tokens.decode(index) == strange
        assert "".join(tokens.stream(index.tolist())) == strange
        assert tokens.count(index) == len(strange)


def test_a_character_in_pieces_is_told_when_it_is_whole():
    index = cut("", "bytes").encode("é")
    assert list(cut("", "bytes").stream(index.tolist())) == ["", "é", ""]
    assert cut("", "bytes").decode(index[:1]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("kind", KINDS)
def test_windows_never_cross_the_split(prose, kind):
    dataset = load(prose, length=8, tokens=kind)
    tokens, parts = dataset.schema.tokens, text.parted(PROSE)
    assert dataset.spec.shape == (8,)
    assert dataset.spec.support == Categorical(tokens.levels)
    trained = tokens.encode(parts[0])
    assert len(dataset.train) == len(trained) - 7
    for start in (0, 100, len(trained) - 8):
        assert dataset.train.values([start])[0][0].tolist() == trained[start : start + 8].tolist()
    for split, part in zip((dataset.valid, dataset.test), parts[1:], strict=True):
        held = tokens.encode(part)
        assert len(split) == len(held) // 8
        assert split.values()[0].flatten().tolist() == held[: len(split) * 8].tolist()


def test_training_starts_at_every_token_and_a_resume_is_where_it_was(prose):
    dataset = load(prose, length=8)
    n, size = len(dataset.train), 50
    seen = [b.x for b in islice(batches(dataset.train, size, seed=3), n // size + 1)]
    whole = dataset.train.values()[0]
    first = torch.cat(seen)[:n]
    assert torch.equal(first.sort(0).values, whole.sort(0).values)
    later = next(batches(dataset.train, size, seed=3, step=4)).x
    assert torch.equal(later, seen[4])


def test_windows_share_the_memory_of_the_text(prose):
    dataset = load(prose, length=64)
    assert np.shares_memory(dataset.train.x[:1], dataset.train.x[1:2])
    x, cond = dataset.train.whole("prose")
    assert cond is None
    assert x.untyped_storage().nbytes() == 4 * (len(dataset.train) + 63)
    assert torch.equal(x[5], dataset.train.values([5])[0][0])


def test_the_same_text_has_the_same_fingerprint_and_another_has_another(prose):
    first = load(prose, length=8).fingerprint
    assert load(prose, length=8).fingerprint == first
    assert load(prose, length=9).fingerprint != first
    prose.write_text(PROSE.replace("q", "Q", 1), encoding="utf-8")
    assert load(prose, length=8).fingerprint != first


def test_a_limit_takes_the_beginning(prose):
    dataset = load(prose, length=8, limit=40)
    total = sum(len(text.running_text(s)) for s in dataset.splits.values())
    assert total <= 40 * 8
    assert dataset.train.values([0])[0][0].tolist() == load(prose).train.x[0, :8].tolist()


def test_a_mark_of_byte_order_is_no_character(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + b"ab" * 200)
    assert load(tmp_path / "a.txt", length=4).schema.tokens.characters == "ab"


def test_the_schema_and_a_file_bring_text_back(prose, tmp_path):
    dataset = load(prose, length=8)
    schema = Schema.from_json(json.loads(json.dumps(dataset.schema.to_json())))
    assert schema == dataset.schema
    x = dataset.test.values([0, 1])[0]
    texts = schema.texts(x)
    assert "".join(texts) == text.parted(PROSE)[2][:16]
    written = write(x, schema, tmp_path / "out" / "a.txt").read_text(encoding="utf-8")
    assert written == f"{texts[0]}\n{'-' * 40}\n{texts[1]}\n"
    assert write(x, schema, tmp_path / "a.npy").exists()
    assert np.array_equal(np.load(tmp_path / "a.npy"), x.numpy().astype(np.int64))


BAD = {
    "empty": (b"", "is empty"),
    "binary": (b"PK\x00\x01" * 300, "is no text, as byte 2 is 0"),
    "utf-16": ("ab".encode("utf-16") * 300, "is no text"),
    "latin-1": (b"a\n\xe9b" * 99, "in line 2"),
    "one symbol": (b"a" * 9999, "holds only one symbol"),
    "short": (b"abc" * 100, "has only 300 tokens, of which 15 test"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_text_is_one_sentence(case, tmp_path):
    content, words = BAD[case]
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_options_that_do_not_suit_are_refused(prose, monkeypatch):
    for options, words in (
        ({"length": 1}, "from 2 to"), ({"tokens": "words"}, "no tokens called 'words'"),
        ({"binarize": "sample"}, "no bytes"), ({"classes": ["a"]}, "no classes"),
        ({"resize": 8}, "no images"), ({"limit": 1}, "limit is 1"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            load(prose, **options)
    with pytest.raises(DataError, match="digits is no text"):
        load("digits", length=8)
    monkeypatch.setattr(limits, "TEXT_BYTES", 100)
    with pytest.raises(DataError, match="more than the 100 bytes"):
        load(prose)
    monkeypatch.undo()
    monkeypatch.setattr(limits, "SYMBOLS", 20)
    with pytest.raises(DataError, match="--tokens bytes or bpe"):
        load(prose)


def test_pieces_need_their_package(prose, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'pofx\[text\]'"):
        load(prose, tokens="bpe")


def test_a_text_is_inspected(prose, capsys):
    report = inspect(prose, length=16)
    assert report.what == "text in sequences of 16 characters"
    assert report.text.symbols == report.text.vocabulary == len(set(PROSE))
    with pytest.raises(SystemExit) as ended:
        main(["data", str(prose), "--length", "16"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert all(words in said for words in ("characters", "rarest", "frequent", "lines"))


def test_tinyshakespeare_is_cut_as_everyone_cuts_it(real_data, monkeypatch):
    if not (real_data / "tinyshakespeare").is_dir():
        pytest.skip("no tinyshakespeare in POFX_DATA")
    dataset = pofx.load_data("tinyshakespeare")
    assert dataset.spec.support == Categorical(65)
    assert len(text.running_text(dataset.train)) == 1_003_854
    assert (len(dataset.valid), len(dataset.test)) == (871, 871)


def test_another_text_is_cut_as_the_models_was(prose, tmp_path):
    dataset = load(prose, length=8)
    (tmp_path / "new.txt").write_text("lazy dog; quick fox jumps", encoding="utf-8")
    found = under(tmp_path / "new.txt", dataset.schema, dataset.source)
    assert dataset.schema.texts(found.x) == ["lazy dog", "; quick ", "fox jump"]
    (tmp_path / "short.txt").write_text("lazy", encoding="utf-8")
    (tmp_path / "other.txt").write_text("Ω" * 99, encoding="utf-8")
    for source, words in (
        (tmp_path / "short.txt", "fewer than the 8 tokens"),
        (tmp_path / "other.txt", "not among the"),
        (tmp_path / "none.txt", "cannot be read"),
        ("digits", "trained on text"),
    ):
        with pytest.raises(DataError, match=words):
            under(source, dataset.schema, dataset.source)
    digits = load("digits")
    with pytest.raises(DataError, match="is text"):
        under(prose, digits.schema, digits.source)
