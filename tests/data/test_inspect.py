from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pofx.cli import main
from pofx.data import DataError, arrays, inspect, load

RNG = np.random.default_rng(0)


def test_a_set_of_labelled_images():
    x = RNG.integers(10, 200, (60, 4, 6), dtype=np.uint8)
    np.savez("a.npz", x=x, y=np.arange(60) % 3)
    report = inspect.inspect("a.npz")
    assert report.what == "grey images of 4x6 (height x width)"
    assert report.counts == {"train": 48, "valid": 6, "test": 6}
    assert (report.low, report.high) == (x.min(), x.max())
    assert report.classes == {"0": 20, "1": 20, "2": 20}
    assert (report.duplicates, report.leaked) == (0, 0)


def test_duplicates_and_leaks_are_counted():
    x = RNG.normal(0, 1, (60, 4))
    x[30:] = x[:30]
    report = inspect.inspect(x)
    train = {r.tobytes() for r in report.dataset.train.x}
    assert report.duplicates == 30
    assert report.leaked == sum(r.tobytes() in train for r in report.dataset.test.x) > 0


def test_rows_with_gaps_are_duplicates_too():
    Path("t.csv").write_text("a,b\n" + "".join(f",{i % 10}\n{i % 10},7\n" for i in range(20)))
    report = inspect.inspect("t.csv")
    assert report.duplicates == 20
    assert report.leaked > 0


def test_the_range_is_found_in_blocks(monkeypatch):
    x = RNG.normal(0, 1, (60, 4)).astype(np.float32)
    monkeypatch.setattr(inspect, "BLOCK_BYTES", 4 * 4 * 7)
    report = inspect.inspect(x, standardize=False)
    assert (report.low, report.high) == (float(x.min()), float(x.max()))


def test_a_mapped_set_counts_no_duplicates(monkeypatch):
    np.save("a.npy", RNG.normal(0, 1, (60, 4)))
    monkeypatch.setattr(arrays.limits, "MAP_BYTES", 0)
    report = inspect.inspect("a.npy")
    assert (report.duplicates, report.leaked) == (None, None)


def test_columns_say_what_is_missing_and_frequent():
    rows = "".join(
        f"{i % 9},{'ab'[i % 3 == 0] if i % 5 else ''},{'' if i % 4 else i}\n" for i in range(40)
    )
    Path("t.csv").write_text("n,word,gap\n" + rows)
    n, word, gap = inspect.inspect("t.csv").columns
    assert (n.kind, n.missing, n.values) == ("int", 0, "0 to 8")
    assert (word.kind, word.missing, word.values) == ("category", 8, "2: a (21), b (11)")
    assert (gap.kind, gap.missing, gap.values) == ("int", 30, "0 to 36")


@pytest.mark.parametrize(
    ("source", "shape"),
    [("digits", None), ("two-moons", (512, 512)), ("images", None), ("vectors", None)],
)
def test_a_contact_sheet_is_a_picture_of_training_examples(source, shape):
    if source == "images":
        source = RNG.integers(0, 256, (90, 4, 6, 5), dtype=np.uint8)
    elif source == "vectors":
        source = RNG.normal(0, 1, (90, 5))
    path = inspect.sheet(load(source), "sheets/a.png")
    picture = Image.open(path)
    assert min(picture.size) > 64
    assert shape is None or picture.size == shape
    assert np.asarray(picture).std() > 5


@pytest.mark.parametrize("path", ["a.jpg", "a", "", "folder.png"])
def test_a_sheet_goes_to_a_png(path):
    Path("folder.png").mkdir()
    with pytest.raises(DataError, match=r"\.png"):
        inspect.sheet(load("digits", limit=20), path)
    assert [p.name for p in Path().iterdir()] == ["folder.png"]


def test_the_command_says_all_of_it(capsys):
    for i, name in enumerate(["cat", "dog"] * 15):
        Path(f"pets/{name}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (i, 9, 200)).save(f"pets/{name}/{i}.png")
    Path("pets/cat/cut.png").write_bytes(b"\x89PNG")
    rows = [
        "file,caption",
        *(f"{'cat' if i % 2 == 0 else 'dog'}/{i}.png,pet {i}" for i in range(9)),
    ]
    Path("pets/captions.csv").write_text("\n".join(rows))
    with pytest.raises(SystemExit) as ended:
        main(["data", "pets", "--sheet", "s.png"])
    assert not ended.value.code
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "RGB images of 4x6", "30 (24 train, 3 valid, 3 test)", "0 to 200", "shape (3, 4, 6)",
        "Bytes(levels=256)", "captions 9", "0 exact", "skipped cat/cut.png", "s.png",
    ):  # fmt: skip
        assert part in said
    assert Image.open("s.png").size[0] > 100


def test_a_table_of_words_has_no_range(capsys):
    Path("t.csv").write_text("a,b\n" + "x,y\nz,x\ny,z\n" * 4)
    with pytest.raises(SystemExit):
        main(["data", "t.csv"])
    said = capsys.readouterr().out
    assert "categories only" in said
    assert "nan" not in said


def test_what_a_terminal_would_obey_is_not_printed(capsys):
    Path("t.csv").write_text("a\x1b[2J,b\n" + "1,\x1b]0;x\x07\n2,y\n3,y\n")
    with pytest.raises(SystemExit):
        main(["data", "t.csv"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "what", "rows", "kinds"),
    [
        ("adult-train.csv", "table of 15 columns", 32_561, {"int": 6, "category": 9}),
        ("winequality-red.csv", "table of 12 columns", 1_599, {"float": 11, "int": 1}),
        ("banknote_authentication.csv", "table of 5 columns", 1_372, {"float": 4, "binary": 1}),
    ],
)
def test_tables_as_people_have_them(name, what, rows, kinds, real_data):
    report = inspect.inspect(real_data / "tabular-uci" / name)
    assert (report.what, sum(report.counts.values())) == (what, rows)
    assert {k: sum(c.kind == k for c in report.columns) for k in kinds} == kinds
    if name.startswith("adult"):
        assert [c.missing for c in report.columns if c.missing] == [1_836, 1_843, 583]


def test_bytes_of_a_text_are_told_from_each_other(tmp_path):
    (tmp_path / "a.txt").write_text("é" * 300 + "à" * 200, encoding="utf-8")
    report = inspect.inspect(tmp_path / "a.txt", tokens="bytes", length=8)
    names = [word for word in report.text.common.split() if not word[0].isdigit()]
    assert names == [r"b'\xc3'", r"b'\xa9'", r"b'\xa0'"]
    assert "\N{REPLACEMENT CHARACTER}" not in repr(report)
