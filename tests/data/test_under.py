"""New data in the terms of a trained model's schema."""

import numpy as np
import pytest
import torch

from pofx.data.limits import DataError
from pofx.data.source import load
from pofx.data.under import under
from pofx.spec import Binary


@pytest.mark.parametrize("options", [{}, {"binarize": "threshold"}, {"resize": 6}])
def test_a_sets_own_test_examples_come_back_as_the_model_saw_them(options):
    dataset = load("digits", **options)
    found = under("digits", dataset.schema, dataset.source)
    x, y = dataset.test.values()
    rows = {row.numpy().tobytes() for row in found.x}
    assert all(row.numpy().tobytes() in rows for row in x)
    assert len(found.x) == len(found.labels) == 1797
    assert found.labels[:3] == ("0", "1", "2")
    assert y is not None


def test_dequantised_values_lie_in_their_cells():
    dataset = load("digits", dequantize=True)
    found = under("digits", dataset.schema, dataset.source)
    plain = under("digits", load("digits").schema, {})
    cells = ((found.x + 1) * (17 / 2)).floor() * (2 / 16) - 1
    assert torch.allclose(cells, plain.x, atol=1e-6)


def test_numbers_take_the_training_rows_scale(tmp_path):
    x = np.random.default_rng(0).normal(7, 3, (80, 4))
    dataset = load(x)
    new = np.array([[7.0, 0.0, 1e3, -5.0]] * 3)
    found = under(new, dataset.schema, dataset.source)
    expected = (new - np.array(dataset.schema.mean)) / np.array(dataset.schema.std)
    assert np.allclose(found.x.numpy(), expected, rtol=1e-5)
    assert found.labels is None


def table(path, rows, header="a,pet,b,kind"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def pets(tmp_path):
    rows = [
        f"{i * 1.5},{'cat dog eel'.split()[i % 3]},{i % 2},{'odd' if i % 2 else 'even'}"
        for i in range(30)
    ]
    path = table(tmp_path / "pets.csv", rows)
    return load(path, label="kind"), path


def test_a_tables_columns_are_found_by_name_and_its_words_by_the_models_code(pets, tmp_path):
    dataset, path = pets
    assert dataset.spec.class_names == ("even", "odd")
    assert [c.name for c in dataset.schema.columns] == ["a", "pet", "b"]
    new = table(tmp_path / "new.csv", ["eel,0,6.0", "cat,1,1.5", "eel,1,0.0"], "pet,b,a")
    found = under(new, dataset.schema, dataset.source)
    assert found.labels is None
    assert found.x[:, 1].tolist() == [2.0, 0.0, 2.0]
    assert found.x[:, 2].tolist() == [0.0, 1.0, 1.0]
    again = under(path, dataset.schema, dataset.source)
    assert again.labels[:3] == ("even", "odd", "even")
    x, y = dataset.test.values()
    rows = {row.numpy().tobytes(): label for row, label in zip(again.x, again.labels, strict=True)}
    assert [rows[r.numpy().tobytes()] for r in x] == [dataset.spec.class_names[k] for k in y]


@pytest.mark.parametrize(
    ("rows", "header", "word"),
    [
        (["1,cat", "2,dog", "3,cat"], "a,pet", "lacks columns"),
        (["1,fox,0", "2,dog,1", "3,cat,0"], "a,pet,b", "'fox'"),
        (["1,cat,0", ",dog,1", "3,cat,0"], "a,pet,b", "example 2"),
        (["1,cat,0", ",dog,1", "y,cat,0"], "a,pet,b", "'y' in example 3, where the model knows n"),
        (["1,cat,0", "2,dog,5", "3,cat,0"], "a,pet,b", "0 or 1"),
    ],
)
def test_what_the_model_cannot_know_is_named(pets, tmp_path, rows, header, word):
    dataset, _ = pets
    with pytest.raises(DataError, match=word):
        under(table(tmp_path / "new.csv", rows, header), dataset.schema, dataset.source)


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (np.zeros((5, 1, 6, 6), np.uint8), "shape"),
        (np.full((5, 1, 8, 8), 200, np.uint8), "0 to 16"),
        (np.random.rand(5, 1, 8, 8), "bytes"),
    ],
)
def test_other_images_are_refused(new, word):
    dataset = load("digits")
    with pytest.raises(DataError, match=word):
        under(new, dataset.schema, dataset.source)


def test_a_table_is_no_array_and_an_array_no_table(pets):
    dataset, path = pets
    with pytest.raises(DataError, match="no table"):
        under(np.zeros((5, 3)), dataset.schema, dataset.source)
    with pytest.raises(DataError, match="not trained on one"):
        under(path, load(np.random.rand(30, 3)).schema, {})


@pytest.mark.parametrize(("label", "word"), [("nope", "has a, pet"), ("a", "whole numbers")])
def test_a_label_is_a_column_of_classes(pets, label, word):
    with pytest.raises(DataError, match=word):
        load(pets[1], label=label)
    with pytest.raises(DataError, match="is no table"):
        load("digits", label="x")


def test_a_column_of_numbers_meets_words_with_its_gaps(tmp_path):
    """Where the model knows words and gaps, numbers with gaps are looked up among them."""
    rows = [f"{i},{('1', '2', 'x', '')[i % 4]}" for i in range(40)]
    dataset = load(table(tmp_path / "old.csv", rows, "a,b"))
    new = table(tmp_path / "new.csv", ["1,2", "2,", "3,1"], "a,b")
    found = under(new, dataset.schema, dataset.source)
    known = dataset.schema.columns[1].categories
    assert [known[int(k)] for k in found.x[:, 1]] == ["2", "", "1"]


def test_one_row_of_a_table_is_seen_as_it_is_among_others(pets, tmp_path):
    dataset, path = pets
    rows = path.read_text().splitlines()[1:]
    whole = under(path, dataset.schema, dataset.source).x
    for i in (0, 7, 29):
        alone = under(table(tmp_path / "one.csv", rows[i : i + 1]), dataset.schema, dataset.source)
        assert torch.equal(alone.x, whole[i : i + 1])


def test_one_row_may_lack_what_rows_in_training_lacked(tmp_path):
    rows = [f"{i},{i * 2 if i % 3 else ''}" for i in range(30)]
    dataset = load(table(tmp_path / "old.csv", rows, "a,b"))
    found = under(table(tmp_path / "new.csv", ["4,"], "a,b"), dataset.schema, dataset.source)
    assert found.x.shape == (1, 3)
    assert found.x[0, 2] == 1


@pytest.mark.parametrize("kept", ["array", "x.npy", "x.npz"])
@pytest.mark.parametrize("bits", [False, True])
def test_one_row_of_an_array_is_seen_as_it_is_among_others(tmp_path, kept, bits):
    x = np.random.default_rng(0).normal(7, 3, (80, 4))
    x = (x > 7).astype(float) if bits else x
    x[3:5] = [[0.0], [1.0]]
    dataset = load(x)
    assert (dataset.spec.support == Binary()) is bits
    for i in (0, 3, 4):
        new = x[i : i + 1]
        if kept != "array":
            (np.save if kept == "x.npy" else np.savez)(tmp_path / kept, new)
            new = tmp_path / kept
        alone = under(new, dataset.schema, dataset.source).x
        assert torch.equal(alone, under(x, dataset.schema, dataset.source).x[i : i + 1])
