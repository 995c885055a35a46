import tracemalloc
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pofx.data import DataError, arrays, batches, limits, load
from pofx.errors import UserError
from pofx.spec import Binary, Bytes, Real
from pofx.training.fit import fit

RNG = np.random.default_rng(0)


def native(dataset):
    """All examples in the user's own values, in no order that matters."""
    parts = [dataset.schema.native(s.values()[0]) for s in dataset.splits.values()]
    return np.concatenate(parts)


def alike(x, y):
    """Whether two arrays hold the same examples."""

    def rows(a):
        return sorted(np.ascontiguousarray(r).tobytes() for r in a)

    return x.dtype == y.dtype and x.shape == y.shape and rows(x) == rows(y)


def random_bytes(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


KINDS = {
    "grey": (random_bytes(30, 5, 7), (1, 5, 7), Bytes(256)),
    "channels last": (random_bytes(30, 9, 7, 3), (3, 9, 7), Bytes(256)),
    "channels first": (random_bytes(30, 5, 6, 7), (5, 6, 7), Bytes(256)),
    "vectors of bytes": (random_bytes(30, 5), (5,), Bytes(256)),
    "few levels": (random_bytes(30, 4, 4) % 16, (1, 4, 4), Bytes(16)),
    "bits": (random_bytes(30, 4, 4) > 99, (1, 4, 4), Binary()),
    "bits as numbers": ((random_bytes(30, 6) > 99).astype(np.float64), (6,), Binary()),
    "numbers": (RNG.normal(3, 2, (30, 6)), (6,), Real()),
    "one number each": (RNG.normal(3, 2, 30), (1,), Real()),
    "whole numbers": (RNG.integers(-900, 900, (30, 4)), (4,), Real()),
    "16 bits": (RNG.integers(0, 65_536, (30, 4)).astype(np.uint16), (4,), Real()),
    "half precision": (RNG.normal(0, 1, (30, 4)).astype(np.float16), (4,), Real()),
    "pictures of numbers": (RNG.normal(0, 1, (30, 8, 8)), (1, 8, 8), Real()),
    "five axes": (RNG.normal(0, 1, (30, 2, 2, 2, 3)), (2, 2, 2, 3), Real()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_is_described_and_comes_back(kind, tmp_path):
    x, shape, support = KINDS[kind]
    np.save("a.npy", x)
    dataset = load(tmp_path / "a.npy")
    assert (dataset.spec.shape, dataset.spec.support) == (shape, support)
    back = native(dataset)
    moved = x.transpose(0, 3, 1, 2) if kind == "channels last" else x
    expected = moved.reshape(back.shape)
    if support.discrete:
        assert alike(back, expected.astype(np.uint8))
    elif x.dtype.kind in "iu":
        assert alike(back, expected.astype(np.int64))
    else:
        a, b = np.sort(back, None), np.sort(expected.astype(np.float64), None)
        assert np.allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(b).max())


def test_numbers_are_standardised_by_training_rows_and_the_scale_is_accounted_for():
    x = RNG.normal([1, -50, 1e6], [1, 5, 1e3], (400, 3))
    dataset = load(x)
    z = dataset.train.values()[0].double()
    assert torch.allclose(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(z.std(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-4)
    assert dataset.spec.log_scale == pytest.approx(float(np.log(dataset.schema.std).sum()))
    plain = load(x, standardize=False)
    assert plain.spec.log_scale == 0
    assert alike(native(plain), x.astype(np.float32))


def test_labels_and_parts_of_an_npz():
    x = RNG.normal(0, 1, (40, 3)).astype(np.float32)
    x[:, 0] = np.arange(40)
    np.savez("labelled.npz", x=x, y=np.array(["dog", "cat"] * 20))
    dataset = load("labelled.npz", standardize=False)
    assert dataset.spec.class_names == ("cat", "dog")
    for split in dataset.splits.values():
        values, labels = split.values()
        assert torch.equal(1 - values[:, 0].long() % 2, labels)
    np.savez("parts.npz", x_train=x[:30], x_test=x[30:], y_train=np.arange(30) % 3 + 5,
             y_test=np.arange(10) % 3 + 5)  # fmt: skip
    dataset = load("parts.npz", standardize=False)
    assert [len(s) for s in dataset.splits.values()] == [27, 3, 10]
    assert np.array_equal(dataset.test.x, x[30:])
    assert dataset.spec.class_names == ("5", "6", "7")
    assert dataset.test.y.tolist() == (np.arange(10) % 3).tolist()


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ({"y": np.arange(40) / 7}, "not whole numbers"),
        ({"y": np.arange(40 * 60)[: 40 * 60].reshape(40, 60)}, "one each is expected"),
    ],
)
def test_labels_that_are_no_classes_are_ignored_by_name(y, said):
    np.savez("a.npz", x=np.zeros((40, 3)) + np.arange(40)[:, None], **y)
    dataset = load("a.npz")
    assert dataset.spec.classes == 0
    assert any(said in note for note in dataset.notes)


def test_labels_of_some_parts_only_are_ignored_by_name():
    x = RNG.normal(0, 1, (40, 3))
    np.savez("a.npz", x_train=x[:30], x_test=x[30:], y_train=np.arange(30) % 2)
    dataset = load("a.npz")
    assert dataset.spec.classes == 0
    assert any("'test' has none" in note for note in dataset.notes)


def test_labels_of_a_part_without_examples_leave_the_others_in_peace():
    x, y = RNG.normal(0, 1, (40, 3)), np.arange(40) % 2
    np.savez("a.npz", x_train=x[:30], x_test=x[30:], y_train=y[:30], y_test=y[30:], y_valid=y[:5])
    dataset = load("a.npz")
    assert dataset.spec.classes == 2
    assert dataset.test.y.tolist() == y[30:].tolist()
    assert any("the labels of 'valid' are ignored" in note for note in dataset.notes)


def test_labels_in_a_column_and_labels_in_a_row():
    x, y = RNG.normal(0, 1, (40, 3)), np.arange(40) % 2
    np.savez("a.npz", x_train=x[:30], x_test=x[30:], y_train=y[:30, None], y_test=y[30:])
    assert load("a.npz").test.y.tolist() == y[30:].tolist()
    np.savez("a.npz", x_train=x[:30], x_test=x[30:], y_train=np.eye(2)[y[:30]], y_test=y[30:])
    with pytest.raises(DataError, match=r"shape \(30, 2\) in 'train' and \(10,\) in 'test'"):
        load("a.npz")


def test_labels_in_bytes_are_text():
    np.savez("a.npz", x=np.arange(40.0), y=np.array([b"dog", "ca\u00f1".encode()] * 20))
    assert load("a.npz").spec.class_names == ("ca\u00f1", "dog")


def test_labels_too_large_for_a_class_are_refused():
    np.savez("a.npz", x=np.arange(40.0), y=np.array([0.0, 1e30] * 20))
    with pytest.raises(DataError, match=r"label in row 1 is .*, too large"):
        load("a.npz")


@pytest.mark.parametrize("types", [
    ("uint8", "float32"), ("uint8", "int64"), ("uint8", "uint16"), ("bool", "uint8"),
])  # fmt: skip
def test_parts_of_different_types_are_refused(types):
    a, b = types
    x = random_bytes(40, 6)
    np.savez("a.npz", x_train=x[:30].astype(a), x_test=x[30:].astype(b))
    with pytest.raises(DataError, match=f"type {a} in 'train' and {b} in 'test': save all parts"):
        load("a.npz")


@pytest.mark.parametrize("types", [("float32", "float64"), ("int64", "int32"), (">f4", "<f4")])
def test_parts_of_one_kind_go_together(types):
    x = RNG.integers(-900, 900, (40, 6))
    np.savez("a.npz", x_train=x[:30].astype(types[0]), x_test=x[30:].astype(types[1]))
    dataset = load("a.npz")
    assert np.allclose(dataset.schema.native(dataset.test.values()[0]), x[30:], atol=1e-3)


MAPPED = {
    "bytes": (random_bytes(300, 6, 5), {}),
    "bytes, channels last": (random_bytes(300, 6, 5, 3), {}),
    "bytes, resized": (random_bytes(300, 6, 5), {"resize": 3}),
    "bytes, binarised": (random_bytes(300, 6, 5), {"binarize": "sample"}),
    "bytes, drawn anew": (random_bytes(300, 6, 5), {"binarize": "dynamic"}),
    "bytes, dequantised": (random_bytes(300, 6, 5), {"dequantize": True}),
    "bools": (random_bytes(300, 6) > 99, {}),
    "doubles": (RNG.normal(9, 3, (300, 4)), {}),
    "doubles as they are": (RNG.normal(9, 3, (300, 4)), {"standardize": False}),
    "doubles, some": (RNG.normal(9, 3, (300, 4)), {"limit": 50}),
    "pictures of floats": (RNG.normal(9, 3, (300, 6, 5)).astype(np.float32), {}),
    "other byte order": (RNG.normal(9, 3, (300, 4)).astype(">f4"), {}),
    "column by column": (np.asfortranarray(RNG.normal(9, 3, (300, 4))), {}),
    "16 bits": (RNG.integers(0, 65_536, (300, 4)).astype(">u2"), {}),
}


@pytest.mark.parametrize("kind", MAPPED)
def test_a_mapped_array_is_the_same_data_set(kind, monkeypatch):
    x, options = MAPPED[kind]
    np.save("a.npy", x)
    held = load("a.npy", **options)
    monkeypatch.setattr(limits, "MAP_BYTES", 0)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 500)
    mapped = load("a.npy", **options)
    assert any("mapped" in note for note in mapped.notes)
    assert mapped.spec.log_scale == pytest.approx(held.spec.log_scale)
    assert replace(mapped.spec, log_scale=0) == replace(held.spec, log_scale=0)
    for part, split in held.splits.items():
        index = np.array([0, len(split) - 1, 1])
        for a, b in (
            (split.values(), mapped.splits[part].values()),
            (split.values(index), mapped.splits[part].values(index)),
        ):
            assert torch.allclose(a[0], b[0], rtol=1e-6, atol=1e-6)
            assert a[0].dtype == b[0].dtype == torch.float32
    with (
        closing(batches(held.train, 7, seed=1)) as a,
        closing(batches(mapped.train, 7, seed=1)) as b,
    ):
        for one, other in islice(zip(a, b, strict=True), 60):
            assert torch.allclose(one.x, other.x, rtol=1e-6, atol=1e-6)


def test_a_mapped_array_is_never_in_memory_as_a_whole(monkeypatch):
    x = np.lib.format.open_memmap("a.npy", "w+", np.uint8, (4_000, 100, 100))
    x[:, 0] = np.arange(100, dtype=np.uint8)
    x.flush()
    size = x.nbytes
    del x
    monkeypatch.setattr(limits, "MAP_BYTES", 1 << 20)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        dataset = load("a.npy")
        with closing(batches(dataset.train, 16)) as stream:
            drawn = sum(len(batch) for batch in islice(stream, 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert drawn == 320
    assert peak < size / 4


def test_a_mapped_array_is_not_read_as_a_whole_unchecked(monkeypatch):
    np.save("a.npy", RNG.normal(0, 1, (300, 4)))
    monkeypatch.setattr(limits, "MAP_BYTES", 0)
    monkeypatch.setattr(limits, "MEMORY_BYTES", 1_000)
    with pytest.raises(UserError, match=r"a needs .* give --limit"):
        fit("gmm", "a.npy", quiet=True)
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize("block", [arrays.BLOCK_BYTES, 5 * 24])
def test_the_first_number_that_is_none_is_named(block, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block)
    x = np.zeros((50, 3))
    x[:, 0] = np.arange(50)
    for value, said in ((np.nan, "nan"), (-np.inf, "-inf"), (1e300, "1e+300")):
        y = x.copy()
        y[31, 2] = y[40, 1] = value
        with pytest.raises(DataError, match=rf"holds {said.replace('+', '.')} in row 31, column 2"):
            load(y)


def test_an_array_of_numbers_that_comes_back_in_single_precision():
    dataset = load(np.array([[1e38], [-1e38], [2e38], [0.0]]))
    assert np.isfinite(native(dataset)).all()
