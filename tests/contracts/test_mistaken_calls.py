"""A mistake in a call from Python is one `UserError`, as one on the command line is."""

import numpy as np
import pytest
import torch
from torch import nn

import pofx
from pofx import catalogue
from pofx.diffusion.samplers import DDIM
from pofx.errors import UserError
from pofx.spec import DataSpec

KNOWN = torch.ones(1, 8, 8, dtype=torch.bool)
X = torch.zeros(2, 1, 8, 8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("mistaken") / "run"
    small = {"channels": (4, 4), "batch_size": 16, "steps": 1, "sampling_steps": 2, "quiet": True}
    return pofx.fit("ddpm", "digits", out=path, data_options={"limit": 60}, **small)


@pytest.mark.parametrize(
    ("cond", "match"),
    [
        (torch.tensor([1, 22]), "from 0 to 9, and 22 came"),
        (torch.tensor([-1, 2]), "from 0 to 9, and -1 came"),
        (torch.tensor([1.0, 2.0]), "whole numbers from 0 to 9, and 1.0 came"),
        (torch.tensor([True, False]), "whole numbers from 0 to 9, and True came"),
        (torch.tensor([1, 2, 3]), r"2 examples have 2 classes .* shape \(3,\)"),
        (torch.tensor(3), r"classes of shape \(\)"),
        ([1], r"classes of shape \(1,\)"),
        (["1", "x"], "no class 'x'"),
        (1.5, "no class '1.5'"),
    ],
)
def test_classes(run, cond, match):
    for draw in (run.sample, lambda n, **o: run.edit(X[:n], **o)):
        with pytest.raises(UserError, match=match):
            draw(2, cond=cond)


def test_a_list_has_a_class_for_each(run):
    one, two = run.sample(2, cond=[1, "2"]), run.sample(2, cond=torch.tensor([1, 2]))
    assert torch.equal(one, two)
    assert torch.equal(run.labels(2, (3, 3)), run.labels(2, 3))
    for cond in (np.array([1, 2]), torch.tensor([1, 2], dtype=torch.uint8)):
        assert torch.equal(run.sample(2, cond=cond), one)


@pytest.mark.parametrize(
    ("method", "arguments", "options", "match"),
    [
        ("sample", (2.5,), {}, "n is a whole number, and 2.5 came"),
        ("sample", ("2",), {}, "n is a whole number, and '2' came"),
        ("sample", (2,), {"seed": 1.5}, "seed is a whole number, and 1.5 came"),
        ("sample", (2,), {"batch": 1.5}, "batch is a whole number, and 1.5 came"),
        ("edit", (X,), {"seed": None}, "seed is a whole number, and None came"),
        ("sample", (2,), {"sampler": DDIM}, r"the class DDIM itself \(write DDIM\(\)\)"),
        ("sample", (2,), {"steps": [1, 2]}, r"a whole number \(got \[1, 2\]\)"),
        (
            "edit",
            (torch.zeros(2, 3),),
            {},
            r"\(n, 1, 8, 8\), and a float32 tensor of shape \(2, 3\)",
        ),
        ("edit", (X.numpy(),), {}, "examples are a tensor .* and a ndarray came"),
        ("edit", (X / 0,), {}, "finite where they are read"),
        ("complete", (X / 0, KNOWN), {}, "finite where they are read"),
        ("complete", (torch.zeros(2, 3), KNOWN), {}, r"of shape \(2, 3\) came"),
        ("complete", (X, KNOWN.float()), {}, r"bool of shape \(1, 8, 8\), and a float32 tensor"),
        ("complete", (X, KNOWN[0]), {}, r"and a bool tensor of shape \(8, 8\) came"),
        ("complete", (X, KNOWN.numpy()), {}, "and a ndarray came"),
    ],
)
def test_numbers_objects_and_shapes(run, method, arguments, options, match):
    with pytest.raises(UserError, match=match):
        getattr(run, method)(*arguments, **options)


def test_what_is_not_known_may_be_nan(run):
    assert run.complete(X / 0, ~KNOWN).isfinite().all()


def test_whole_numbers_of_any_kind_and_an_interval_as_a_list(run):
    assert torch.equal(run.sample(np.int64(2), seed=np.int64(3)), run.sample(2, seed=3))
    same = [
        run.sample(2, cond=1, guidance=1, guidance_interval=v) for v in ([0.2, 0.8], (0.2, 0.8))
    ]
    assert torch.equal(*same)
    with pytest.raises(UserError, match=r"a later one .* and \(\) came"):
        run.sample(2, cond=1, guidance=1, guidance_interval=())


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_an_array_has_no_name_of_its_own(kind):
    x = kind(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32))
    assert pofx.fit("ppca", x, quiet=True).path.name == "ppca-array"


class Mine(nn.Module):
    pass


RECIPE = catalogue.build("vae", DataSpec((2,)))


class Plain:
    def sample(self, n, cond=None):
        return torch.zeros(n, 2)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (Mine(), r"an object of type Mine\).*CONTRIBUTING.md.*check_model\(model, spec\)"),
        (Mine, r"the class Mine\).*CONTRIBUTING.md.*pofx.evaluate\(Mine\(...\), dataset\)"),
        (Plain(), r"an object of type Plain\).*one file, as CONTRIBUTING.md says"),
        (np.zeros((9, 2)), r"an object of type ndarray\).*give the name first and then the data"),
        (None, r"an object of type NoneType\).*as in pofx.fit\('vae', data='digits'\)"),
        (["vae"], r"an object of type list\).*give the name first"),
        (RECIPE, r"an object of type Recipe\).*its name and its arguments"),
    ],
    ids=["a module", "a class", "a model", "an array", "nothing", "a list", "a recipe"],
)
def test_what_is_fitted_is_a_recipes_name(given, match, tmp_path):
    with pytest.raises(UserError, match=rf"^the recipe must be a name such as 'vae' \(got {match}"):
        pofx.fit(given, data="digits")
    with pytest.raises(UserError, match="the recipe must be a name"):
        pofx.build(given, DataSpec((2,)))
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_fitted_is_checked_and_evaluated_as_the_sentence_says():
    assert pofx.check_model(Plain(), DataSpec((2,))) is not None
    report = pofx.evaluate(Plain(), pofx.load_data("two-moons", limit=100), n=10)
    assert "frechet" in report.metrics
