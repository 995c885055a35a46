"""`pofx sample`: new examples from a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import click

from pofx.cli.data_options import Seed
from pofx.cli.model_options import ModelCommand, check_options, own_options
from pofx.cli.outputs import escape_formulas, say, target
from pofx.errors import UserError


@click.command(
    "sample",
    cls=ModelCommand,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("run")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-n", "n", type=click.IntRange(min=1), default=64, show_default=True, help="How many."
)
@click.option(
    "--seed", type=Seed(), default=0, show_default=True, help="The same seed, the same samples."
)
@click.option(
    "--out", help="A .png grid, a folder, .npz, .npy, .csv or .txt; in the run folder by default."
)
@click.option("--prior", help="A run trained on the codes of RUN, whose draws RUN decodes.")
@click.option(
    "--worse",
    help="A run of the same recipe, smaller or trained for less, which --guidance goes away from.",
)
@click.option("--prompt", help="Text to begin with; without --out, RUN goes on from it here.")
@click.option(
    "--length", type=click.IntRange(min=1), help="Tokens to go on from a prompt for; 500."
)
@click.option("--class", "cond", help="A class, by number or name, where the model is conditional.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=256, show_default=True, help="Drawn at a time."
)
@click.option(
    "--metadata/--no-metadata", default=True, help="Whether a picture says where it came from."
)
@escape_formulas
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def sample(
    run: str,
    options: tuple[str, ...],
    n: int,
    seed: int,
    out: str | None,
    prior: str | None,
    worse: str | None,
    prompt: str | None,
    length: int | None,
    cond: str | None,
    batch: int,
    metadata: bool,
    escape_formulas: bool,
    device: str,
) -> None:
    """Draws new examples from RUN, a run folder.

    OPTIONS are what the model itself takes when it samples, such as `--steps 50`, or, of text,
    `--temperature 0.8`, `--top-k 20` and `--top-p 0.95`.
    """
    from pofx.run import Run

    opened = Run(run, device=device)
    before = None if prior is None else Run(prior, device=device)
    bad = None if worse is None else Run(worse, device=device)
    if length is not None and (prompt is None or out is not None):
        raise UserError("--length is for text that is written here: give --prompt, and no --out.")
    own = own_options(options)
    check_options(opened, own)
    if prompt is not None and out is None:
        if bad is not None or before is not None:
            raise UserError("a text goes on from RUN alone; leave --prior and --worse out.")
        _write(prompt, opened.stream(prompt, length=length or 500, seed=seed, cond=cond, **own))
        return
    own |= {} if prompt is None else {"prompt": prompt}
    sources = [r.job.source["source"] for r in (before, bad) if r is not None]
    path = target(opened, out, f"samples-{seed}{opened.schema.suffix}", *sources)
    x = opened.sample(n, seed=seed, cond=cond, batch=batch, prior=before, worse=bad, **own)
    labels = opened.labels(n, cond)
    done = opened.save(
        x, path, seed=seed, metadata=metadata, cond=labels, escape_formulas=escape_formulas
    )
    say(done)


def _write(prompt: str, text: Iterator[str]) -> None:
    """Shows a text as it is drawn."""
    for piece in itertools.chain([prompt], text):
        say(piece.replace("\r", ""), nl=False)
    say()


COMMANDS = {"sample": sample}
