"""What a diffusion of tokens does on the command line, and what it says of the rest."""

import numpy as np
import pytest
import torch

import pofx
from pofx.cli import main
from pofx.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs of MDLM: on `text`, and on the bits of `digits`, which has classes."""
    folder = tmp_path_factory.mktemp("masked")
    (folder / "verse.txt").write_text("Tyger Tyger, burning bright, in the forests!\n" * 40)
    small = {"width": 16, "layers": 1, "heads": 1, "batch_size": 8, "steps": 2, "quiet": True}
    cut, bits = {"length": 16}, {"binarize": "threshold"}
    pofx.fit("mdlm", folder / "verse.txt", out=folder / "text", data_options=cut, **small)
    pofx.fit("mdlm", "digits", out=folder / "digits", data_options=bits, **small)
    return folder


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["edit", "digits"], ("edits no examples", "continuous noise such as ddpm")),
        (["sample", "digits", "--worse", "text"], ("continuous noise", "'mdlm' and 'mdlm'")),
        (["ladder", "digits"], ("has samplers", "continuous noise such as ddpm")),
        (["sample", "text", "--prompt", "the "], ("no prompt", "`pofx complete`")),
        (
            ["sample", "text", "--prompt", "the ", "--out", "t.txt"],
            ("no prompt", "`pofx complete`"),
        ),
        (["sample", "digits", "--prompt", "1", "--out", "t.txt"], ("not trained on text",)),
        (["sample", "digits", "--steps", 10**12], ("from 1 to 100000", "1000000000000")),
        (["sample", "digits", "--steps", 0], ("from 1 to 100000", "got 0")),
        (["sample", "digits", "--steps", "1,2"], ("--steps must be a whole number", "(1, 2)")),
        (["complete", "digits", "--steps", 0], ("from 1 to 100000", "got 0")),
        (["complete", "digits", "--guidance", 2], ("--class",)),
        (["complete", "digits", "--stepz", 5], ("did you mean '--steps'",)),
    ],
)
def test_a_mistake_is_one_sentence(arguments, named, runs, refused):
    refused([runs / str(a) if (runs / str(a)).is_dir() else a for a in arguments], *named)


def test_completions_take_steps_and_guidance(runs, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr("pofx.diffusion.discrete._draw", lambda p: taken.append(p) or p.argmax(2))
    options = ["-n", "2", "--steps", "3", "--guidance", "2", "--class", "4"]
    with pytest.raises(SystemExit) as ended:
        main(["complete", str(runs / "digits"), *options, "--out", str(tmp_path / "x.npz")])
    assert not ended.value.code
    assert len(taken) == 3
    run = pofx.load(runs / "digits")
    x = run.dataset.test.values(slice(0, 2))[0]
    assert np.array_equal(
        np.load(tmp_path / "x.npz")["x"][:, :, :4], run.schema.native(x)[:, :, :4]
    )


def test_guidance_changes_what_is_completed(runs):
    run = pofx.load(runs / "digits")
    x = run.dataset.test.values(slice(0, 8))[0]
    known = (torch.arange(64) < 8).view(1, 8, 8)
    for p in run.model.parameters():
        torch.nn.init.normal_(p, std=0.3)  # after so few steps no class matters yet
    plain, far = (run.complete(x, known, cond=4, steps=4, guidance=w) for w in (0.0, 50.0))
    assert not torch.equal(plain, far)
    assert torch.equal(far[:, :, 0], x[:, :, 0])


def test_a_prompt_that_is_no_text_is_an_option_like_any_other(runs):
    with pytest.raises(UserError, match="no option 'prompt'"):
        pofx.load(runs / "digits").sample(2, prompt=torch.zeros(2))
