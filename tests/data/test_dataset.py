import json

import numpy as np
import pytest
import torch

from pofx.data import DataError, Schema, Split, dataset, load
from pofx.data.dataset import Transform, fingerprint, keyed_uniform, shuffled
from pofx.functional.random import stream


def test_values_at_any_index():
    split = Split(np.arange(10, dtype=np.uint8)[:, None], np.arange(10), Transform(0.5, 1.0))
    whole, labels = split.values()
    assert torch.equal(whole[:, 0], torch.arange(10) * 0.5 + 1)
    index = torch.tensor([7, 2, 2])
    for given in (index, index.numpy()):
        x, y = split.values(given)
        assert torch.equal(x, whole[index])
        assert torch.equal(y, labels[index])
    mask = np.arange(10) % 4 == 0
    assert torch.equal(split.values(mask)[0], whole[::4][:3])
    assert torch.equal(split.values(slice(3, 6))[0], whole[3:6])
    with pytest.raises(IndexError):
        split.values(np.array([10]))


@pytest.mark.parametrize("noise", ["uniform", "bernoulli"])
def test_what_is_drawn_without_a_generator_never_changes(noise):
    stored = np.random.default_rng(0).integers(64, 192, (200, 3), dtype=np.uint8)
    split = Split(stored, transform=Transform(1 / 256, 0.0, noise))
    x, _ = split.values()
    assert torch.equal(x, split.values()[0])
    backwards = Split(stored[::-1].copy(), transform=split.transform)
    assert torch.equal(x, backwards.values()[0].flip(0)), "one example, one value"
    assert torch.equal(x[40:60], split.values(slice(40, 60))[0])
    assert not torch.equal(x, split.values(generator=torch.Generator().manual_seed(1))[0])
    assert float(x.mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("noise", [None, "uniform", "bernoulli"])
def test_the_whole_is_read_in_blocks_and_checked_first(noise, monkeypatch):
    x = np.arange(200, dtype=np.uint8).reshape(50, 4)
    rows = np.arange(49, 0, -2)
    split = Split(x, np.arange(25), Transform(1 / 256, 0.0, noise), rows=rows)
    monkeypatch.setattr(dataset, "_READ_BYTES", 4 * 7)
    values, labels = split.whole("a.npy")
    assert torch.equal(values, split.whole("a.npy")[0])
    stored = torch.from_numpy(split.gather(np.arange(len(split)))).float()
    if noise == "bernoulli":
        assert set(values.unique().tolist()) <= {0.0, 1.0}
    else:
        assert 0 <= (values * 256 - stored).min() <= (values * 256 - stored).max() <= 1
    assert torch.equal(labels, split.values()[1])
    monkeypatch.setattr(dataset.limits, "MEMORY_BYTES", 4 * 25 * 4 - 1)
    with pytest.raises(DataError, match=r"a\.npy needs 400 bytes of memory, .* give --limit or a"):
        split.whole("a.npy")


def test_keyed_numbers_are_uniform_and_open_at_both_ends():
    u = keyed_uniform(3, np.arange(20_000), (5,)).double()
    assert 0 < float(u.min())
    assert float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=5 / (12 * u.numel()) ** 0.5)
    counts = torch.histc(u.flatten(), 100)
    assert float(((counts - 1000) ** 2 / 1000).sum()) == pytest.approx(99, abs=5 * 198**0.5)
    assert float(torch.corrcoef(u.T).fill_diagonal_(0).abs().max()) < 5 / 20_000**0.5


def splitmix(z):
    """The finaliser of SplitMix64 (Steele et al., 2014), on Python's own integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [0, 5, -1, 2**70])
def test_a_permutation_that_no_version_changes(seed):
    key = splitmix(stream("split", seed))
    marks = [splitmix((i * 0x9E3779B97F4A7C15 + key) % 2**64) for i in range(1000)]
    assert shuffled(seed, 1000, "split").tolist() == sorted(range(1000), key=lambda i: marks[i])


def test_a_fingerprint_is_that_of_the_content():
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    y = x.copy()
    y[7, 1, 1] += 1
    assert load(x).fingerprint == load(x.copy()).fingerprint
    assert load(x).fingerprint != load(y).fingerprint
    assert load(x).fingerprint != load(x, seed=1).fingerprint
    assert load(x).fingerprint != load(x, dequantize=True).fingerprint
    labelled = {"train": Split(x, np.zeros(40, np.int64))}
    schema = load(x).schema
    assert fingerprint(schema, labelled) != fingerprint(schema, {"train": Split(x)})


@pytest.mark.parametrize("options", [{}, {"dequantize": True}, {"binarize": "threshold"}])
def test_a_schema_survives_json(options):
    schema = load("digits", **options).schema
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
