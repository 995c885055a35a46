import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pofx.data import DataError, load, write
from pofx.spec import Binary, Bytes

RNG = np.random.default_rng(0)
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def pixels(channels, height=5, width=7):
    return RNG.integers(0, 256, (channels, height, width), dtype=np.uint8)


def image(x, mode):
    return Image.fromarray(
        x[0] if len(x) == 1 else np.ascontiguousarray(x.transpose(1, 2, 0)), mode
    )


def folder(path, mode="RGB", n=6, suffix="png", **options):
    """A folder of random images, and their pixels."""
    Path(path).mkdir(parents=True, exist_ok=True)
    x = np.stack([pixels(CHANNELS[mode]) for _ in range(n)])
    for i, one in enumerate(x):
        image(one, mode).save(f"{path}/{i}.{suffix}", **options)
    return x


def native(dataset):
    return np.concatenate([dataset.schema.native(s.values()[0]) for s in dataset.splits.values()])


def alike(x, y):
    def rows(a):
        return sorted(np.ascontiguousarray(r).tobytes() for r in a)

    return x.shape == y.shape and rows(x) == rows(y)


@pytest.mark.parametrize("mode", CHANNELS)
def test_pixels_come_back_exactly_and_go_out_exactly(mode, tmp_path):
    x = folder("in", mode)
    dataset = load("in")
    assert dataset.spec.shape == x.shape[1:]
    assert (dataset.spec.support, dataset.schema.mode) == (Bytes(256), mode)
    assert alike(native(dataset), x)
    write(dataset.train.values()[0], dataset.schema, tmp_path / "out")
    names = sorted(Path("out").iterdir())
    assert [p.name for p in names] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert all(Image.open(p).mode == mode for p in names)
    again = load("out")
    assert alike(native(again), dataset.schema.native(dataset.train.values()[0]))


@pytest.mark.parametrize(("suffix", "options"), [
    ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True}), ("gif", {}), ("PNG", {}),
])  # fmt: skip
def test_other_lossless_files(suffix, options):
    mode = "L" if suffix == "gif" else "RGB"
    x = folder("in", mode, suffix=suffix, **options)
    dataset = load("in")
    assert dataset.spec.shape == x.shape[1:]
    assert alike(native(dataset), x)


def save_all(save, n=3):
    Path("in").mkdir()
    for i in range(n):
        save(f"in/{i}")
    return load("in")


def test_black_and_white_is_binary():
    x = pixels(1)[0] > 99
    dataset = save_all(lambda p: Image.fromarray(x).save(f"{p}.png"))
    assert dataset.spec.support == Binary()
    assert np.array_equal(native(dataset)[0, 0], x)


def test_the_upper_eight_of_sixteen_bits_are_kept_and_noted():
    x = RNG.integers(0, 65_536, (5, 7)).astype(np.uint16)
    dataset = save_all(lambda p: Image.fromarray(x).save(f"{p}.png"))
    assert np.array_equal(native(dataset)[0, 0], x >> 8)
    assert any("16 bits" in note for note in dataset.notes)


def test_a_palette_with_transparency_is_a_colour_with_alpha():
    x = pixels(3)
    palette = image(x, "RGB").quantize(4)
    alpha = bytes([0, 100, 200, 255])
    dataset = save_all(lambda p: palette.save(f"{p}.png", transparency=alpha))
    assert dataset.schema.mode == "RGBA"
    expected = palette.copy()
    expected.info["transparency"] = alpha
    assert np.array_equal(
        native(dataset)[0], np.asarray(expected.convert("RGBA")).transpose(2, 0, 1)
    )


def test_a_colour_that_is_transparent_is_alpha():
    x = np.arange(35, dtype=np.uint8).reshape(1, 5, 7)
    dataset = save_all(lambda p: image(x, "L").save(f"{p}.png", transparency=8))
    assert dataset.schema.mode == "LA"
    assert np.array_equal(native(dataset)[0], np.stack([x[0], np.where(x[0] == 8, 0, 255)]))


def test_alpha_that_is_opaque_everywhere_is_left_out():
    x = pixels(3)
    dataset = save_all(lambda p: image(x, "RGB").convert("RGBA").save(f"{p}.png"))
    assert dataset.schema.mode == "RGB"
    assert np.array_equal(native(dataset)[0], x)
    assert any("opaque" in note for note in dataset.notes)


def test_ink_becomes_light():
    red = Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK")
    dataset = save_all(lambda p: red.save(f"{p}.jpg", quality=100))
    assert np.abs(native(dataset)[0].mean((1, 2)) - [200, 30, 30]).max() < 4


@pytest.mark.parametrize("suffix", ["gif", "png", "tiff", "webp"])
def test_of_an_animation_the_first_frame_counts(suffix):
    x = pixels(1)
    frames = [image(np.repeat(255 - x, 3, 0), "RGB")]
    first = image(np.repeat(x, 3, 0), "RGB")
    options = {"lossless": True} if suffix == "webp" else {}
    dataset = save_all(
        lambda p: first.save(f"{p}.{suffix}", save_all=True, append_images=frames, **options)
    )
    assert np.array_equal(native(dataset)[0, 0], x[0])


