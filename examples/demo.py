"""Families learn the same digits: one picture of what they draw, and a table of how well."""

import itertools
from pathlib import Path

from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

import pofx

RECIPES = {
    "gmm": {},
    "vae": {"steps": 1500, "channels": 8},
    "gan": {"steps": 1000, "channels": 8},
    "ddpm": {"steps": 1000},
}


def side_by_side(pictures: dict[str, Path], path: Path) -> Path:
    """One picture of several, each under its name."""
    images = [Image.open(p).convert("L") for p in pictures.values()]
    width, height = (max(i.size[axis] for i in images) + 16 for axis in (0, 1))
    sheet = Image.new("L", (width * len(images), height + 24), 255)
    for i, (name, image) in enumerate(zip(pictures, images, strict=True)):
        sheet.paste(image, (i * width + 8, 32))
        ImageDraw.Draw(sheet).text((i * width + 10, 8), name, fill=0, font_size=18)
    sheet.save(path, optimize=True)
    return path


def first_free(folder: Path) -> Path:
    """A folder that is not there yet: `demo`, `demo-2` and so on."""
    numbered = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    return next(f for f in itertools.chain([folder], numbered) if not f.exists())


def main() -> None:
    folder = first_free(Path("runs/demo"))
    table = Table("recipe", "log p(x), nats", "kind", "Frechet distance", "real", "noise")
    pictures = {}
    for name, arguments in RECIPES.items():
        run = pofx.fit(name, data="digits", out=folder / name, **arguments)
        report = run.evaluate()
        pictures[name] = run.save(run.sample(64), folder / f"{name}.png")
        said, frechet = report.likelihood, report.metrics["frechet"]
        nats, kind = (f"{said.nats:.2f}", said.kind) if said else ("", "none")
        figures = (frechet.value, frechet.floor, frechet.ceiling)
        table.add_row(name, nats, kind, *(f"{v:.2f}" for v in figures))
    Console(width=100).print(table)
    print(f"picture: {side_by_side(pictures, folder / 'demo.png')}")
    print(f"runs: {folder}, with samples as they learned; `pofx runs` lists them")


main()
