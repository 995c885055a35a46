"""`pofx encode`, `decode`, `interpolate` and `traverse`: what a run's codes hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pofx.cli.data_options import FiniteRange
from pofx.cli.outputs import say, target
from pofx.errors import UserError

_DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
_DATA = click.option("--data", "source", help="Where examples come from; the run's own by default.")


@click.command("encode")
@click.argument("run")
@_DATA
@click.option("--limit", type=click.IntRange(min=1), help="The first so many examples; all.")
@click.option("--out", help="An .npz, .npy or .csv of codes; in the run folder by default.")
@_DEVICE
def encode(run: str, source: str | None, limit: int | None, out: str | None, device: str) -> None:
    """Writes the codes of data, or of the training examples of RUN.

    Train another recipe on the file, and `pofx sample RUN --prior OTHER` decodes what it draws.
    """
    _suffix(out, ".npz", ".npy", ".csv")
    import numpy as np

    from pofx.data.whole import written
    from pofx.run import Run

    opened = Run(run, device=device)
    path = Path(target(opened, out, "codes.npz", source))
    z, labels = opened.encode(source, limit=limit)
    flat = z.flatten(1).numpy()
    with written(path, "w" if path.suffix == ".csv" else "wb") as file:
        if path.suffix == ".csv":
            header = ",".join(f"z{i}" for i in range(flat.shape[1]))
            np.savetxt(file, flat, delimiter=",", fmt="%.7g", header=header, comments="")
        elif path.suffix == ".npy":
            np.save(file, z.numpy(), allow_pickle=False)
        else:
            y = {} if labels is None else {"y": np.array(labels)}
            model = np.array(opened.model_hash)
            np.savez_compressed(file, allow_pickle=False, x=z.numpy(), model=model, **y)
    say(f"{len(z):,} codes of shape {tuple(z.shape[1:])}: {path}")


@click.command("decode")
@click.argument("run")
@click.option("--codes", required=True, help="An .npz, .npy or .csv of codes.")
@click.option("--class", "cond", help="A class, by number or name, where the model is conditional.")
@click.option("--out", help="A .png grid, a folder, .npz, .npy or .csv.")
@_DEVICE
def decode(run: str, codes: str, cond: str | None, out: str | None, device: str) -> None:
    """Writes the examples that RUN makes of codes.

    A conditional RUN takes the classes that `pofx encode` has written beside them, or --class.
    """
    import torch

    from pofx.data.source import Options, read
    from pofx.run import Run

    opened = Run(run, device=device)
    path = target(opened, out, f"decoded{opened.schema.suffix}", codes)
    raw = read(codes, Options())
    parts = raw.parts.values()
    z = torch.cat([torch.from_numpy(p.gather(p.positions())).float() for p in parts])
    labels = [raw.class_names[k] for p in parts if p.y is not None for k in p.y]
    x = opened.decode(z, cond=cond if cond is not None else labels or None)
    say(f"{opened.save(x, path)}")


@click.command("interpolate")
@click.argument("run")
@click.option(
    "--between", nargs=2, type=int, required=True, help="The numbers of two examples, from 0."
)
@click.option("--steps", type=click.IntRange(2, 1000), default=10, show_default=True)
@click.option(
    "--curve", type=click.Choice(["spherical", "linear"]), default="spherical", show_default=True,
    help="An arc about the origin, or a straight line.",
)  # fmt: skip
@_DATA
@click.option("--out", help="A .png strip, a .gif, a folder, .npz or .csv.")
@_DEVICE
def interpolate(
    run: str,
    between: tuple[int, int],
    steps: int,
    curve: Any,
    source: str | None,
    out: str | None,
    device: str,
) -> None:
    """Goes from one example's code to another's, and decodes on the way."""
    from pofx.run import Run

    opened = Run(run, device=device)
    _no_film(opened, out)
    path = target(opened, out, f"interpolation{opened.schema.suffix}", source)
    x = opened.interpolate(*between, steps=steps, curve=curve, source=source)
    say(f"{_save(opened, x, path, columns=steps)}")


@click.command("traverse")
@click.argument("run")
@click.option("--example", type=int, default=0, show_default=True, help="Its number, from 0.")
@click.option(
    "--dimensions", help="Numbers separated by commas; by default the ten that vary most."
)
@click.option(
    "--reach", type=FiniteRange(0, min_open=True), default=2.0, show_default=True,
    help="How far to move either way, in standard deviations of the codes.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(2, 1000), default=9, show_default=True)
@_DATA
@click.option("--out", help="A .png with a row for each dimension, a folder, .npz or .csv.")
@_DEVICE
def traverse(
    run: str,
    example: int,
    dimensions: str | None,
    reach: float,
    steps: int,
    source: str | None,
    out: str | None,
    device: str,
) -> None:
    """Moves one coordinate of an example's code at a time, and decodes."""
    chosen = None if dimensions is None else _numbers(dimensions)
    from pofx.run import Run

    opened = Run(run, device=device)
    _no_film(opened, out)
    path = target(opened, out, f"traversal{opened.schema.suffix}", source)
    x = opened.traverse(example, dimensions=chosen, reach=reach, steps=steps, source=source)
    say(f"{_save(opened, x, path, columns=steps)}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UserError(f"--dimensions are numbers such as 0,3,5, and '{text}' came.") from error


def _suffix(out: str | None, *known: str) -> None:
    if out and not out.lower().endswith(known):
        raise UserError(f"codes are written as {', '.join(known)}, and --out is {out}.")


def _no_film(run: Any, out: str | None) -> None:
    """Refuses a film of what is no image."""
    if out and out.lower().endswith(".gif") and not run.spec.is_image:
        kinds = {".png": "a .png of the points", ".txt": "a .txt"}.get(run.schema.suffix, "a .csv")
        raise UserError(
            f"what is written as a .gif must be images (got {run.schema.what}): give --out "
            f"{kinds}, or an .npz."
        )


def _save(run: Any, x: Any, path: str, columns: int) -> Path:
    """A strip or a film of images; anything else as samples are written."""
    target = Path(path)
    if not run.spec.is_image or target.suffix.lower() not in (".png", ".gif"):
        return run.save(x, path)
    from pofx.data.pictures import displayed, film, grid
    from pofx.data.whole import written

    images = displayed(x, run.schema)
    with written(target) as file:
        if target.suffix.lower() == ".gif":
            film(images, file)
        else:
            grid(images, columns).save(file, "PNG")
    return target


COMMANDS = {
    "encode": encode,
    "decode": decode,
    "interpolate": interpolate,
    "traverse": traverse,
}
