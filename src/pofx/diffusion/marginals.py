r"""marginals: what noisy bits and categories say of themselves alone, by their frequencies.

An element that is one of two values, -1 and 1, the second with probability p, or a category with
probabilities p_l, embedded as a one-hot vector of -1 and 1, has the best guess

.. math:: \mathbb{E}[x_0 | x_t]
    = \tanh\Big(\frac{\alpha x_t}{\sigma^2} + \tfrac{1}{2} \mathrm{logit}\, p\Big), \qquad
    \mathbb{E}[x_0 | x_t] = 2\, \mathrm{softmax}_l\Big(\frac{2 \alpha x_{t, l}}{\sigma^2}
    + \log p_l\Big) - 1

A network that adds to it and says nothing yet is the diffusion of independent elements, which few
examples can tell from the truth only in part; what it learns is what they say of each other.

References:
    Tweedie's formula and selection bias (Efron, 2011), eq. 1.4, for a prior on two points.
    Gaussianization (Chen and Gopinath, 2000), section 2, for marginals that come first.
    https://papers.nips.cc/paper/1856-gaussianization
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pofx.diffusion.schedule import Level
from pofx.functional.dequantize import relaxed_width
from pofx.nn.defaults import few_frequencies
from pofx.nn.log_odds import LogOdds
from pofx.spec import Binary, DataSpec, is_counted
from pofx.typing import Data


class Marginals(nn.Module):
    """The best guess of each element alone; all values are equally likely until examples are seen
    (`log_odds`).

    Args:
        spec: of the data; elements that are neither bits nor categories have no such guess.
    """

    bits: Tensor
    groups: Tensor
    barred: Tensor
    mine: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        widths = [relaxed_width(c) for c in spec.columns]
        starts = torch.tensor([0, *widths]).cumsum(0).tolist()
        columns = list(zip(spec.columns, starts, strict=False))
        bits = [start for c, start in columns if isinstance(c, Binary)]
        groups = [
            (start, c.levels) for c, start in columns if is_counted(c) and not isinstance(c, Binary)
        ]
        most = max((levels for _, levels in groups), default=1)
        within = torch.arange(most)
        levels = torch.tensor([levels for _, levels in groups], dtype=torch.long)[:, None]
        firsts = torch.tensor([start for start, _ in groups], dtype=torch.long)[:, None]
        places = firsts + torch.minimum(within, levels - 1)
        mine = torch.zeros(starts[-1], dtype=torch.bool)
        mine[bits] = True
        mine[places.flatten()] = True
        self.register_buffer("bits", torch.tensor(bits, dtype=torch.long), persistent=False)
        self.register_buffer("groups", places, persistent=False)
        self.register_buffer("barred", within >= levels, persistent=False)
        self.register_buffer("mine", mine, persistent=False)
        self.log_odds = LogOdds(spec, widths)

    def guess(self, x_t: Data, level: Level) -> tuple[Data, Tensor]:
        """E[x0 | x_t] of each element alone, of the shape of `x_t`, and which elements have it."""
        pull, log_p = (x_t * (level.alpha / level.sigma**2)).flatten(1), self.log_odds()
        if len(self.bits) == pull.shape[1]:
            d = torch.tanh(pull + 0.5 * log_p)
        else:
            d = torch.zeros_like(pull)
            d[:, self.bits] = torch.tanh(pull[:, self.bits] + 0.5 * log_p[self.bits])
            logits = (2 * pull + log_p)[:, self.groups]
            share = logits.masked_fill(self.barred, -math.inf).softmax(2)
            d[:, self.groups[~self.barred]] = 2 * share[:, ~self.barred] - 1
        return d.reshape(x_t.shape), self.mine.reshape(x_t.shape[1:])


def marginals(spec: DataSpec) -> Marginals | None:
    """Those of data with bits or categories of which there are few examples, else None.

    >>> [marginals(DataSpec((2,), Binary(), count=n)) is None for n in (400, 60_000, None)]
    [False, True, True]
    """
    return Marginals(spec) if few_frequencies(spec) else None
