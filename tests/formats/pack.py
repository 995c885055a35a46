"""Packs one small run of every family as the present code makes it: `python tests/formats/pack.py`.

Each `format-<n>.zip` proves that later code opens, samples and resumes the runs that format n
made. Beside the folders it holds what that code drew from them and where it arrived when it
resumed them. An archive is made once, before the format changes, and never again.
"""

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

import pofx
from pofx.training import folder
from pofx.training.fit import fit, resume

HERE = Path(__file__).parent
STEPS, MORE, SEED = 4, 6, 3
CLASS = {"conditional": True}
TINY = {
    "gmm": ("table", {"components": 2}),
    "ppca": ("two-moons", {}),
    "autoencoder": ("digits", {"latent": 2, "hidden": (8,), "channels": 0}),
    "vae": ("digits", {"latent": 2, "hidden": (8,), "network": "mlp", "kl_warmup": 0.5}),
    "gan": ("two-moons", {"latent": 2, "hidden": (8,)}),
    "made": ("table", {"hidden": (8,)}),
    "gpt": ("text", {"width": 8, "layers": 1, "heads": 1}),
    "realnvp": ("two-moons", {"layers": 2, "hidden": (8,)}),
    "rbm": ("bits", {"hidden": 4}),
    "ddpm": ("two-moons", {"hidden": 8, "blocks": 1}),
    "kde": ("digits", {"points": 60, "conditional": True}),
    "ngram": ("text", {}),
    "iaf-vae": ("digits", {"latent": 2, "hidden": (8,), "network": "mlp", "width": 8, **CLASS}),
    "wgan-gp": ("digits", {"latent": 2, "hidden": (8,), "channels": 0}),
    "nade": ("bits", {"hidden": 8, **CLASS}),
    "pixelcnn": ("digits", {"channels": 4, "layers": 1, **CLASS}),
    "pixelcnn-pp": ("digits", {"channels": 4, "blocks": 1, "levels": 1, **CLASS}),
    "pixelrnn": ("digits", {"channels": 4, "layers": 1, **CLASS}),
    "wavenet": ("text", {"channels": 4}),
    "maf": ("digits", {"layers": 2, "hidden": (8,), **CLASS}),
    "glow": ("digits", {"layers": 2, "scales": 1, "channels": 4, **CLASS}),
    "tarflow": ("digits", {"layers": 2, "width": 8, "heads": 1, "blocks": 1, **CLASS}),
    "ffjord": ("digits", {"hidden": (8,), "solver_steps": 2, **CLASS}),
    "residual-flow": ("digits", {"layers": 2, "hidden": (8,), **CLASS}),
    "flow-matching": ("digits", {"network": "dit", "hidden": 8, "blocks": 1, "guidance": 1.0}),
    "mdlm": ("digits", {"width": 8, "layers": 1, "heads": 1, "sampling_steps": 3}),
    "deep-energy": ("two-moons", {"hidden": (8,), "sampling_steps": 5}),
    "dbn": ("bits", {"hidden": (4, 4)}),
}
"""The data and the size of each family's run."""
OPTIONS = {
    "two-moons": {"limit": 200},
    "digits": {"limit": 60, "resize": 4},
    "bits": {"limit": 60, "resize": 4, "binarize": "sample"},
    "text": {"length": 8},
    "table": {},
}


def write_data(to: Path) -> None:
    """A table with gaps and a text, beside which built-in sets are used."""
    g = np.random.default_rng(0)
    rows = ["a,b,kind"]
    for _ in range(60):
        a, b, kind = f"{g.normal():.2f}", f"{g.normal():.2f}", g.choice(["cat", "dog"])
        rows.append(f"{a},{'' if g.random() < 0.3 else b},{kind}")
    (to / "table.csv").write_text("\n".join(rows) + "\n")
    (to / "text.txt").write_text("to be or not to be, that is the question. " * 8)


def source(data: str, folder: Path) -> str:
    files = {"table": folder / "table.csv", "text": folder / "text.txt"}
    return str(files.get(data, "digits" if data == "bits" else data))


def weights(run: Path) -> dict[str, np.ndarray]:
    from pofx.training.checkpoint import load_model

    return {k: v.numpy() for k, v in load_model(run / "model.safetensors")[0].items()}


def main() -> None:
    torch.set_num_threads(1)
    target = HERE / f"format-{folder.FORMAT}.zip"
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(buffer, "w") as archive:
        os.chdir(temporary)
        here = Path("runs")
        here.mkdir()
        write_data(here)
        drawn, resumed = {}, {}
        for recipe, (data, arguments) in TINY.items():
            learns = {} if recipe in ("gmm", "ppca", "kde", "ngram") else {"batch_size": 16}
            fit(
                recipe, source(data, here), out=here / recipe, steps=STEPS, save_every=2,
                threads=1, device="cpu", quiet=True, data_options=OPTIONS[data],
                **learns, **arguments,
            )  # fmt: skip
            run = pofx.load(here / recipe, device="cpu")
            if hasattr(run.model, "sample"):
                drawn[recipe] = run.sample(5, seed=SEED).numpy()
            described = here / recipe / "run.json"
            content = json.loads(described.read_text())
            content["command"] = f"pofx train {recipe}"
            described.write_text(json.dumps(folder.sealed(content), indent=1) + "\n")
        for path in sorted(p for p in here.rglob("*") if p.is_file() and p.name != ".lock"):
            if path.suffix != ".png":
                add(archive, str(path.relative_to(here)), path.read_bytes())
        for recipe in TINY:
            resume(here / recipe, steps=MORE, quiet=True)
            resumed |= {f"{recipe}/{k}": v for k, v in weights(here / recipe).items()}
        for name, arrays in (("drawn.npz", drawn), ("resumed.npz", resumed)):
            content = io.BytesIO()
            np.savez(content, **arrays)
            add(archive, name, content.getvalue())
    target.write_bytes(buffer.getvalue())
    print(f"{target}: {target.stat().st_size:,} bytes")


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Without the time of day, so that equal content makes an equal archive."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


if __name__ == "__main__":
    main()
