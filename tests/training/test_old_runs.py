"""Runs that earlier formats made open, sample what they sampled, and resume to where they went.

`tests/formats/pack.py` made the archives, each by the code of its time.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import pofx
from pofx.training.checkpoint import load_model
from pofx.training.fit import resume

ARCHIVES = sorted((Path(__file__).parents[1] / "formats").glob("format-*.zip"))
MORE, SEED = 6, 3


def runs() -> list[tuple[Path, str]]:
    found = []
    for archive in ARCHIVES:
        with zipfile.ZipFile(archive) as z:
            names = sorted({n.split("/")[0] for n in z.namelist() if n.endswith("/run.json")})
        found += [(archive, name) for name in names]
    return found


def arrays(archive: Path, name: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(archive) as z:
        return dict(np.load(io.BytesIO(z.read(name))))


def unpacked(archive: Path, recipe: str, to: Path) -> Path:
    """The run's folder, whose data lie beside it."""
    with zipfile.ZipFile(archive) as z:
        wanted = [n for n in z.namelist() if n.startswith(f"{recipe}/") or "/" not in n]
        z.extractall(to, wanted)
    described = to / recipe / "run.json"
    job = json.loads(described.read_text())
    source = job["source"]["source"]
    if "/" in source:  # where the data lay when the archive was made
        text = described.read_text().replace(source, str(to / Path(source).name))
        described.write_text(text)
    return to / recipe


@pytest.mark.parametrize(("archive", "recipe"), runs(), ids=lambda v: getattr(v, "stem", v))
def test_a_run_of_an_earlier_format_opens_samples_and_resumes(archive, recipe, tmp_path):
    folder = unpacked(archive, recipe, tmp_path)
    run = pofx.load(folder, device="cpu")
    drawn = arrays(archive, "drawn.npz")
    if recipe in drawn:
        x = run.sample(len(drawn[recipe]), seed=SEED)
        assert torch.allclose(x, torch.from_numpy(drawn[recipe]), rtol=1e-3, atol=1e-4)
    resume(folder, steps=MORE, quiet=True)
    reached = load_model(folder / "model.safetensors")[0]
    then = {k: v for k, v in arrays(archive, "resumed.npz").items() if k.startswith(f"{recipe}/")}
    assert {f"{recipe}/{k}" for k in reached} == set(then)
    for name, value in reached.items():
        expected = torch.from_numpy(then[f"{recipe}/{name}"])
        assert torch.allclose(value.double(), expected.double(), rtol=1e-3, atol=1e-5), name
