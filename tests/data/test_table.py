import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pofx.data import DataError, Schema, load
from pofx.data.raw import WHOLE
from pofx.data.schema import table_spec
from pofx.data.table import read_table, scale
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Real


def table(text, name="t.csv"):
    with open(name, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return load(name)


def rows(header, n=30):
    """Rows of a float, a whole number, a category and a number that may be missing."""
    lines = [
        f"{i / 4},{i % 7 - 3},{('red', 'dark blue', '')[i % 3]},{'' if i % 5 == 0 else i}"
        for i in range(n)
    ]
    return "\n".join([header, *lines] if header else lines) + "\n"


def test_columns_are_what_their_cells_are():
    dataset = table(rows("size,step,colour,age"))
    size, step, colour, age = dataset.schema.columns
    assert (size.kind, size.low, size.high, size.decimals) == ("float", 0, 7.25, 2)
    assert (step.kind, step.low, step.high, step.missing) == ("int", -3, 3, False)
    assert (colour.kind, colour.categories) == ("category", ("dark blue", "red", ""))
    assert (age.kind, age.missing) == ("int", True)
    assert dataset.spec.support == Mixed((Real(), Real(), Categorical(3), Real(), Binary()))
    assert dataset.spec.log_scale == pytest.approx(sum(np.log(c.std) for c in (size, step, age)))
    x = torch.cat([s.values()[0] for s in dataset.splits.values()])
    assert x[:, 4].sum() == 6
    assert set(x[:, 2].tolist()) == {0, 1, 2}


def test_only_numbers_are_real_and_zeros_and_ones_are_binary():
    assert table("1.5,2\n2.5,3\n3.5,5\n").spec.support == Real()
    assert table("1.5,1\n2.5,0\n3.5,0\n").spec.support == Mixed((Real(), Binary()))
    assert table("a\n1\n1\n1\n").spec.support == Real()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (rows("a,b,c,d"), ["a", "b", "c", "d"]),
        (rows(""), ["column 1", "column 2", "column 3", "column 4"]),
        ("name,pet\nann,cat\nbob,dog\ncid,cat\n", ["name", "pet"]),
        ("cat,dog\ncat,cat\ndog,dog\ndog,cat\n", ["column 1", "column 2"]),
        (",a\n1,2\n3,4\n5,7\n", ["", "a"]),
    ],
)
def test_a_header_is_told_from_a_row(text, names):
    assert table(text).schema.names == names


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(delimiter, end):
    text = "a,b,c\n1,2.5,x\n3,4.5,y\n\n5,6.25,x\n".replace(",", delimiter).replace("\n", end)
    schema = table("\ufeff" + text).schema
    assert schema.delimiter == delimiter
    assert [c.kind for c in schema.columns] == ["int", "float", "category"]
    assert schema.names == ["a", "b", "c"]


def test_quotes_hold_delimiters_quotes_and_line_ends():
    dataset = table('a,b\n1,"x, ""y"""\n2,"two\nlines"\n3,plain\n')
    assert dataset.schema.columns[1].categories == ("plain", "two\nlines", 'x, "y"')


WORDS = ("red", "dark blue", 'a "b"', "c,d", "日本", "two\nlines", "é", "-", "None")


def random_column(r, n):
    """Cells, and what may differ when they come back: nothing, or a share of the largest."""
    kind = r.choice(("int", "binary", "word", "decimal", "float"))
    far = 10 ** r.uniform(-30, 30)
    draw = {
        "int": lambda: r.randint(-4_000_000, 4_000_000),
        "binary": lambda: r.randint(0, 1),
        "word": lambda: r.choice(WORDS),
        "decimal": lambda: round(r.uniform(-500, 500), r.randint(0, 3)),
        "float": lambda: r.gauss(far * r.random(), far),
    }[kind]
    gap = r.choice((0, 0, 0.2))
    cells = ["" if r.random() < gap else draw() for _ in range(n)]
    return [cells[0] if cells[0] != "" else draw(), *cells[1:]], 1e-6 if kind == "float" else 0


