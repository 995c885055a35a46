import csv
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pofx
from pofx.data import DataError, load, whole, write
from pofx.data.pictures import grid, scatter

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 3, 5, 6), dtype=np.uint8)
ROWS = [(i / 8, i, "red" if i % 3 else "a,b") for i in range(20)]


@pytest.fixture
def table():
    lines = [f'{size},{count},"{colour}"' for size, count, colour in ROWS]
    Path("t.csv").write_text("\n".join(["size,count,colour", *lines]))
    return load("t.csv")


def test_arrays_come_back_in_the_users_own_values():
    for x in (IMAGES, RNG.normal(5, 3, (20, 4)), RNG.integers(-9, 9, (20, 4)), IMAGES[:, 0] > 99):
        dataset = load(x)
        values, _ = dataset.train.values()
        native = dataset.schema.native(values)
        write(values, dataset.schema, "x.npy")
        write(values, dataset.schema, "x.npz", cond=torch.arange(len(values)))
        assert np.array_equal(np.load("x.npy"), native)
        assert np.load("x.npy").dtype == native.dtype
        with np.load("x.npz") as arrays:
            assert np.array_equal(arrays["x"], native)
            assert arrays["y"].tolist() == list(range(len(values)))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_is_written_as_it_was_read(suffix, table):
    path = write(table.train.values()[0], table.schema, f"out{suffix}")
    again = load(path)
    assert again.schema.names == ["size", "count", "colour"]
    assert [c.kind for c in again.schema.columns] == ["float", "int", "category"]
    assert again.schema.delimiter == ("," if suffix == ".csv" else "\t")
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=again.schema.delimiter))[1:]
    assert len(rows) == 16
    assert {(float(size), int(count), colour) for size, count, colour in rows} < set(ROWS)


def test_no_header_where_the_table_had_none():
    Path("bare.tsv").write_text("1\tx\n2\ty\n3\tx\n4\ty\n")
    dataset = load("bare.tsv")
    write(dataset.train.values()[0], dataset.schema, "out.csv")
    assert Path("out.csv").read_text().splitlines()[0] in Path("bare.tsv").read_text()


