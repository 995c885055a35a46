"""draw: samples whose values depend on the seed and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pofx.capabilities import Samples
from pofx.errors import UserError
from pofx.functional.random import noise
from pofx.typing import Cond, Data


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Puts a module in evaluation mode, and back in the mode it was in."""
    training = model.training if isinstance(model, nn.Module) else False
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        if isinstance(model, nn.Module):
            model.train(training)


@torch.no_grad()
def draw(
    model: Samples,
    n: int,
    *,
    seed: int = 0,
    cond: Cond | None = None,
    batch: int = 256,
    stop: Callable[[], bool] = lambda: False,
    finite: bool = False,
    use: str = "sample",
    **options: Any,
) -> Data:
    """Draws `n` examples, the same ones for any `batch`; on the CPU, of shape `(n, *event)`.

    Args:
        model: anything that samples.
        n: how many.
        seed: example i of a seed is always the same one.
        cond: a label for each example, `(n,)`.
        batch: how many to draw at a time.
        stop: polled between batches; once it is true the examples drawn so far are returned.
        finite: refuse samples with NaN or infinity, at the first batch that has some; else they are
            the caller's to judge.
        use: what the samples are for; two uses of one seed share no noise.
        options: what the model's own `sample` takes, such as `steps`.

    Raises:
        UserError: some are not finite, and `finite` is asked for.
    """
    parts: list[Tensor] = []
    with evaluating(model):
        for first in range(0, n, batch):
            if stop():
                break
            size = min(batch, n - first)
            part = None if cond is None else cond[first : first + size]
            with noise(seed, size, use=use, first=first):
                x = model.sample(size, part, **options).cpu()
            parts.append(check_finite(x) if finite else x)
    return torch.cat(parts) if parts else torch.empty(0)


def check_finite(x: Data) -> Data:
    """Refuses samples of which some hold NaN or infinity."""
    bad = int((~x.isfinite().reshape(len(x), x[:1].numel()).all(1)).sum())
    if bad:
        raise UserError(
            f"samples are finite numbers, and {bad} of {len(x)} hold NaN or infinity: steps were "
            "too long for the model, or its training diverged; take smaller or more steps, or "
            "train again at a lower learning rate."
        )
    return x


def keyed(tokens: Iterator[int], length: int, seed: int) -> Iterator[int]:
    """Returns the first `length` tokens of an endless sequence, which depend on the seed alone."""
    return _under(noise(seed, 1, use="continue"), tokens, length)


def _under(mode: noise, tokens: Iterator[int], length: int) -> Iterator[int]:
    for _ in range(length):
        with mode:  # not around the loop, whose body is the caller's
            k = next(tokens)
        yield k
