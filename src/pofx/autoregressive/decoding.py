r"""decoding: how a token is drawn from its logits.

.. math:: k = \arg\max_j \Big( \frac{l_j}{T} - \log e_j \Big), \quad e_j \sim \mathrm{Exp}(1)

is a draw from the softmax of :math:`l / T`, by Gumbel's trick. Temperatures below 1, and dropping
what is unlikely, buy likelier texts with less variety: what comes is no longer a draw from the
model's p(x).

References:
    Hierarchical neural story generation (Fan et al., 2018), section 5.1: top-k.
    https://arxiv.org/abs/1805.04833
    The curious case of neural text degeneration (Holtzman et al., 2020), eq. 2 and 3: the nucleus.
    https://arxiv.org/abs/1904.09751
    A* sampling (Maddison et al., 2014), section 2: Gumbel's trick. https://arxiv.org/abs/1411.0030
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pofx.errors import UserError

_AHEAD = 1 << 12
"""Numbers that are drawn for a row at once."""


@dataclass(frozen=True)
class Decoding:
    """A way to draw.

    Args:
        temperature: T; 0 takes the likeliest token.
        top_k: keep only so many of the likeliest tokens.
        top_p: keep only the fewest likeliest tokens whose probabilities sum to it, of those left by
            `top_k`.

    >>> Decoding(top_k=2).kept(torch.tensor([[1.0, 3.0, 2.0]]))
    tensor([[-inf, 3., 2.]])
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"--temperature is a number from 0, and {self.temperature} came.")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"--top-k is a whole number from 1, and {self.top_k} came.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"--top-p is above 0 and at most 1, and {self.top_p} came.")

    def draw(self, logits: Tensor, gumbel: Tensor) -> Tensor:
        """One token for each row of logits `(n, levels)`: `(n,)`, int64, by noise of `gumbels`."""
        if self.temperature == 0:
            return logits.argmax(1)
        return (self.kept(logits) + gumbel).argmax(1)

    def kept(self, logits: Tensor) -> Tensor:
        """Logits at the temperature, and minus infinity for what is dropped."""
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[1]:
            best = logits.topk(self.top_k, 1)
            logits = torch.full_like(logits, -math.inf).scatter(1, best.indices, best.values)
        if self.top_p is not None and self.top_p < 1:
            p, order = logits.softmax(1).sort(stable=True, dim=1, descending=True)
            beyond = p.cumsum(1) - p >= self.top_p
            logits = logits.masked_fill(beyond.gather(1, order.argsort(1)), -math.inf)
        return logits


def gumbels(n: int, like: Tensor) -> Iterator[Tensor]:
    """Noise `(n, levels)` for one token after another, without end; `like` has the levels last.

    It is drawn for many tokens at once, whose number does not depend on n.
    """
    levels = like.shape[-1]
    ahead = max(1, _AHEAD // levels)
    while True:
        e = like.new_empty(n, ahead, levels).exponential_()
        yield from e.log_().neg_().unbind(1)


def decoding(
    temperature: float | None = None, top_k: int | None = None, top_p: float | None = None
) -> Decoding:
    """The way to draw that some options ask for; None leaves an option out."""
    return Decoding(1.0 if temperature is None else temperature, top_k, top_p)
