"""`pofx complete`: the rest of examples of which the beginning is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pofx.cli.data_options import Seed
from pofx.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256


@click.command("complete")
@click.argument("run")
@click.option("--data", "source", help="What to complete; the run's own test examples by default.")
@click.option(
    "--keep", type=click.Choice(["top", "first"]), default="top", show_default=True,
    help="What is known: whole rows of an image from the top, or the first elements.",
)  # fmt: skip
@click.option(
    "--fraction", type=click.FloatRange(0, 1), default=0.5, show_default=True,
    help="How much of it.",
)  # fmt: skip
@click.option("-n", "n", type=click.IntRange(min=1), default=16, show_default=True,
              help="How many examples, the first ones.")  # fmt: skip
@click.option(
    "--seed", type=Seed(), default=0, show_default=True, help="The same seed, the same completions."
)
@click.option("--class", "cond", help="A class, by number or name, where the model is conditional.")
@click.option(
    "--out",
    help="A .png with examples beside them, .npz, .csv or .txt; in the run folder by default.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def complete(  # noqa: PLR0913
    run: str,
    source: str | None,
    keep: str,
    fraction: float,
    n: int,
    seed: int,
    cond: str | None,
    out: str | None,
    device: str,
) -> None:
    """Draws the rest of examples by RUN, whose model goes on from what is known.

    A picture shows each example as it is, what is known of it, and its completion. Any other file
    has the completions alone.
    """
    from pofx.capabilities import Completes
    from pofx.run import Run

    opened = Run(run, device=device)
    if not isinstance(opened.model, Completes):
        raise UserError(
            f"recipe '{opened.job.recipe}' completes no examples; train one that `pofx list` calls "
            "autoregressive or diffusion."
        )
    x = _examples(opened, source, n)
    known = _known(opened.spec.shape, keep, fraction)
    labels = None if cond is None else opened.labels(len(x), cond)
    done = _completed(opened, x, known, labels, seed)
    path = out or str(opened.path / f"completed-{seed}{opened.schema.suffix}")
    if opened.spec.is_image and path.lower().endswith(".png"):
        _draw(opened, x, known, done, path)
    else:
        opened.save(done, path, seed=seed, cond=labels)
    click.echo(path)


def _examples(run: Any, source: str | None, n: int) -> Tensor:
    """The first `n` examples, as the model sees them."""
    if source is not None:
        return run.examples(source).x[:n]
    return run.dataset.test.values(slice(0, n))[0]


def _known(shape: tuple[int, ...], keep: str, fraction: float) -> Tensor:
    """Which elements are known: an image's pixel by pixel from the top left."""
    import torch

    size, (first, *rest) = math.prod(shape), shape
    count = round(fraction * size)
    if keep == "top" and len(shape) == 3:
        count = round(fraction * shape[1]) * first * shape[2]
    return torch.arange(size).view(*rest, first).movedim(-1, 0) < count


def _completed(run: Any, x: Tensor, known: Tensor, labels: Tensor | None, seed: int) -> Tensor:
    """Completions on the CPU, the same ones for any batch."""
    import torch

    from pofx.functional.random import noise

    done = []
    for first in range(0, len(x), _BATCH):
        part = x[first : first + _BATCH].to(run.device)
        cond = {} if labels is None else {"cond": labels[first : first + _BATCH]}
        with noise(seed, len(part), first=first):
            done.append(run.model.complete(part, known.to(run.device), **cond).cpu())
    return torch.cat(done)


def _draw(run: Any, x: Tensor, known: Tensor, done: Tensor, path: str) -> None:
    """Each example, what is known of it on grey, and its completion, side by side."""
    import torch

    from pofx.data.pictures import displayed, grid
    from pofx.data.whole import complete as whole
    from pofx.data.whole import parents

    before, after = displayed(x, run.schema), displayed(done, run.schema)
    begun = torch.where(known, before, 0.0)
    sheet = torch.stack([before, begun, after], 1).flatten(0, 1)
    columns = 3 * max(1, round(math.sqrt(len(x) / 3)))
    with parents(Path(path)), whole(Path(path)) as file:
        grid(sheet, columns).save(file, "PNG")


COMMANDS = {"complete": complete}
