"""What a file may ask of the machine, through the real command line in a process of its own.

The process runs a good command first. Then its memory is limited to a gigabyte more than it has,
its time to ten seconds a case, and it says what each case cost at its peak.
"""

import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from pofx.data import DataError, limits

MEGABYTE = 1 << 20
CHILD = """
import contextlib, io, json, resource, sys
import torch
torch.set_num_threads(1)
from pofx.cli import main

def memory(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) << 10

def run(arguments):
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak is that of this case
    before, out, err, code = memory("VmRSS"), io.StringIO(), io.StringIO(), None
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + 11, resource.RLIM_INFINITY))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
    extra = memory("VmHWM") - before
    print(json.dumps({"code": code, "err": err.getvalue(), "extra": extra}), flush=True)

cases = json.load(sys.stdin)
run(["data", "digits"])
room = memory("VmSize") + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for case in cases:
    run(case)
"""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height=None, bits=8, colour=0, extra=b""):
    """A black PNG, which packs a thousand to one."""
    height, packer = height or width, zlib.compressobj(9)
    row = bytes((width * bits * (4 if colour == 6 else 1) + 7) // 8 + 1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), extra, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def zeros(megabytes, first=b""):
    """A deflate stream that unpacks to zeros, made without packing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(first) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks = [packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in "ab"]
    return start + blocks[0] + blocks[1] * (megabytes - 1) + packer.flush()


def archive(name, stream, claimed):
    """A zip with one deflated member that claims to unpack to so many bytes."""
    stem = name.encode()
    entry = struct.pack("<HHHHHIIIH", 20, 0, 8, 0, 33, 0, len(stream), claimed, len(stem))
    local = b"PK\3\4" + entry + bytes(2) + stem + stream
    central = b"PK\1\2" + struct.pack("<H", 20) + entry + bytes(16) + stem
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\5\6" + end


def header(shape):
    """The header of a .npy file of bytes that claims a shape."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def claiming(content, place, form, *numbers):
    """A file with other numbers in its header."""
    return content[:place] + struct.pack(form, *numbers) + content[place + struct.calcsize(form) :]


def small(kind):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, kind)
    return file.getvalue()


def jpeg(width, height):
    content = small("JPEG")
    return claiming(content, content.index(b"\xff\xc0") + 5, ">HH", height, width)


