r"""Text: a likelihood in the units that figures of texts are told in.

An example's log p(x) is in nats of a sequence that begins with nothing before it. Divided by its
tokens it is nats per token, and by its characters' number times ln 2 bits per character, which
compares models whatever their tokens. A long text read through windows that overlap, with each
token after the first windows' half scored from at least half a window before it, is likelier; that
figure is told besides, as it is what most are.

A model that has learned its text by heart copies long strings of it, and more of them than a text
of the same kind has in common with it.

References:
    Language models are unsupervised multitask learners (Radford et al., 2019), section 3.1, on
    windows and units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pofx.capabilities import Factors, Kind, Likelihood
from pofx.data.dataset import Split
from pofx.data.text import running_text
from pofx.data.tokens import Tokens
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.calls import device_of, dtype_of
from pofx.functional.draw import evaluating
from pofx.typing import Data

_MOST = 1 << 18
"""Tokens of a running text that are read at most."""
_BATCH = 64
_STRING = 24
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class TextLikelihood:
    """What a model says of a text.

    Args:
        kind: that of the likelihood.
        nats_per_token: minus the mean log-likelihood of a token, in sequences that begin with
            nothing.
        bits_per_character: the same, of a character of the text.
        stderr: standard error of `nats_per_token`.
        in_context: nats per token of a running text where each has at least `context` tokens
            before it; None where the model does not tell its factors.
        context: how many.
    """

    kind: Kind
    nats_per_token: float
    bits_per_character: float
    stderr: float
    in_context: float | None = None
    context: int = 0

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and what to read it beside, for a table."""
        sign = {"exact": "", "bound": "<= ", "estimate": "~ "}[self.kind]
        value = f"{sign}{self.nats_per_token:.4f} +- {self.stderr:.2g}"
        rows = [
            (f"nats per token ({self.kind})", value, ""),
            (f"bits per character ({self.kind})", f"{sign}{self.bits_per_character:.4f}", ""),
        ]
        if self.in_context is not None:
            detail = f"each after at least {self.context} tokens"
            rows.insert(1, ("nats per token, in context", f"{self.in_context:.4f}", detail))
        return rows

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return dict(vars(self))


def text_likelihood(
    model: object,
    stated: Likelihood,
    x: Data,
    split: Split,
    tokens: Tokens,
    *,
    stop: Stop | None = None,
) -> TextLikelihood:
    """A likelihood of examples `x` of a text's part, in its units.

    Args:
        model: what said it.
        stated: the likelihood.
        x: the examples that it is the mean over.
        split: the part that they are of.
        tokens: how the text was cut.
        stop: polled between batches.
    """
    n, length = x.shape
    characters = tokens.count(x.numpy().astype(np.int64)) / n
    context = length // 2
    read = None
    if isinstance(model, Factors):
        read = in_context(model, running_text(split)[:_MOST], length, context, stop)
    return TextLikelihood(
        kind=stated.kind,
        nats_per_token=-stated.nats / length,
        bits_per_character=-stated.nats / (characters * math.log(2)),
        stderr=stated.stderr / length,
        in_context=read,
        context=context,
    )


def copied(x: Data, split: Split) -> float:
    """The share of strings of a few dozen tokens, or of half an example, in examples `x` that a
    text's part holds too.

    >>> text = Split(np.lib.stride_tricks.sliding_window_view(np.arange(9), 4))
    >>> copied(torch.tensor([[4.0, 5.0, 6.0, 6.0]]), text)  # 4 5 and 5 6, but not 6 6
    0.6666666666666666
    """
    width = min(_STRING, x.shape[1] // 2)
    strings = _hashes(x.numpy().astype(np.uint64), width)
    held = np.unique(_hashes(running_text(split).astype(np.uint64), width))
    place = np.searchsorted(held, strings).clip(max=len(held) - 1)
    return float((held[place] == strings).mean())


def _hashes(tokens: np.ndarray, width: int) -> np.ndarray:
    """A number of 64 bits for every string of `width` tokens along the last axis."""
    count = tokens.shape[-1] - width + 1
    found = np.zeros((*tokens.shape[:-1], count), np.uint64)
    for i in range(width):
        found = found * _PRIME + tokens[..., i : i + count] + np.uint64(1)
    return found


@torch.no_grad()
def in_context(
    model: Factors, tokens: np.ndarray, length: int, context: int, stop: Stop | None = None
) -> float | None:
    """Nats per token of a running text, each token given at least `context` before it, by windows
    of `length`; None where there is no such token.

    The windows advance by `length - context`, and the last `length - context` tokens of each count.
    """
    if len(tokens) < length:
        return None
    running = torch.from_numpy(tokens).to(device_of(model), dtype_of(model))
    windows, total, count = running.unfold(0, length, length - context), 0.0, 0
    with evaluating(model):
        for rows in blocks(len(windows), _BATCH, stop):
            scored = model.log_factors(windows[rows].contiguous())[:, context:]
            total, count = total - float(scored.double().sum()), count + scored.numel()
    return total / count
