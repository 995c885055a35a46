from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pofx.data import DataError, Dataset, load
from pofx.spec import Binary, Bytes, DataSpec, Interval, Real

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (50, 6, 5), dtype=np.uint8)
X[:, 0, 0] = np.arange(50)


def parts(dataset):
    """Which examples each split holds, by their first pixel."""
    return {k: set(s.x.reshape(len(s), -1)[:, 0].tolist()) for k, s in dataset.splits.items()}


@pytest.mark.parametrize("n", [3, 4, 10, 11, 50])
def test_a_split_is_whole_disjoint_and_fixed_by_the_seed(n):
    split = parts(load(X[:n], seed=4))
    assert set().union(*split.values()) == set(range(n))
    assert not any(a & b for a, b in combinations(split.values(), 2))
    tenth = max(1, round(n / 10))
    assert [len(s) for s in split.values()] == [n - 2 * tenth, tenth, tenth]
    assert parts(load(X[:n], seed=4)) == split


def test_another_seed_is_another_split():
    assert len({tuple(sorted(parts(load(X, seed=s))["test"])) for s in range(6)}) == 6


def test_a_set_keeps_its_own_test_examples():
    np.savez("own.npz", train=X[:40], test=X[40:])
    for seed in (0, 1):
        split = parts(load("own.npz", seed=seed))
        assert split["test"] == set(range(40, 50))
        assert len(split["valid"]) == 4
    np.savez("all.npz", train=X[:30], valid=X[30:35], test=X[35:])
    assert parts(load("all.npz")) == {
        "train": set(range(30)), "valid": set(range(30, 35)), "test": set(range(35, 50))
    }  # fmt: skip


def test_bytes_are_evenly_spaced_in_the_interval():
    dataset = load(X)
    assert dataset.spec.support == Bytes(256)
    x, _ = dataset.train.values()
    assert torch.equal(x, torch.from_numpy(dataset.train.x).float() * (2 / 255) - 1)


def test_threshold_is_at_half_of_the_range():
    dataset = load(X, binarize="threshold")
    assert dataset.spec.support == Binary()
    whole = load(X)
    assert np.array_equal(dataset.test.x, (whole.test.x >= 128).astype(np.uint8))
    digits = load("digits", binarize="threshold")
    assert np.array_equal(digits.test.x, (load("digits").test.x >= 8).astype(np.uint8))


@pytest.mark.parametrize("how", ["sample", "dynamic"])
def test_drawn_bits_have_the_pixel_as_their_probability(how):
    x = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[:, None], 2_000, 1).reshape(-1, 40, 50)
    dataset = load(x, binarize=how)
    whole = load(x)
    assert dataset.spec.support == Binary()
    for part, split in dataset.splits.items():
        bits, _ = split.values()
        again, _ = split.values()
        assert torch.equal(bits, again)
        p = torch.from_numpy(whole.splits[part].x[:, 0, 0, 0] / 255.0)
        z = (bits.double().mean((1, 2, 3)) - p) / ((p * (1 - p)).clamp(min=1e-9) / 2_000).sqrt()
        assert float(z.abs().max()) < 5


def test_the_seed_and_the_split_fix_what_is_drawn():
    grey = np.full((90, 5, 5), 128, np.uint8)
    one, other = (load(grey, binarize="sample", seed=d) for d in (0, 1))
    learned = [row for d in (one, other) for row in d.train.values()[0]]
    assert not any(torch.equal(a, b) for a, b in combinations(learned, 2))
    held = [torch.cat([d.valid.values()[0], d.test.values()[0]]) for d in (one, other)]
    assert all(len(bits.unique(dim=0)) == 1 for bits in held), "equal examples are equal bits"
    assert not torch.equal(*held)


def test_dynamic_bits_change_in_training_only():
    dataset = load(X, binarize="dynamic")
    generators = [torch.Generator().manual_seed(s) for s in (0, 1)]
    train, valid = (
        [split.values(generator=g)[0] for g in generators]
        for split in (dataset.train, dataset.valid)
    )
    assert not torch.equal(*train)
    assert torch.equal(*valid)


def test_dequantised_bytes_are_real_and_come_back():
    dataset = load(X, dequantize=True)
    assert dataset.spec.support == Interval()
    x, _ = dataset.train.values()
    assert float(x.min()) >= -1
    assert float(x.max()) <= 1
    assert np.array_equal(dataset.schema.native(x), dataset.train.x)


def test_dequantised_values_know_their_levels():
    spec = load("digits", dequantize=True).spec
    assert spec.support == Interval(17)
    assert DataSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("option", ["binarize", "dequantize"])
def test_bits_stay_bits(option):
    bits = X > 99
    if option == "binarize":
        assert np.array_equal(load(bits, binarize="sample").test.x, load(bits).test.x)
    else:
        dataset = load(bits, dequantize=True)
        assert np.array_equal(dataset.schema.native(dataset.test.values()[0]), dataset.test.x)


@pytest.mark.parametrize(("classes", "names"), [
    (["7", "3"], ("7", "3")), ([3], ("3",)), (["0", "1", "2"], ("0", "1", "2")),
])  # fmt: skip
def test_classes_are_kept_in_the_order_given(classes, names):
    dataset = load("digits", classes=classes)
    whole = load("digits")
    counts = sum(np.bincount(s.y, minlength=10) for s in whole.splits.values())
    found = sum(np.bincount(s.y, minlength=len(names)) for s in dataset.splits.values())
    assert dataset.spec.class_names == names
    assert found.tolist() == [counts[int(n)] for n in names]