@pytest.mark.parametrize(("suffix", "depth"), [
    ("jpg", np.uint8), ("png", np.uint8), ("tiff", np.uint8), ("png", np.uint16),
    ("tiff", np.uint16),
])  # fmt: skip
@pytest.mark.parametrize("turn", range(1, 9))
def test_an_image_stands_as_its_camera_says(turn, suffix, depth):
    x = np.kron([[0, 60, 120], [40, 180, 250]], np.ones((8, 8))).astype(np.uint8)
    upright = {
        1: x, 2: x[:, ::-1], 3: x[::-1, ::-1], 4: x[::-1],
        5: x.T, 6: x[::-1].T, 7: x[::-1, ::-1].T, 8: x[:, ::-1].T,
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(x.astype(depth) * (1 if depth == np.uint8 else 256))
    dataset = save_all(lambda p: stored.save(f"{p}.{suffix}", exif=exif))
    found = native(dataset)[0, 0].astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= (6 if suffix == "jpg" else 0)


def test_what_systems_leave_behind_is_passed_over():
    x = folder("in")
    for junk in (
        "__MACOSX/._0.png",
        ".ipynb_checkpoints/0.png",
        "Thumbs.db",
        ".DS_Store",
        "a/.x.png",
    ):
        path = Path("in") / junk
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    Path("in/notes.txt").write_text("no image either")
    dataset = load("in")
    assert alike(native(dataset), x)
    assert dataset.notes == ()


def test_damaged_files_among_good_ones_are_named_with_the_reason():
    x = folder("in", n=40)
    good = Path("in/0.png").read_bytes()
    Path("in/empty.png").write_bytes(b"")
    Path("in/text.png").write_text("hello")
    Path("in/cut.png").write_bytes(good[:70])
    Path("in/gone.png").symlink_to("nowhere")
    dataset = load("in")
    assert alike(native(dataset), x)
    notes = sorted(dataset.notes)
    assert [n.split(":")[0] for n in notes] == [
        f"skipped {name}" for name in ("cut.png", "empty.png", "gone.png", "text.png")
    ]
    for note, reason in zip(notes, ("truncated", "0 bytes", "No such file", "no PNG"), strict=True):
        assert reason in note


@pytest.mark.parametrize("suffix", ["png", "bmp"])  # found by its header, and by its pixels
def test_labels_stay_with_their_images_when_one_between_is_damaged(suffix):
    for name, shade in (("bright", 200), ("dark", 50)):
        Path(f"in/{name}").mkdir(parents=True)
        for i in range(15):
            Image.new("L", (4, 4), shade + i).save(f"in/{name}/{i:02}.{suffix}")
    path = Path(f"in/bright/07.{suffix}")
    path.write_bytes(path.read_bytes()[: 45 if suffix == "png" else -9])
    dataset = load("in")
    assert dataset.spec.class_names == ("bright", "dark")
    for split in dataset.splits.values():
        shades = dataset.schema.native(split.values()[0])[:, 0, 0, 0]
        assert np.array_equal(shades < 100, split.y == 1)
    assert sum(len(s) for s in dataset.splits.values()) == 29


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/1.png", "cat/2.png", "dog/3.png"], ("cat", "dog")),
        (["set/cat/1.png", "set/dog/2.png", "set/dog/old/3.png"], ("cat", "dog")),
        (["1.png", "dog/2.png", "dog/3.png"], ()),
        (["1.png", "2.png", "3.png"], ()),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_subfolders_are_classes(names, classes, packed):
    for i, name in enumerate(names):
        path = Path("in") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3), i).save(path)
    if packed:
        with zipfile.ZipFile("in.zip", "w") as archive:
            for name in names:
                archive.write(f"in/{name}", name)
    assert load("in.zip" if packed else "in").spec.class_names == classes


def test_linked_folders_are_classes_and_circles_end():
    for i, name in enumerate(["in/cat", "elsewhere/dogs", "in/deep"]):
        folder(name, n=4 + i)
    Path("in/dog").symlink_to(Path("elsewhere/dogs").resolve())
    Path("in/again").symlink_to("cat")
    Path("in/cat/up").symlink_to("..")
    Path("elsewhere/dogs/self").symlink_to(".")
    Path("in/cat/9.png").symlink_to("0.png")
    dataset = load("in")
    assert dataset.spec.class_names == ("cat", "deep", "dog")
    counts = sum(np.bincount(s.y, minlength=3) for s in dataset.splits.values())
    assert counts.tolist() == [5, 6, 5]


CAPTIONS = "file,class,caption\n" + "".join(
    f'./{i}.png,{"odd" if i % 2 else "even"},"number {i}, small"\n' for i in range(6)
)


