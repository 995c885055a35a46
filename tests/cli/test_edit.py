"""What diffusion models do with a given example, a worse run and their probability flow."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from verb import code

from pofx.errors import UserError
from pofx.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs on digits: a `good` one, a `worse` one, one without `classes`, and a `vae`."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["--data", "digits", "--batch-size", 16, "--steps", 3, "--quiet", "--limit", 200]
    small += ["--channels", "4,4"]
    for name, arguments in {
        "good": ["ddpm"],
        "worse": ["ddpm", "--blocks", 2],
        "none": ["ddpm", "--no-conditional"],
        "linear": ["ddpm", "--schedule", "linear"],
        "learned": ["improved-ddpm"],
    }.items():
        assert code("train", *arguments, *small, "--out", folder / name) == 0
    for name, first in (("young", 0), ("old", 60)):
        table = folder / f"{name}.csv"
        table.write_text("age,weight\n" + "".join(f"{first + i},{i % 7}\n" for i in range(40)))
        tiny = ["--hidden", 8, "--batch-size", 16, "--steps", 2, "--quiet", "--out", folder / name]
        assert code("train", "ddpm", "--data", table, *tiny) == 0
    vae = ["train", "vae", "--channels", 4, *small[:-2], "--out", folder / "vae"]
    assert code(*vae) == 0
    return folder


def test_little_strength_keeps_an_example_and_all_of_it_keeps_nothing(runs, tmp_path):
    given = [runs / "good", "-n", 6, "--steps", 20, "--class", 3]
    for strength in (0.02, 1):
        out = tmp_path / f"{strength}.npz"
        assert code("edit", *given, "--strength", strength, "--out", out) == 0
    near, far = (np.load(tmp_path / f"{s}.npz")["x"].astype(float) for s in (0.02, 1))
    run = Run(runs / "good")
    x = 8 * (run.dataset.test.values(slice(0, 6))[0].numpy().reshape(near.shape) + 1)
    assert abs(near - x).mean() < 0.5 < abs(far - x).mean()


def test_an_edited_picture_stands_beside_what_was_given(runs, tmp_path, capsys):
    options = ["-n", 8, "--sampler", "dpmpp-2m", "--steps", 3, "--guidance", 1, "--class", 2]
    assert code("edit", runs / "good", *options, "--out", tmp_path / "e.png") == 0
    width, height = Image.open(tmp_path / "e.png").size
    assert width == pytest.approx(height, rel=0.05)  # two columns of two, four rows
    assert code("complete", runs / "good", *options, "--out", tmp_path / "c.png") == 0
    for verb in ("edit", "complete"):
        assert code(verb, runs / "good", "--stepz", 3) == 2
        assert "did you mean '--steps'" in capsys.readouterr().err


def test_a_batch_of_edits_is_edited_as_its_members_are(runs, monkeypatch):
    run = Run(runs / "good")
    x = run.dataset.test.values(slice(0, 5))[0]
    whole = run.edit(x, seed=3, steps=4)
    monkeypatch.setattr("pofx.run._BATCH", 2)
    assert (run.edit(x, seed=3, steps=4) == whole).float().mean() > 0.99  # but for rounding


def test_guidance_goes_away_from_a_worse_run(runs):
    good, worse = Run(runs / "good"), Run(runs / "worse")
    plain = good.sample(64, steps=3)
    assert not torch.equal(plain, good.sample(64, worse=worse, steps=3))
    assert torch.equal(plain, good.sample(64, worse=worse, steps=3, guidance=0.0))
    assert torch.equal(plain[:4], good.sample(4, worse=good, steps=3, guidance=2.0))


def test_guidance_keeps_learned_variances_and_leaves_a_model_in_its_mode(runs):
    run = Run(runs / "learned")
    assert torch.equal(run.sample(2, steps=3), run.sample(2, steps=3, worse=run))
    assert not any(m.training for m in run.model.modules())


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("complete", {"strength": 0.3}, "no option 'strength'"),
        ("edit", {"known": torch.ones(1, 8, 8, dtype=torch.bool)}, "no option 'known'"),
        ("edit", {"n": 3}, "no option 'n'"),
        ("edit", {"strength": "half"}, "at most 1, and half came"),
    ],
)
def test_what_a_method_does_not_take_is_named(runs, method, options, match):
    run = Run(runs / "good")
    x, _ = run.dataset.test.values(slice(0, 2))
    given = {"known": torch.ones(1, 8, 8, dtype=torch.bool)} if method == "complete" else {}
    with pytest.raises(UserError, match=match):
        getattr(run, method)(x, **given, **options)
    with pytest.raises(UserError, match="at least one example"):
        getattr(run, method)(x[:0], **given)


def test_a_model_of_half_precision_takes_examples_of_single(runs):
    run = Run(runs / "good")
    x, _ = run.dataset.test.values(slice(0, 2))
    model = run.model.bfloat16()
    known = torch.zeros(1, 8, 8, dtype=torch.bool)
    known[:, :4] = True
    assert torch.equal(model.complete(x, known, steps=2)[:, :, :4], x[:, :, :4])
    assert model.edit(x, steps=2).shape == x.shape


def test_guidance_away_from_a_worse_run_needs_no_classes(runs):
    run = Run(runs / "none")
    same = run.sample(2, steps=2, guidance=2.0, worse=run)
    assert torch.equal(run.sample(2, steps=2), same)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sample", "good", "--worse", "vae"], ("continuous noise", "'vae'")),
        (["sample", "good", "--worse", "none"], ("same data, noise and classes",)),
        (["sample", "good", "--worse", "linear"], ("same data, noise and classes",)),
        (["sample", "good", "--guidance-interval", "0.2,0.8"], ("there is none", "such as 1")),
        (["sample", "none", "--guidance", "1"], ("knows none",)),
        (["edit", "vae", "--steps", "3"], ("edits no examples", "continuous noise such as ddpm")),
        (["edit", "good", "--guidance", "5"], ("towards a class", "give one by --class")),
        (["edit", "good", "--sampler", "ddim,heun"], ("--sampler as a", "('ddim', 'heun') came")),
        (["complete", "good", "--guidance", "5"], ("towards a class", "give one by --class")),
        (["complete", "good", "--repeats", "1,2"], ("--repeats must be a whole number", "(1, 2)")),
        (["sample", "good", "--prior", "worse", "--worse", "worse"], ("leave one out",)),
        (["sample", "young", "--worse", "old"], ("other data", "units")),
        (["sample", "good", "--prompt", "a", "--worse", "worse"], ("leave --prior and --worse",)),
        (["edit", "good", "--strength", "0"], ("0<x<=1",)),
        (["edit", "none", "--class", "3"], ("takes no class",)),
        (["complete", "vae", "--steps", "3"], ("completes no examples",)),
        (["evaluate", "vae", "--flow", "-n", "20"], ("probability flow", "diffusion model")),
    ],
)
def test_a_mistake_is_one_sentence(runs, capsys, arguments, named):
    verb, run, *rest = arguments
    rest = [runs / r if (runs / str(r)).exists() else r for r in rest]
    assert code(verb, runs / run, *rest) == 2
    said = capsys.readouterr().err
    assert all(words in said for words in named), said
    assert said.count("\n") == 1


def test_a_likelihood_by_the_probability_flow(runs, capsys):
    assert code("evaluate", runs / "good", "-n", 10, "--features", "pca", "--flow", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["likelihood"]["kind"] == "bound"
    assert "probability flow" in report["likelihood"]["detail"]
    assert report["n_likelihood"] == 10
