"""Three families learn the same digits; a picture of each, and a table of how well."""

from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console
from rich.table import Table

import pofx

RECIPES = {
    "vae": {"steps": 1500, "channels": 8},
    "gan": {"steps": 1000, "channels": 8},
    "ddpm": {"steps": 1000},
}


def main() -> None:
    folder = Path(mkdtemp(prefix="pofx-demo-"))
    table = Table("recipe", "log p(x), nats", "kind", "Frechet distance", "floor", "picture")
    for name, arguments in RECIPES.items():
        run = pofx.fit(name, data="digits", out=folder / name, **arguments)
        report = run.evaluate()
        picture = run.save(run.sample(64), folder / f"{name}.png")
        said, frechet = report.likelihood, report.metrics["frechet"]
        nats, kind = (f"{said.nats:.2f}", said.kind) if said else ("", "none")
        table.add_row(
            name, nats, kind, f"{frechet.value:.2f}", f"{frechet.floor:.2f}", str(picture)
        )
    Console(width=160).print(table)


main()