@pytest.mark.parametrize("place", ["inside", "in the archive", "beside the archive"])
def test_captions_belong_to_their_images(place):
    Path("in").mkdir()
    for i in range(6):
        Image.new("L", (3, 3), i).save(f"in/{i}.png")
    beside = place == "beside the archive"
    Path("captions.csv" if beside else "in/captions.csv").write_text(CAPTIONS)
    if place != "inside":
        with zipfile.ZipFile("in.zip", "w") as archive:
            for path in sorted(Path("in").iterdir()):
                archive.write(path, f"deep/{path.name}" if not beside else path.name)
    dataset = load("in" if place == "inside" else "in.zip")
    assert dataset.spec.class_names == ("even", "odd")
    for split in dataset.splits.values():
        numbers = dataset.schema.native(split.values()[0])[:, 0, 0, 0]
        assert list(split.captions) == [f"number {i}, small" for i in numbers]
        assert split.y.tolist() == (numbers % 2).tolist()


def test_a_table_beside_an_archive_may_be_of_something_else():
    x = folder("in")
    with zipfile.ZipFile("in.zip", "w") as archive:
        for i in range(6):
            archive.write(f"in/{i}.png", f"{i}.png")
    for text in ("name,price\nbread,3\n", "file,class\nother.png,a\n"):
        Path("captions.csv").write_text(text)
        dataset = load("in.zip")
        assert alike(native(dataset), x)
        assert (dataset.spec.classes, dataset.notes) == (0, ())
    Path("in/captions.csv").write_text("name,price\nbread,3\n")
    with pytest.raises(DataError, match="no column that names the images"):
        load("in")


def test_captions_that_match_no_image_and_images_without_one_are_named():
    folder("in")
    Path("in/captions.csv").write_text("file,class\n0.png,a\n1.png,b\nlost.png,b\n")
    dataset = load("in")
    assert dataset.spec.class_names == ("(none)", "a", "b")
    assert any("1 rows name no image (lost.png)" in n for n in dataset.notes)
    assert any("4 images have no row (2.png, 3.png, 4.png and 1 more)" in n for n in dataset.notes)


def test_sizes_that_differ_are_refused_by_name_and_brought_to_one():
    folder("in")
    Image.new("RGB", (9, 4), (10, 20, 30)).save("in/wide.png")
    with pytest.raises(DataError, match=r"0.png is 5x7 but wide.png is 4x9.*--resize 5x7"):
        load("in")
    for resize, shape in ((4, (3, 4, 4)), ((4, 6), (3, 4, 6))):
        dataset = load("in", resize=resize)
        assert dataset.spec.shape == shape
        assert any((x == np.array([10, 20, 30])[:, None, None]).all() for x in native(dataset))


def test_resizing_crops_about_the_centre():
    x = np.zeros((4, 8), np.uint8)
    x[:, 2:6] = 200
    dataset = save_all(lambda p: Image.fromarray(x).save(f"{p}.png"))
    assert (native(load("in", resize=4)) == 200).all()
    assert (native(load(native(dataset), resize=2)) == 200).all()


@pytest.mark.parametrize("mode", [*CHANNELS, "1"])
@pytest.mark.parametrize("size", [(3, 3), (9, 4), (20, 31)])
def test_the_same_images_are_resized_alike_as_files_and_as_an_array(mode, size):
    x = pixels(1)[0] > 99 if mode == "1" else pixels(CHANNELS[mode], 9, 11)
    dataset = save_all(lambda p: Image.fromarray(x).save(f"{p}.png") if mode == "1"
                       else image(x, mode).save(f"{p}.png"))  # fmt: skip
    stored = np.concatenate([s.x for s in dataset.splits.values()])
    as_array = stored if mode == "1" or len(stored[0]) == 1 else stored.transpose(0, 2, 3, 1)
    np.savez("a.npz", x=as_array)
    assert alike(native(load("in", resize=size)), native(load("a.npz", resize=size)))


def test_a_limit_counts_the_images_of_the_classes_that_are_kept():
    for name in "abcd":
        folder(f"in/{name}", n=20)
    dataset = load("in", classes=["b"], limit=15)
    assert sum(len(s) for s in dataset.splits.values()) == 15
    assert sum(len(s) for s in load("in", limit=15).splits.values()) == 15


def test_a_folder_that_holds_one_archive_is_that_archive():
    x = folder("in")
    Path("outer").mkdir()
    with zipfile.ZipFile("outer/in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.write(f"in/{i}.png")
    assert alike(native(load("outer")), x)


def test_a_name_that_no_encoding_has_is_shown(tmp_path):
    folder("in", n=20)
    try:
        Path("in/\udcff.png").write_bytes(b"")
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    assert load("in").notes == ("skipped \N{REPLACEMENT CHARACTER}.png: it is empty (0 bytes)",)


@pytest.mark.parametrize(
    ("archive", "what", "classes", "captions"),
    [
        ("crawl-tiles-cc0/crawl-tiles-32.zip", (4, 32, 32), 134, 4194),
        ("noto-emoji-72/noto-emoji-72.zip", (4, 72, 72), 11, 3575),
    ],
)
def test_archives_as_people_have_them(archive, what, classes, captions, real_data):
    dataset = load(real_data / archive)
    assert (dataset.spec.shape, dataset.spec.classes) == (what, classes)
    assert sum(bool(c) for s in dataset.splits.values() for c in s.captions) == captions
    assert dataset.notes == ()