def write_csv(path, header, columns):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def through(path):
    """A table's rows, encoded and decoded again, with its schema stored in between."""
    raw = read_table(path)
    x = raw.parts[WHOLE].x
    columns, values = scale(raw.columns, x, np.arange(len(x)), True)
    supports, _ = table_spec(columns)
    schema = Schema(DataSpec((len(supports),), Mixed(supports)), columns, raw.header)
    return Schema.from_json(json.loads(json.dumps(schema.to_json()))).rows(torch.from_numpy(values))


def test_random_tables_come_back(tmp_path):
    for seed in range(300):
        r = random.Random(seed)
        n = r.randint(3, 25)
        columns, slack = zip(*(random_column(r, n) for _ in range(r.randint(2, 6))), strict=True)
        write_csv(tmp_path / "t.csv", [f"name {i}" for i in range(len(columns))], columns)
        back = list(zip(*through(tmp_path / "t.csv"), strict=True))
        for cells, again, share in zip(columns, back, slack, strict=True):
            largest = max((abs(c) for c in cells if isinstance(c, float)), default=0)
            for cell, other in zip(cells, again, strict=True):
                if cell == "" or share == 0:
                    assert other == cell, (seed, cell, other)
                else:
                    assert abs(other - cell) <= share * largest, (seed, cell, other)


def test_the_split_leaves_every_row_whole(tmp_path):
    r = random.Random(0)
    columns = [list(range(200)), [r.choice(WORDS) for _ in range(200)]]
    columns += [[round(r.random(), 3) for _ in range(200)], [r.choice((5, "")) for _ in range(200)]]
    write_csv(tmp_path / "t.csv", "abcd", columns)
    dataset = load(tmp_path / "t.csv")
    back = [
        tuple(row) for s in dataset.splits.values() for row in dataset.schema.rows(s.values()[0])
    ]
    assert sorted(back, key=lambda row: row[0]) == list(zip(*columns, strict=True))


def test_whatever_a_model_draws_is_a_row_of_the_users_table():
    schema = table(rows("size,step,colour,age")).schema
    x = torch.randn(500, 5) * 9
    for size, step, colour, age in schema.rows(x):
        assert isinstance(size, float)
        assert 0 <= size <= 7.25
        assert round(size, 2) == size
        assert isinstance(step, int)
        assert -3 <= step <= 3
        assert colour in ("red", "dark blue", "")
        assert age == "" or (isinstance(age, int) and 1 <= age <= 29)
    assert {row[3] == "" for row in schema.rows(x)} == {True, False}


def test_a_category_of_numbers_but_one_is_doubted_by_line():
    cells = "\n".join(str(i) for i in range(40))
    notes = table(f"age\n{cells}\n4o\n").notes
    assert any("'4o' in line 42" in n and "40 of 41" in n for n in notes)
    assert not table("grade\n" + "A\n1\nB\nC\n" * 9).notes


def test_a_decimal_comma_is_noted():
    (note,) = table("a;b\n" + "0,5;1\n2,25;2\n7,5;3\n").notes
    assert "column 'a'" in note
    assert "'0,5' in line 2 has a decimal comma" in note


@pytest.mark.parametrize(
    ("name", "text", "delimiter", "first"),
    [
        ("t.csv", "1,5;2,5\n2,5;3,25\n4,5;1,5\n", ";", "1,5"),
        ("t.csv", "1,5|7|2,5\n2,5|8|3,25\n4,5|9|1,5\n", "|", "1,5"),
        ("t.csv", "Höhe, m;Breite, m\n1,5;2,5\n2,5;3,25\n4,5;1,5\n", ";", "1,5"),
        ("t.csv", "1,2;x\n2,3;y\n3,4;z\n", ";", "1,2"),
        ("t.csv", "1,a;b,2\n2,b;c,3\n3,c;d,4\n", ",", 1),
        ("t.csv", "name,tags\na b,c;d\ne f,g;h\ni j,k;l\n", ",", "a b"),
        ("t.tsv", "1,5\t2,5\n2,5\t3,25\n4,5\t1,5\n", "\t", "1,5"),
        ("t.tsv", "1,2,3\t4\n2,3,4\t5\n3,4,5\t6\n", "\t", "1,2,3"),
        ("t.TSV", "1,5\n2,5\n3,5\n", "\t", "1,5"),
    ],
)
def test_a_decimal_comma_does_not_cut(name, text, delimiter, first):
    dataset = table(text, name)
    assert dataset.schema.delimiter == delimiter
    rows = [r for s in dataset.splits.values() for r in dataset.schema.rows(s.values()[0])]
    assert first in [r[0] for r in rows]