def test_what_a_run_draws_looks_like_what_went_in(table):
    run = pofx.fit("vae", "t.csv", latent=2, hidden=(8,), batch_size=8, steps=3, quiet=True)
    run.save(run.sample(200), "drawn.csv")
    with open("drawn.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["size", "count", "colour"]
    assert len(rows) == 200
    for size, count, colour in rows:
        assert 0 <= float(size) <= 19 / 8
        assert 0 <= int(count) <= 19
        assert colour in ("red", "a,b")


def test_a_png_is_a_grid_of_the_images():
    dataset = load(IMAGES)
    x, _ = dataset.train.values(slice(0, 6))
    path = write(x, dataset.schema, "grid.png", metadata={"recipe": "vae"})
    picture = Image.open(path)
    assert picture.text == {"recipe": "vae"}
    pixels = np.asarray(picture)
    factor = picture.width // (3 * 6 + 2)
    for i in range(6):
        top, left = i // 3 * 6 * factor, i % 3 * 7 * factor
        tile = pixels[top : top + 5 * factor : factor, left : left + 6 * factor : factor]
        assert np.array_equal(tile.transpose(2, 0, 1), dataset.train.x[i])


def test_transparent_images_lie_on_a_checkerboard():
    x = torch.full((1, 4, 32, 32), -1.0)
    assert len(np.unique(np.asarray(grid(x)))) == 2
    x[:, 3] = 1
    assert (np.asarray(grid(x)) == 0).all()


def test_a_scatter_has_its_points_where_they_are():
    picture = np.asarray(scatter(torch.tensor([[0.5, 0.5]] * 50), 100, extent=1.0)).sum(2)
    assert np.argwhere(picture < 3 * 255).mean(0).tolist() == [24.5, 74.5]


def test_points_are_seen_few_or_many():
    inked = [
        int((np.asarray(scatter(torch.from_numpy(RNG.normal(0, 1, (n, 2))))).sum(2) < 700).sum())
        for n in (20, 200, 2_000, 20_000)
    ]
    assert inked[0] > 20 * 40
    assert inked == sorted(inked)


@pytest.mark.parametrize("middle", [(0, 0), (1000, 1000), (-3, 1e6)])
def test_a_scatter_finds_its_points(middle):
    x = RNG.normal(0, 1, (2_000, 2))
    inked = [(np.asarray(scatter(torch.from_numpy(p), 100)).sum(2) < 3 * 255).sum()
             for p in (x, x + middle, x * (1, 100) + middle)]  # fmt: skip
    assert inked[0] > 2_000
    assert np.allclose(inked, inked[0], rtol=0.1)
    assert scatter(torch.ones(5, 2)).size == (512, 512)


def test_points_of_a_table_and_of_an_array_are_one_picture():
    x = RNG.normal((1_000, 5), 1, (400, 2)).astype(np.float32)
    Path("t.csv").write_text("".join(f"{a!r},{b!r}\n" for a, b in x.tolist()))
    for options in ({}, {"standardize": False}):
        for name, source in (("t", "t.csv"), ("a", x)):
            dataset = load(source, **options)
            write(dataset.train.values()[0], dataset.schema, f"{name}.png")
        pictures = [np.asarray(Image.open(f"{name}.png")) for name in "ta"]
        assert np.array_equal(*pictures)
        assert (pictures[0].sum(2) < 3 * 255).sum() > 1_000


def test_two_columns_of_a_table_are_a_picture():
    Path("p.csv").write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(20)))
    Path("q.csv").write_text("a,b\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(20)))
    for name in ("p.csv", "q.csv"):
        dataset = load(name)
        path = write(dataset.train.values()[0], dataset.schema, "cloud.png")
        assert Image.open(path).size == (512, 512)


def test_vectors_are_lines_of_shades():
    dataset = load(RNG.normal(0, 1, (20, 7)))
    write(dataset.train.values()[0], dataset.schema, "v.png")
    assert Image.open("v.png").mode == "L"


REFUSED = [
    ("x.jpg", "suffix"),
    ("new/x.csv", "are images"),
    ("full", "not empty"),
    ("full/", "not empty"),
    ("file/x.png", "cannot be written"),
    ("file/", "cannot be written"),
    ("n" * 300 + ".png", "cannot be written"),
]


@pytest.mark.parametrize(("path", "said"), REFUSED)
def test_what_cannot_be_written_leaves_nothing(path, said):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("file").write_text("mine")
    dataset = load(IMAGES)
    before = sorted(Path().rglob("*"))
    with pytest.raises(DataError, match=said):
        write(dataset.train.values()[0], dataset.schema, path)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("path", ["new/deep/t.png", "new/t.npy", "new/t.npz", "new/folder/"])
def test_a_table_is_refused_where_it_does_not_fit(path, table):
    with pytest.raises(DataError, match="csv"):
        write(table.train.values()[0], table.schema, path)
    assert not Path("new").exists()


@pytest.mark.parametrize("path", ["deep/x.npz", "deep/x.png", "deep/x"])
def test_a_full_disk_leaves_what_was_there(path, monkeypatch):
    dataset = load(IMAGES)
    Path("x.npz").write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole.os, "fsync", full)
    for target in (path, "x.npz"):
        with pytest.raises(DataError, match="No space left"):
            write(dataset.train.values()[0], dataset.schema, target)
    assert [str(p) for p in Path().rglob("*")] == ["x.npz"]
    assert Path("x.npz").read_bytes() == b"old"


def test_a_file_is_as_open_as_the_user_has_it():
    dataset = load(IMAGES)
    before = os.umask(0o027)
    try:
        write(dataset.train.values()[0], dataset.schema, "x.npy")
        write(dataset.train.values()[0], dataset.schema, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("x.npy").stat().st_mode) == 0o640
    assert stat.S_IMODE(Path("x").stat().st_mode) == 0o750


def test_an_empty_folder_takes_the_pictures():
    Path("x").mkdir()
    dataset = load(IMAGES)
    write(dataset.test.values()[0], dataset.schema, "x")
    assert sorted(p.name for p in Path("x").iterdir()) == ["00000.png", "00001.png"]
    with pytest.raises(DataError, match="at least one"):
        write(dataset.test.values()[0][:0], dataset.schema, "y.png")