def test_classes_in_a_text_stand_between_commas_unless_it_is_a_name_itself():
    assert load("digits", classes="3, 1").spec.class_names == ("3", "1")
    y = np.array(["a, b", "a", "b"] * 20)
    np.savez("named.npz", x=np.random.rand(60, 2), y=y)
    assert load("named.npz", classes="a, b").spec.class_names == ("a, b",)
    kept = load("named.npz", classes="b,a")
    assert kept.spec.class_names == ("b", "a")
    assert load("named.npz", classes=kept.source["classes"]).fingerprint == kept.fingerprint


def test_classes_that_only_the_test_examples_have_are_refused():
    np.savez("a.npz", x_train=X[:30], x_test=X[30:], y_train=np.arange(30) % 2,
             y_test=np.arange(20) % 3)  # fmt: skip
    assert len(load("a.npz", classes=["1", "2"]).test) == 13
    with pytest.raises(DataError, match="no training examples of --classes 2"):
        load("a.npz", classes=["2"])


def test_classes_belong_to_their_examples():
    dataset = load("digits", classes=["8", "1"])
    known = {
        x.tobytes(): y
        for s in load("digits").splits.values()
        for x, y in zip(s.x, s.y, strict=True)
    }
    for x, y in zip(dataset.train.x, dataset.train.y, strict=True):
        assert known[x.tobytes()] == (8, 1)[y]


@pytest.mark.parametrize("limit", [3, 7, 49, 50, 1000])
@pytest.mark.parametrize("cuts", [(), (40,), (48, 49)])
def test_a_limit_is_kept_over_all_parts(limit, cuts):
    names = ("train", "valid", "test") if len(cuts) == 2 else ("train", "test")
    pieces = np.split(X, cuts)
    source = X
    if cuts:
        np.savez("a.npz", **dict(zip(names, pieces, strict=True)))
        source = "a.npz"
    split = parts(load(source, limit=limit))
    assert sum(len(s) for s in split.values()) == min(limit, 50)
    assert all(split.values())


def test_a_limit_is_chosen_by_the_seed():
    chosen = [set().union(*parts(load(X, limit=10, seed=s)).values()) for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_resizing_an_array_keeps_flat_colours_and_the_shape_asked_for():
    flat = np.full((9, 6, 10, 3), (10, 200, 90), np.uint8)
    flat[0] += 1
    for resize, shape in ((3, (3, 3, 3)), ((12, 4), (3, 12, 4))):
        dataset = load(flat, resize=resize)
        assert dataset.spec.shape == shape
        values = np.concatenate([s.x for s in dataset.splits.values()])
        assert set(values[:, 1].flatten().tolist()) == {200, 201}


def memory(field):
    """A figure of this process in bytes; the peak, `VmHWM`, counts from the reading of `VmRSS`."""
    if field == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) << 10


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is in /proc")
def test_enlarging_an_array_takes_no_more_memory_than_the_result():
    load(X[:9], resize=7)
    before = memory("VmRSS")
    dataset = load(X, resize=1_000)
    assert memory("VmHWM") - before < 2 * sum(s.x.nbytes for s in dataset.splits.values())


def test_resizing_stays_among_the_levels():
    dataset = load((X > 99).astype(np.uint8) * 16, resize=(11, 12))
    assert dataset.spec.support == Bytes(17)
    assert max(int(s.x.max()) for s in dataset.splits.values()) == 16
    assert load(X > 99, resize=(11, 12)).spec.support == Binary()


def test_what_is_loaded_can_be_loaded_again():
    np.save("a.npy", X)
    dataset = load("a.npy", seed=2, limit=20, resize=(3, 4), binarize="sample")
    source = dict(dataset.source)
    assert load(source.pop("source"), **source).fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="pass the array again"):
        load(load(X).source["source"])


def test_a_dataset_is_returned_as_it_is_and_takes_no_options():
    dataset = load(X)
    assert isinstance(dataset, Dataset)
    assert load(dataset) is dataset
    with pytest.raises(DataError, match="loaded already"):
        load(dataset, limit=5)


def test_tensors_are_arrays():
    x = torch.randn(40, 3)
    assert load(x).fingerprint == load(x.numpy()).fingerprint
    assert load(x.bfloat16()).spec.support == Real()
    assert load(torch.from_numpy(X)).spec.support == Bytes(256)


@pytest.mark.parametrize("options", [
    {"binarize": "half"}, {"binarize": "sample", "dequantize": True}, {"limit": 2},
    {"resize": 0}, {"resize": 99_999}, {"resize": (8, -1)}, {"classes": ["1"]},
    {"resize": (1, 2, 3)}, {"resize": (8,)}, {"resize": "16"}, {"resize": 8.5},
])  # fmt: skip
def test_options_that_cannot_be(options):
    with pytest.raises(DataError):
        load(X, **options)


@pytest.mark.parametrize("source", [3, None, ["digits"], b"digits"])
def test_what_is_no_source(source):
    with pytest.raises(DataError, match="name, a path or an array"):
        load(source)