def test_words_that_name_rows_are_noted():
    unique = "".join(f"{i},person {i}\n" for i in range(30))
    assert any("teach nothing: who" in n for n in table("n,who\n" + unique).notes)
    shared = "".join(f"{i},person {i % 9}\n" for i in range(30))
    assert not table("n,who\n" + shared).notes


def test_an_unnamed_column_is_named_by_its_place():
    with pytest.raises(DataError, match="column 3 has no value"):
        table("a,b,\n1,2,\n3,4,\n5,6,\n")


def test_whole_numbers_too_far_apart_are_noted():
    for text in ("id\n1\n5\n123456789\n", f"id\n{10**17}\n{10**17 + 1}\n{10**17 + 2}\n"):
        dataset = table(text)
        assert any("rounded" in n for n in dataset.notes)
        assert isinstance(dataset.schema.rows(dataset.train.values()[0])[0][0], int)
    assert not table("id\n1\n5\n1234567\n").notes


def test_constant_columns_are_noted_and_come_back():
    dataset = table("a,b,c\n7,x,1\n7,x,2\n7,x,3\n")
    assert any("a, b" in n for n in dataset.notes)
    assert {tuple(r[:2]) for r in dataset.schema.rows(dataset.train.values()[0])} == {(7, "x")}


@pytest.mark.parametrize("cell", ["?", "NA", "nan", "null", "", "#N/A"])
def test_what_stands_for_nothing(cell):
    column = table(f"a,b\n1,2\n{cell},3\n3,5\n").schema.columns[0]
    assert (column.kind, column.missing) == ("int", True)


def test_numbers_that_only_just_fit():
    dataset = table("a\n3e38\n-3e38\n1\n2\n")
    assert all(np.isfinite(s.x).all() for s in dataset.splits.values())
    with pytest.raises(DataError, match="line 4, column 'a': '1e39'"):
        table("a\n1\n2\n1e39\n")


def test_numbers_are_standardised_by_the_training_rows_alone():
    rows = np.random.default_rng(0).lognormal(0, 2, 200)
    dataset = table("a,b\n" + "".join(f"{v},{'x' if v > 1 else 'y'}\n" for v in rows))
    train = dataset.train.values()[0].double()[:, 0]
    assert float(train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-5)
    whole = torch.cat([s.values()[0] for s in dataset.splits.values()]).double()[:, 0]
    assert abs(float(whole.mean())) > 1e-3


def test_a_column_without_a_number_in_training_keeps_its_scale():
    columns, values = scale(
        read_table_of("a,b\n1,\n2,\n3,4\n"), np.array([[1, np.nan], [2, np.nan], [3, 4]]),
        np.array([0, 1]), True,
    )  # fmt: skip
    assert (columns[1].mean, columns[1].std) == (0, 1)
    assert values[:, 2].tolist() == [1, 1, 0]
    assert values[2, 1] == 4


def test_what_is_missing_is_a_draw_from_a_normal_that_each_row_keeps():
    cells = ["" if i % 3 else str(i) for i in range(6_000)]
    text = "a,b\n" + "".join(f"{a},{b}\n" for a, b in zip(cells, reversed(cells), strict=True))
    first, again = table(text), table(text)
    assert first.fingerprint == again.fingerprint
    x = np.concatenate([s.x for s in first.splits.values()])
    gaps = [np.sort(x[x[:, i + 1] == 1, i].astype(np.float64)) for i in (0, 2)]
    for gap in gaps:
        expected = torch.special.ndtri(torch.arange(0.5, 4_000, dtype=torch.float64) / 4_000)
        assert np.abs(gap - expected.numpy())[40:-40].max() < 0.15
    assert not np.array_equal(*gaps)
    back = [r for s in first.splits.values() for r in first.schema.rows(s.values()[0])]
    assert sorted(str(r[0]) for r in back) == sorted(cells)


def read_table_of(text):
    table(text)
    return read_table(Path("t.csv")).columns
