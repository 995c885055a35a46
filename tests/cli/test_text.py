"""Text through the command line: train, inspect, write, go on from a prompt."""

import pathlib

import pytest

import pofx
from pofx.cli import main

VERSE = "Tyger Tyger, burning bright, in the forests of the night; naïve!\n" * 40


def said(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    return out


@pytest.fixture(params=["ngram", "gpt"])
def run(request, tmp_path):
    (tmp_path / "verse.txt").write_text(VERSE, encoding="utf-8")
    options = {} if request.param == "ngram" else {"steps": 3, "width": 16, "layers": 1}
    return pofx.fit(
        request.param, tmp_path / "verse.txt", data_options={"length": 16}, out=tmp_path / "run",
        quiet=True, **options,
    )  # fmt: skip


def test_text_is_written_and_gone_on_with(run, capsys, tmp_path):
    assert list((run.path / "samples").glob("*.txt"))
    said(capsys, "sample", run.path, "-n", 3, "--out", tmp_path / "out.txt", "--prompt", "Tyger")
    parts = (tmp_path / "out.txt").read_text(encoding="utf-8").split(f"{'-' * 40}\n")
    assert len(parts) == 3
    assert all(p.startswith("Tyger") and len(p) == 17 for p in parts)
    first = said(capsys, "sample", run.path, "--prompt", "Tyger", "--length", 50, "--seed", 4)
    assert first.startswith("Tyger")
    assert len(first) == 5 + 50 + 1
    assert first == said(
        capsys, "sample", run.path, "--prompt", "Tyger", "--length", 50, "--seed", 4
    )
    assert "".join(run.stream("Tyger", length=50, seed=4)) == first[5:-1]
    assert said(capsys, "sample", run.path, "-n", 2).strip().endswith("samples-0.txt")
    assert '"bits_per_character"' in said(capsys, "evaluate", run.path, "--json")


def test_ways_to_draw_reach_the_model(run, capsys):
    if run.job.recipe != "gpt":
        with pytest.raises(pofx.UserError, match="no option 'temperature'"):
            list(run.stream("T", temperature=0.5))
        return
    options = ["--temperature", 0.8, "--top-k", 20, "--top-p", 0.95]
    assert said(capsys, "sample", run.path, "--prompt", "T", "--length", 5, *options)
    with pytest.raises(pofx.UserError, match=r"--top-k must be at least 1 \(got 0\)"):
        run.stream("T", top_k=0)
    likeliest = ["sample", run.path, "--prompt", "T", "--length", 20, "--temperature", 0]
    assert said(capsys, *likeliest, "--seed", 1) == said(capsys, *likeliest, "--seed", 2)


def test_the_rest_of_a_text(run, capsys, tmp_path):
    if run.job.recipe != "gpt":
        return
    (tmp_path / "begun.txt").write_text("Tyger Tyger, bur", encoding="utf-8")
    path = said(capsys, "complete", run.path, "--data", tmp_path / "begun.txt").strip()
    assert path.endswith("completed-0.txt")
    done = pathlib.Path(path).read_text(encoding="utf-8")
    assert done.startswith("Tyger Ty")
    assert len(done) == 17


def test_resume_is_exact_on_text(tmp_path):
    (tmp_path / "verse.txt").write_text(VERSE, encoding="utf-8")
    common = {"data_options": {"length": 16}, "quiet": True, "width": 16, "layers": 1}
    whole = pofx.fit("gpt", tmp_path / "verse.txt", out=tmp_path / "a", steps=6, **common)
    pofx.fit("gpt", tmp_path / "verse.txt", out=tmp_path / "b", steps=6, save_every=3, **common)
    (tmp_path / "b" / "model.safetensors").unlink()
    newest = sorted((tmp_path / "b" / "checkpoints").iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    again = pofx.resume(tmp_path / "b", quiet=True)
    assert again.model_hash == whole.model_hash


def test_mistakes_about_prompts(run, refused, tmp_path):
    refused(["sample", run.path, "--prompt", "Ω"], "character 'Ω' (U+03A9)")
    refused(["sample", run.path, "--length", "5"], "give --prompt")
    refused(
        ["sample", run.path, "--prompt", "T" * 17, "--out", "a.txt"], "the prompt has 17", "shorter"
    )
    refused(["sample", run.path, "--prompt", "T", "--temprature", "1"], "no --temprature")
    digits = pofx.fit("ppca", "digits", out=tmp_path / "other", quiet=True)
    refused(["sample", digits.path, "--prompt", "T"], "not trained on text")
    refused(["sample", digits.path, "--out", "a.txt"], "a.txt would be text")


BAD = {
    "empty": (b"", "0 bytes", "restore it"),
    "binary": (b"\x89PNG\0" * 99, "byte 4 is 0", "save it as UTF-8"),
    "latin-1": (b"caf\xe9\n" * 99, "byte 3 in line 1", "save it as UTF-8"),
    "one symbol": (b"a" * 9999, "only one symbol", "nothing to learn"),
    "short": (b"abc" * 9, "only 27 tokens", "a longer text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_text(case, refused, tmp_path):
    content, *words = BAD[case]
    (tmp_path / "bad.txt").write_bytes(content)
    refused(["data", tmp_path / "bad.txt"], "bad.txt", *words)
    refused(["train", "ngram", "--data", tmp_path / "bad.txt"], "bad.txt", *words)
