"""`pofx complete`: what is known comes back, and a mistake is one sentence."""

import numpy as np
import pytest
from PIL import Image
from verb import code

SMALL = ["--batch-size", 16, "--steps", 2, "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of small runs: `bits` in raster order, `classes`, `table` at random, and a `vae`."""
    folder = tmp_path_factory.mktemp("runs")
    table = folder / "pets.csv"
    table.write_text("age,pet\n" + "".join(f"{i},{'cat' if i % 3 else 'dog'}\n" for i in range(60)))
    made = ["train", "made", "--hidden", 8, *SMALL]
    for name, arguments in {
        "bits": [*made, "--data", "digits", "--binarize", "threshold"],
        "classes": [*made, "--data", "digits", "--conditional"],
        "table": [*made, "--data", table, "--order", "natural"],
        "vae": ["train", "vae", "--latent", 2, "--hidden", 8, "--channels", 4, *SMALL],
    }.items():
        assert code(*arguments, "--out", folder / name) == 0
    np.savez(folder / "x.npz", x=np.arange(256).reshape(4, 1, 8, 8).astype(np.uint8) % 2 * 16)
    return folder


def test_what_is_known_comes_back_and_the_same_seed_draws_the_same(trained, tmp_path):
    for name in ("a", "b"):
        done = [trained / "bits", "-n", 5, "--fraction", 0.5, "--out", tmp_path / f"{name}.npz"]
        assert code("complete", *done) == 0
    assert (
        code("complete", trained / "bits", "-n", 5, "--fraction", 1, "--out", tmp_path / "x.npz")
        == 0
    )
    a, b, whole = (np.load(tmp_path / f"{name}.npz")["x"] for name in "abx")
    assert np.array_equal(a, b)
    assert a.shape == whole.shape
    rows = a.reshape(5, 8, 8), whole.reshape(5, 8, 8)
    assert np.array_equal(rows[0][:, :4], rows[1][:, :4])
    assert not np.array_equal(rows[0][:, 4:], rows[1][:, 4:])


@pytest.mark.parametrize("run", ["bits", "classes"])
def test_a_picture_lies_in_the_run_folder_or_where_it_is_asked_for(run, trained, tmp_path, capsys):
    assert code("complete", trained / run, "-n", 4, "--keep", "first", "--fraction", 0.3) == 0
    assert capsys.readouterr().out.strip() == str(trained / run / "completed-0.png")
    assert Image.open(trained / run / "completed-0.png").size[0] > 100
    picture = tmp_path / "new" / "p.png"
    assert code("complete", trained / run, "--data", trained / "x.npz", "--out", picture) == 0
    assert Image.open(picture).size[0] > 100


def test_the_first_columns_of_a_table(trained, tmp_path):
    out = tmp_path / "done.csv"
    done = ["complete", trained / "table", "--data", trained / "pets.csv", "-n", 3, "--out", out]
    assert code(*done) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "age,pet"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]
    assert {line.split(",")[1] for line in lines[1:]} <= {"cat", "dog"}


@pytest.mark.parametrize(
    ("run", "options", "reason", "remedy"),
    [
        ("vae", [], "recipe 'vae' completes no examples", "such as ddpm or mdlm, or"),
        ("bits", ["--class", 1], "not trained on classes", "takes no class"),
        ("classes", ["--class", "cat"], "'cat'", "choose one of"),
        ("bits", ["--fraction", 2], "2", "0<=x<=1"),
        ("bits", ["--keep", "bottom"], "bottom", "top"),
        ("bits", ["-n", 0], "0", "x>=1"),
        ("bits", ["--data", "gone.npz"], "gone.npz", "give"),
        ("bits", ["--data", "two-moons"], "two-moons", "give"),
        ("bits", ["--out", "x.jpg"], "x.jpg", "use .png"),
        ("table", ["--out", "x.npz"], "x.npz", "write a .csv"),
        ("gone", [], "no run in", "pofx runs"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(run, options, reason, remedy, trained, refused):
    refused(["complete", trained / run, *options], reason, remedy)


def test_an_order_of_its_own_says_what_it_can_go_on_from(trained, tmp_path, refused):
    run, several = tmp_path / "random", tmp_path / "several"
    arguments = ["train", "made", "--hidden", 8, *SMALL, "--data", "digits", "--order", "random"]
    assert code(*arguments, "--out", run) == 0
    refused(["complete", run], "its order begins with", "so train with `--order natural` to go on")
    assert code(*arguments, "--orders", 2, "--out", several) == 0
    refused(["complete", several], "`--order natural` and `--orders 1`")
    assert code("complete", trained / "table", "--out", tmp_path / "x.csv") == 0
