import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pofx.data import DataError, builtin, load
from pofx.spec import Binary, Bytes

FILES = builtin._MNIST_FILES


def idx(x):
    return struct.pack(f">HBB{x.ndim}I", 0, 8, x.ndim, *x.shape) + x.tobytes()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small set of MNIST's format, published in a folder; the cache is empty."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, s, dtype=np.uint8) for s in ((40, 28, 28), 40, (10, 28, 28), 10)]
    arrays[1], arrays[3] = arrays[1] % 10, arrays[3] % 10
    contents = [idx(a) for a in arrays]
    folder = tmp_path / "published"
    folder.mkdir()
    for name, content in zip(FILES, contents, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.delenv("POFX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(builtin._URLS, "mnist", f"file://{folder}/")
    hashes = tuple(builtin.hashlib.sha256(c).hexdigest() for c in contents)
    monkeypatch.setitem(builtin._SHA256, "mnist", hashes)
    return folder


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())


def test_a_download_is_checked_kept_and_not_repeated(source, tmp_path):
    dataset = load("mnist")
    assert [len(s) for s in dataset.splits.values()] == [36, 4, 10]
    assert (dataset.spec.shape, dataset.spec.classes) == ((1, 28, 28), 10)
    assert cached(tmp_path) == sorted(f"{f}.gz" for f in FILES)
    for path in source.iterdir():
        path.unlink()
    assert load("mnist").fingerprint == dataset.fingerprint


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_wrong_hash_is_refused_and_nothing_of_it_is_kept(place, source, tmp_path):
    path = source / f"{FILES[place]}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError, match=rf"{FILES[place]}.gz is not the published file.*SHA-256"):
        load("mnist")
    assert cached(tmp_path) == sorted(f"{f}.gz" for f in FILES[:place])


@pytest.mark.parametrize("spoil", [lambda c: c[:-9], lambda c: b"", lambda c: b"<html>404</html>"])
def test_a_damaged_download_is_refused_and_nothing_is_kept(spoil, source, tmp_path):
    path = source / f"{FILES[0]}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=FILES[0]):
        load("mnist")
    assert cached(tmp_path) == []


def test_a_download_stops_at_what_a_set_can_hold(source, tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "_IDX_BYTES", 1 << 20)
    (source / f"{FILES[0]}.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(DataError, match="SHA-256"):
        load("mnist")
    assert cached(tmp_path) == []


def test_no_network_says_where_to_put_the_file(source, monkeypatch):
    def refuse(*_, **__):
        raise builtin.HTTPException("reset")

    for opener in (None, refuse):
        if opener is None:
            monkeypatch.setitem(builtin._URLS, "mnist", "file:///nowhere/")
        else:
            monkeypatch.setattr(builtin.urllib.request, "urlopen", opener)
        with pytest.raises(DataError, match=f"put {FILES[0]}.gz into a folder 'mnist'"):
            load("mnist")


def test_a_cache_that_cannot_be_written_is_named(source, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        load("mnist")


def test_the_users_own_folder_goes_first_and_is_checked_too(source, tmp_path, monkeypatch):
    own = tmp_path / "own" / "mnist"
    own.mkdir(parents=True)
    for path in source.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
        path.unlink()
    monkeypatch.setenv("POFX_DATA", str(own.parent))
    load("mnist")
    (own / f"{FILES[2]}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match=f"own/mnist/{FILES[2]}.gz is not the published file"):
        load("mnist")


def test_without_a_home_the_users_own_folder_serves_all_the_same(source, tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(DataError, match=r"no home folder .* XDG_CACHE_HOME"):
        load("mnist")
    source.rename(tmp_path / "mnist")
    monkeypatch.setenv("POFX_DATA", str(tmp_path))
    assert len(load("mnist").test) == 10


def test_digits_need_no_network_and_have_seventeen_levels():
    dataset = load("digits")
    assert (dataset.spec.shape, dataset.spec.support) == ((1, 8, 8), Bytes(17))
    assert dataset.spec.class_names == tuple("0123456789")
    x = np.concatenate([dataset.schema.native(s.values()[0]) for s in dataset.splits.values()])
    assert (len(x), x.min(), x.max()) == (1797, 0, 16)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_sets(name, real_data):
    dataset = load(name)
    assert [len(s) for s in dataset.splits.values()] == [55_000, 5_000, 10_000]
    assert (dataset.spec.shape, dataset.spec.support) == ((1, 28, 28), Bytes(256))
    assert dataset.spec.classes == 10
    assert np.bincount(dataset.test.y).min() > 800


def test_dna_keeps_the_split_of_the_literature(real_data):
    dataset = load("dna")
    assert [len(s) for s in dataset.splits.values()] == [1_400, 600, 1_186]
    assert (dataset.spec.shape, dataset.spec.support) == ((180,), Binary())


def test_a_file_of_a_built_in_name_is_reached_by_its_path(tmp_path):
    np.save("digits.npy", np.arange(8.0))
    Path("digits.npy").rename("digits")
    with pytest.raises(DataError, match="no kind"):
        load("./digits")
    assert len(load("digits").train) == 1437
