"""Bad inputs through the real command line: one sentence, exit code 2, and nothing left behind.

Every case names the file, the reason and what to do. What could cost memory is in
`tests/data/test_limits.py`.
"""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pofx.cli import main

# tables

GOOD = b"a,b\n" + b"".join(b"%d,%d.5\n" % (i, i) for i in range(30))
WORDS = b"".join(b"%d,w%d\n" % (i, i) for i in range(2000))
TABLES = [
    ("empty", b"", "0 bytes", "restore it"),
    ("blank", b"\n \n\n", "no rows", "give one row"),
    ("only a header", b"a,b\n", "a header and no rows", "give one row"),
    ("one row", b"a,b\n1,2\n", "only 1 row under its header", "at least 3"),
    ("one row without a header", b"1,2\n", "only 1 row", "at least 3"),
    ("ragged", GOOD + b"1,2,3\n", "line 32 has 3 fields where line 1 has 2", "mend or remove"),
    ("a NUL", GOOD + b"1,\0\n", "line 32 holds a NUL", "save it as UTF-8"),
    ("latin-1", GOOD + b"1,\xe9\n", "line 32 is not UTF-8 text (byte 0xe9)", "save the file as"),
    ("UTF-16", GOOD.decode().encode("utf-16"), "is not UTF-8 text", "save the file as"),
    ("1e400", GOOD + b"1,1e400\n", "line 32, column 'b': '1e400'", "mend the cell"),
    ("infinity", GOOD + b"1,-inf\n", "line 32, column 'b': '-inf'", "mend the cell"),
    ("too large", GOOD + b"1,1e300\n", "line 32, column 'b': '1e300'", "mend the cell"),
    ("a column without values", b"a,b\n1,?\n2,NA\n3,\n", "column 'b' has no value", "remove it"),
    ("a name twice", GOOD.replace(b"a,b", b"a,a"), "names column 'a' twice", "rename"),
    ("an open quote", GOOD + b'"1,2\n', "line 32 cannot be read", "mend or remove"),
    ("a quote in a cell", GOOD + b'"1"x,2\n', "line 32 cannot be read", "mend or remove"),
    ("2,000 words", b"a,b\n" + WORDS, "column 'b' has more than 1,000 distinct", "remove the col"),
    ("a mistyped cell", b"a\n" + b"\n".join(b"%d" % i for i in range(1500)) + b"\nx1\n",
     "'x1' in line 1502", "mend the cell"),
    ("too many columns", (b"1," * 10_000 + b"1\n") * 4, "10,001 columns", "leave some out"),
    ("a long field", GOOD + b"1," + b"x" * (1 << 21) + b"\n", "larger than 1.0 MB", "mend or"),
    ("an array", None, "line 1 is not UTF-8", "save the file as"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason", "remedy"), [t[1:] for t in TABLES],
                         ids=[t[0] for t in TABLES])  # fmt: skip
def test_a_table(content, reason, remedy, refused):
    Path("t.csv").write_bytes(npy(np.zeros(50)) if content is None else content)
    refused(["data", "t.csv"], "t.csv", reason, remedy)


# arrays


def npy(x, **options):
    file = io.BytesIO()
    np.save(file, x, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def header(shape, kind="<f8"):
    """The header of a .npy file that claims a shape."""
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


X = np.random.default_rng(0).normal(0, 1, (20, 3))
Y = np.arange(20)
LONG = np.arange(3_000.0).reshape(1_000, 3)


def holed(value):
    x = X.copy()
    x[7, 1] = value
    return x


ARRAYS = [
    ("empty.npy", b"", "0 bytes", "restore it"),
    ("text.npy", b"hello, this is text\n", "not a readable NumPy array", "save it again"),
    ("objects.npy", npy(np.array([{}] * 5, object), allow_pickle=True), "Python objects", "save"),
    ("seven-terabytes.npy", header((10**9, 1000)) + b"\0" * 64, "7.3 TB", "save it again"),
    ("negative.npy", header((-4, 2)) + b"\0" * 64, "claims shape (-4, 2)", "save it again"),
    ("bools.npy", header((True, True)) + b"\0" * 64, "claims shape (True, True)", "save it again"),
    ("fraction.npy", header("(1.5,)") + b"\0" * 64, "not a readable", "save it again"),
    ("code.npy", header("__import__('os').abort()") + b"\0" * 64, "not a readable", "save it"),
    ("nothings.npy", header((10**15,), "|V0"), "type |V0", "save it as float32"),
    ("cut.npy", npy(X)[:-50], "holds only", "save it again"),
    ("nan.npy", npy(holed(np.nan)), "nan in row 7, column 1", "mend it or leave the row out"),
    ("inf.npy", npy(holed(-np.inf)), "-inf in row 7, column 1", "mend it"),
    ("huge.npy", npy(holed(1e300)), "1e+300 in row 7, column 1", "mend it"),
    ("deep.npy", npy(holed(np.nan).reshape(20, 1, 1, 3)), "row 7, element (0, 0, 1)", "mend it"),
    ("complex.npy", npy(X + 1j), "type complex128", "save it as float32"),
    ("number.npy", npy(np.array(3.0)), "0-dimensional", "one example a row"),
    ("none.npy", npy(X[:0]), "shape (0, 3)", "one example a row"),
    ("flat.npy", npy(X[:, :0]), "shape (20, 0)", "one example a row"),
    ("two.npy", npy(X[:2]), "only 2 examples", "at least 3"),
    ("dates.npy", npy(np.array(["2020-01-01"] * 5, "datetime64[D]")), "datetime64", "float32"),
    ("words.npy", npy(np.array(["a", "b", "c"])), "type <U1", "save it as float32"),
    ("records.npy", npy(np.zeros(5, [("a", "f4")])), "('a', '<f4')", "save it as float32"),
    ("text.npz", b"hello", "not a readable zip", "pack the files again"),
    ("empty.npz", b"", "0 bytes", "restore it"),
    ("bare.npz", npz(), "no arrays", "call the examples 'x'"),
    ("unnamed.npz", npz(a=X, b=X), "the arrays a, b", "call the examples 'x'"),
    ("labels.npz", npz(x=X, y=Y[:3]), "20 examples but 3 labels", "one label for each"),
    ("nan-labels.npz", npz(x=X, y=Y * np.nan), "label in row 0 is nan", "give it a class"),
    ("object-labels.npz", npz(x=X, y=np.array([{}] * 20)), "['y'] holds Python objects", "save"),
    ("complex-labels.npz", npz(x=X, y=Y + 1j), "['y'] has type complex128", "save it as"),
    ("number.npz", npz(x=3.0), "['x'] is a single number", "one example a row"),
    ("shapes.npz", npz(train=X, test=X[:, 1:]), "(3,) in 'train' and (2,) in 'test'", "one shape"),
    ("cut.npz", npz(x=X, y=Y)[:-40], "not a readable zip", "pack the files again"),
    ("flipped.npz", npz(x=LONG).replace(LONG[900].tobytes(), bytes(24)), "is damaged", "save it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "reason", "remedy"), ARRAYS, ids=[a[0] for a in ARRAYS]
)
def test_an_array(file, content, reason, remedy, refused):
    Path(file).write_bytes(content)
    refused(["data", file], file, reason, remedy)


# images and archives


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height=None, bits=8, extra=b"", body=None):
    """A black grey PNG, whatever its size."""
    height, packer = height or width, zlib.compressobj(9)
    row = bytes((width * bits + 7) // 8 + 1)
    if body is None:
        body = b"".join(packer.compress(row * 64) for _ in range(height // 64))
        body += packer.compress(row * (height % 64)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def encoded(kind, **options):
    file = io.BytesIO()
    x = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(x).save(file, kind, **options)
    return file.getvalue()


def floats():
    file = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(file, "TIFF")
    return file.getvalue()


NO_IMAGE = "it is no PNG, JPEG, WEBP, BMP, GIF, TIFF image"
IMAGES = [
    ("a.png", b"", "it is empty (0 bytes)"),
    ("text.png", b"hello", NO_IMAGE),
    ("photoshop.png", b"8BPS" + bytes(100), NO_IMAGE),
    ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NO_IMAGE),
    ("drawing.png", b"<svg/>", NO_IMAGE),
    ("cut.png", encoded("PNG")[:-900], "truncated"),
    ("cut.jpg", encoded("JPEG")[:-900], "runcated"),
    ("cut.webp", encoded("WEBP", lossless=True)[:-900], ""),
    ("cut.gif", encoded("GIF")[:-900], "truncated"),
    ("cut.bmp", encoded("BMP")[:-900], "truncated"),
    ("cut.tiff", encoded("TIFF")[:-900], ""),
    ("head.png", png(8)[:20], "runcated"),
    ("no-pixels.png", png(8, body=b""), ""),
    ("wrong.png", png(8).replace(b"IDAT", b"JDAT"), ""),
    ("float.tiff", floats(), "floating-point"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "reason"), IMAGES, ids=[i[0] for i in IMAGES])
def test_an_image(file, content, reason, refused):
    """Alone it is refused; among many good ones it is skipped by name."""
    Path("photos").mkdir()
    Path("photos", file).write_bytes(content)
    refused(["data", "photos"], "photos", file, reason, "replace it")
    Path("photos/good.png").write_bytes(png(40))
    refused(["data", "photos"], "1 of 2 images", file, reason, "replace or remove")
    for i in range(20):
        Path(f"photos/{i}.png").write_bytes(png(40))
    with pytest.raises(SystemExit) as ended:
        main(["data", "photos"])
    assert not ended.value.code


def archive(*members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return file.getvalue()


def encrypted():
    content = bytearray(archive(("a.png", png(8))))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def wrong_sum(name):
    content = archive((name, b"file,class\n0.png,x\n"), *[(f"{i}.png", png(8)) for i in range(5)])
    return content.replace(b"0.png,x", b"0.png,y")


ARCHIVES = [
    ("empty", b"", "0 bytes", "restore it"),
    ("text", b"hello", "not a zip", "pack the files again"),
    ("without members", archive(), "holds no files", "give a folder"),
    ("without images", archive(("a.txt", "x")), "no images, only 1 files with .txt", "give a"),
    ("cut", archive(("a.png", png(8)))[:60], "not a zip", "pack the files again"),
    ("upwards", archive(("../../evil.png", png(8))), "points outside it, '../../", "without it"),
    ("absolute", archive(("/evil.png", png(8))), "points outside it, '/evil", "without it"),
    ("a drive", archive(("C:\\evil.png", png(8))), "points outside it, 'C:", "without it"),
    ("backslashes", archive(("a\\..\\..\\evil.png", "")), "points outside it", "without it"),
    ("encrypted", encrypted(), "is encrypted", "without a password"),
    ("bomb", archive(("a.png", bytes(40 << 20)), compression=8), "100 times its size", "unpack it"),
    ("bzip2", archive(("a.png", png(8)), compression=12), "method 12", "with deflate"),
    ("a wrong sum", wrong_sum("captions.csv"), "member 'captions.csv' is damaged", "pack"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason", "remedy"), [a[1:] for a in ARCHIVES],
                         ids=[a[0] for a in ARCHIVES])  # fmt: skip
def test_an_archive(content, reason, remedy, refused):
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/photos.zip").write_bytes(content)
    refused(["data", "deep/er/photos.zip"], "photos.zip", reason, remedy)


FOLDERS = [
    ("empty", {}, "holds no files", "give a folder"),
    ("without images", {"a.txt": b"x"}, "no images, only 1 files", "give a folder"),
    ("one image", {"a.png": png(8)}, "only 1 examples", "at least 3"),
    ("two sizes", {f"{i}.png": png(8 + i // 2) for i in range(3)}, "2.png is 9x9", "--resize 8x8"),
    ("captions of nothing", {"a.png": png(8), "captions.csv": b"x\n1\n"}, "no column", "'file'"),
    ("ragged captions", {"a.png": png(8), "captions.csv": b"file\na.png,b\n"}, "line 2", "mend"),
    ("empty captions", {"a.png": png(8), "captions.csv": b""}, "captions.csv is empty", "restore"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "reason", "remedy"), [f[1:] for f in FOLDERS],
                         ids=[f[0] for f in FOLDERS])  # fmt: skip
def test_a_folder(files, reason, remedy, refused):
    Path("photos").mkdir()
    for name, content in files.items():
        Path("photos", name).write_bytes(content)
    refused(["data", "photos"], "photos", reason, remedy)


@pytest.mark.skipif(os.geteuid() == 0, reason="no file is closed to root")
@pytest.mark.parametrize("path", ["photos", "photos/deep", "t.csv", "t.npy"])
def test_what_may_not_be_read(path, refused):
    Path("photos/deep").mkdir(parents=True)
    for i in range(3):
        Path(f"photos/{i}.png").write_bytes(png(8))
    Path("t.csv").write_bytes(GOOD)
    Path("t.npy").write_bytes(npy(X))
    os.chmod(path, 0)
    try:
        refused(["data", path.partition("/")[0]], path, "ermission")
    finally:
        os.chmod(path, 0o700)


SOURCES = [
    (["data", ""], "no name", "give a path"),
    (["data", "digit"], "'digit'", "did you mean 'digits'"),
    (["data", "nothing-like-it"], "nothing-like-it", "choose one of"),
    (["data", "no/such.csv"], "no/such.csv", "give one that there is"),
    (["data", "a\0b.csv"], "no file or folder", "give one that there is"),
    (["data", "n" * 300 + ".csv"], "too long", "see that it is there"),
    (["data", "t.csv/x.csv"], "t.csv/x.csv", "give one that there is"),
    (["data", "notes.md"], "notes.md is of no kind", "give a folder"),
    (["data", "notes.txt"], "notes.txt has only 5 tokens", "smaller --length"),
    (["data", "one.png"], "one.png is one image", "give the folder"),
    (["data", "pipe.csv"], "pipe.csv is empty", "restore it"),
    (["data", "loop.csv"], "loop.csv", "give one that there is"),
    (["data", "zeros.csv"], "zeros.csv is empty", "restore it"),
    (["data"], "SOURCE", "--help"),
    (["data", "digits", "digits"], "extra argument", "--help"),
    (["data", "digits", "--lmit", "5"], "--lmit", "--limit"),
    (["data", "digits", "--limit", "2"], "limit is 2", "at least 3"),
    (["data", "digits", "--limit", "-1"], "-1", "x>=1"),
    (["data", "digits", "--limit", "few"], "few", "integer"),
    (["data", "digits", "--resize", "0"], "'0'", "such as 32"),
    (["data", "digits", "--resize", "8x8x8"], "8x8x8", "such as 32"),
    (["data", "digits", "--resize", "99999"], "99999", "give a side"),
    (["data", "two-moons", "--resize", "8"], "no images", "leave out --resize"),
    (["data", "digits", "--binarize", "half"], "half", "threshold"),
    (["data", "digits", "--binarize", "sample", "--dequantize"], "not both", "give one"),
    (["data", "t.csv", "--dequantize"], "no bytes", "leave out the option"),
    (["data", "digits", "--classes", "cat"], "'cat'", "choose one of"),
    (["data", "digits", "--classes", "1,1"], "'1,1'", "distinct"),
    (["data", "digits", "--classes", ","], "--classes", "name one or more"),
    (["data", "t.csv", "--classes", "cat"], "no classes", "--label"),
    (["data", "digits", "--seed", "9" * 30], "9" * 30, "64 bits"),
    (["data", "digits", "--seed", "1.5"], "1.5", "whole number"),
    (["data", "digits", "--sheet", "folder"], "folder", "give a path to a .png"),
    (["data", "digits", "--sheet", "s.jpg"], "s.jpg", "give a path to a .png"),
    (["data", "digits", "--sheet", "notes.txt/s.png"], "notes.txt/s.png", "choose another"),
    (["data", "three.csv", "--sheet", "s.png"], "no picture", "leave the picture out"),
]


@pytest.mark.parametrize(("arguments", "reason", "remedy"), SOURCES,
                         ids=[" ".join(s[0])[:50].replace("\0", "") for s in SOURCES])  # fmt: skip
def test_a_source(arguments, reason, remedy, refused):
    Path("t.csv").write_bytes(GOOD)
    Path("three.csv").write_bytes(b"a,b,c\n" + b"".join(b"%d,2,%d\n" % (i, -i) for i in range(9)))
    Path("notes.txt").write_text("hello")
    Path("notes.md").write_text("hello")
    Path("one.png").write_bytes(png(8))
    Path("folder").mkdir()
    os.mkfifo("pipe.csv")
    Path("loop.csv").symlink_to("loop.csv")
    Path("zeros.csv").symlink_to("/dev/zero")
    refused(arguments, reason, remedy)


def test_nothing_that_a_terminal_obeys_is_printed(capsys):
    Path("photos").mkdir()
    Path("photos/\x1b[2J\x07evil\n.png").write_bytes(b"x")
    with pytest.raises(SystemExit):
        main(["data", "photos"])
    err = capsys.readouterr().err
    assert "evil" in err
    assert err.rstrip("\n").isprintable()