TEXT = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300 * MEGABYTE), 1))
BOMB = zeros(2048)
TWO_GIGABYTES = 2 << 30
FILES = {
    "13,000 square": ("a.png", png(13_000, bits=1), "13000x13000 is more than 50 megapixels"),
    "20,000 square": ("a.png", png(20_000, bits=1), "more than 50 megapixels"),
    "a strip": ("a.png", png(20_000, 1), "side of more than 16,384"),
    "a huge BMP": ("a.bmp", claiming(small("BMP"), 18, "<ii", 60_000, 60_000), "50 megapixels"),
    "a huge GIF": ("a.gif", claiming(small("GIF"), 6, "<HH", 65_535, 65_535), "50 megapixels"),
    "a huge JPEG": ("a.jpg", jpeg(65_500, 65_500), "50 megapixels"),
    "a packed text": ("a.png", png(8, extra=TEXT), "too large"),
    "an archive": ("a.zip", archive("a.png", BOMB, TWO_GIGABYTES), "100 times its size"),
    "a lying archive": ("a.zip", archive("a.png", BOMB, 1_000), "a.png"),
    "an .npz": ("a.npz", archive("x.npy", BOMB, TWO_GIGABYTES), "100 times its size"),
    "a lying .npz": (
        "a.npz", archive("x.npy", zeros(2048, header((2048, MEGABYTE))), 4_096), "x",
    ),
    "a lying member": ("a.npz", archive("x.npy", zeros(8, header((10**7, 10**6))), 9 << 20), "TB"),
    "a lying .npy": ("a.npy", header((10**7, 10**6)) + bytes(64), "9.1 TB"),
    "a line": ("a.csv", b"a,b\n" + b"1" * (200 * MEGABYTE), "line 2 is longer than"),
    "an open quote": ("a.csv", b'a,b\n1,"' + b"x,\n" * (20 * MEGABYTE), "larger than 1.0 MB"),
    "20,000 columns": ("a.csv", (b"1," * 20_000 + b"1\n") * 50, "20,001 columns"),
    "nested": ("run.json", b"[" * 10_000_000, "run.json"),
}  # fmt: skip
GOOD = {
    "just under the cap": [("a.png", png(7_000, bits=16)), ("b.png", png(8)), ("c.png", png(9))],
    "in colour": [("a.png", png(7_000, colour=6)), ("b.png", png(8)), ("c.png", png(9))],
}  # fmt: skip


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """What each case said and cost, all in one process."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak is read from /proc")
    folder, commands = tmp_path_factory.mktemp("costs"), {}
    for number, (name, (file, content, _)) in enumerate(FILES.items()):
        path = folder / str(number) / file
        path.parent.mkdir()
        path.write_bytes(content)
        loose = path.suffix in (".png", ".bmp", ".gif", ".jpg")
        verb = "sample" if file == "run.json" else "data"
        commands[name] = [verb, str(path.parent if loose or verb == "sample" else path)]
    for name, files in GOOD.items():
        (folder / name).mkdir()
        for file, content in files:
            (folder / name / file).write_bytes(content)
        commands[name] = ["data", str(folder / name), "--resize", "8"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(list(commands.values())), text=True,
        capture_output=True, timeout=300, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(commands) + 1, done.stderr
    assert lines[0]["code"] == 0
    left = {p.relative_to(folder).parts[0] for p in folder.rglob("*")}
    assert left == {str(i) for i in range(len(FILES))} | set(GOOD)
    return dict(zip(commands, lines[1:], strict=True))


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_asks_for_too_much(case, costs):
    cost, (file, _, said) = costs[case], FILES[case]
    assert cost["code"] == 2, cost
    lines = cost["err"].splitlines()
    assert len(lines) == 1, lines
    assert file in lines[0]
    assert said in lines[0]
    assert cost["extra"] < 100 * MEGABYTE


@pytest.mark.parametrize("case", GOOD)
def test_a_picture_just_under_the_cap_costs_less_than_a_gigabyte(case, costs):
    assert costs[case]["code"] == 0, costs[case]["err"]
    assert costs[case]["extra"] < 600 * MEGABYTE


def test_a_packed_download_is_not_unpacked_whole(tmp_path, monkeypatch):
    from pofx.data import load

    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    stream = zeros(2048)
    packed = gzip.compress(b"")[:10] + stream + bytes(8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(packed)
    monkeypatch.setenv("POFX_DATA", str(folder.parent))
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load("mnist")


def test_overlapping_members_do_not_hide_a_ratio(tmp_path):
    """Entries that share one packed member claim more packed bytes than the file has."""
    stream = zeros(1)[: 1 << 16]
    one = archive("a.png", stream, MEGABYTE)
    cut = one.index(b"PK\1\2")
    entry = one[cut : one.index(b"PK\5\6", cut)]
    entry = claiming(entry, 20, "<I", MEGABYTE)  # a packed size as large as the unpacked
    count = 2_000
    central = entry * count
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(central), cut, 0)
    (tmp_path / "a.zip").write_bytes(one[:cut] + central + b"PK\5\6" + end)
    with pytest.raises(DataError, match="times its size"):
        limits.open_archive(tmp_path / "a.zip")


def test_archives_as_people_pack_them_are_read(tmp_path):
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("white.bin", bytes(limits.ARCHIVE_FREE_BYTES - 99))
        packed.writestr("folder/", "")
        packed.writestr("a.b/..c/d..e.txt", "fine")
    with limits.open_archive(Path("a.zip")) as archive:
        assert limits.member(archive, "a.b/..c/d..e.txt") == b"fine"


def test_a_set_that_memory_would_not_hold(monkeypatch):
    from pofx.data import load

    np.savez("a.npz", x=np.zeros((1000, 100)))
    monkeypatch.setattr(limits, "MEMORY_BYTES", 100_000)
    with pytest.raises(DataError, match=r"a\.npz needs .* more than 97.7 KB: give --limit"):
        load("a.npz")
