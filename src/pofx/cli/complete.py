"""`pofx complete` and `pofx edit`: examples of which something is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pofx.cli.data_options import FiniteRange, Seed
from pofx.cli.model_options import ModelCommand, check_options, own_options
from pofx.cli.outputs import say, target

if TYPE_CHECKING:
    from torch import Tensor


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """The flags of both verbs."""
    for add in (
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option(
            "--out", help="A .png with examples beside them, .npz, .csv or .txt; in the run folder "
            "by default.",
        ),
        click.option(
            "--class", "cond", help="A class, by number or name, where the model is conditional."
        ),
        click.option(
            "--seed", type=Seed(), default=0, show_default=True,
            help="The same seed, the same examples.",
        ),
        click.option(
            "-n", "n", type=click.IntRange(min=1), default=16, show_default=True,
            help="How many examples, the first ones.",
        ),
        click.option(
            "--data", "source", help="Where examples come from; the run's own test examples by "
            "default.",
        ),
        click.argument("options", nargs=-1, type=click.UNPROCESSED),
        click.argument("run"),
    ):  # fmt: skip
        command = add(command)
    return command


@click.command("complete", cls=ModelCommand, context_settings={"ignore_unknown_options": True})
@_shared
@click.option(
    "--keep", type=click.Choice(["top", "first"]), default="top", show_default=True,
    help="What is known: whole rows of an image from the top, or the first elements.",
)  # fmt: skip
@click.option(
    "--fraction", type=FiniteRange(0, 1), default=0.5, show_default=True,
    help="How much of it.",
)  # fmt: skip
def complete(
    run: str,
    options: tuple[str, ...],
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
    has the completions alone. OPTIONS are what the model itself takes, such as `--steps 50`.
    """
    import torch

    opened, own = _opened(run, device, "complete"), own_options(options)
    check_options(opened, own, "complete")
    path = target(opened, out, f"completed-{seed}{opened.schema.suffix}", source)
    x = _examples(opened, source, n)
    known = _known(opened.spec.shape, keep, fraction)
    done = opened.complete(x, known, seed=seed, cond=cond, **own)

    def begun(shown: Tensor) -> Tensor:
        return torch.where(known, shown, 0.0)

    _save(opened, x, done, path, (seed, cond), begun)


@click.command("edit", cls=ModelCommand, context_settings={"ignore_unknown_options": True})
@_shared
@click.option(
    "--strength", type=FiniteRange(0, 1, min_open=True), default=0.5, show_default=True,
    help="How much of an example may change: 1 leaves nothing of it.",
)  # fmt: skip
def edit(
    run: str,
    options: tuple[str, ...],
    source: str | None,
    strength: float,
    n: int,
    seed: int,
    cond: str | None,
    out: str | None,
    device: str,
) -> None:
    """Draws examples near given ones by RUN, a diffusion model: rough ones become like its data,
    and with --class those of another class.

    A picture shows each example beside what became of it. Any other file has the new ones alone.
    OPTIONS are what the model itself takes when it samples, such as `--guidance 2`.
    """
    opened, own = _opened(run, device, "edit"), own_options(options)
    check_options(opened, own, "edit")
    path = target(opened, out, f"edited-{seed}{opened.schema.suffix}", source)
    x = _examples(opened, source, n)
    done = opened.edit(x, strength=strength, seed=seed, cond=cond, **own)
    _save(opened, x, done, path, (seed, cond))


def _opened(path: str, device: str, method: str) -> Any:
    """The run, whose model has a method."""
    from pofx.run import Run

    run = Run(path, device=device)
    run.must(method)
    return run


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


def _save(
    run: Any,
    x: Tensor,
    done: Tensor,
    path: str,
    drawn: tuple[int, str | None],
    *between: Callable[[Tensor], Tensor],
) -> None:
    """Writes what was drawn; in a picture each example stands beside it, and stages between."""
    seed, cond = drawn
    if not run.spec.is_image or not path.lower().endswith(".png"):
        run.save(done, path, seed=seed, cond=None if cond is None else run.labels(len(x), cond))
    else:
        import torch

        from pofx.data.pictures import displayed, grid
        from pofx.data.whole import written

        before, after = displayed(x, run.schema), displayed(done, run.schema)
        row = [before, *(stage(before) for stage in between), after]
        columns = len(row) * max(1, round(math.sqrt(len(x) / len(row))))
        with written(Path(path)) as file:
            grid(torch.stack(row, 1).flatten(0, 1), columns).save(file, "PNG")
    say(path)


COMMANDS = {"complete": complete, "edit": edit}
