r"""places: the frequencies of tokens at each place of an example, as one part of a mixture.

.. math:: p(x_i | x_{<i}) = (1 - s)\, p_0(x_i | x_{<i}) + s\, q_i(x_i), \quad
    q_i(k) = \frac{n_{ik} + 1/2}{n + L/2}

where k was at place i in n_ik of n examples, L is the number of tokens, and the share s is what
makes examples that were not counted most likely.

References:
    Interpolated estimation of Markov source parameters from sparse data (Jelinek and Mercer, 1980),
    for the weight by data held out.
    Estimating the dimension of a model (Schwarz, 1978), for what a parameter must gain.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_HALVINGS = 40
"""Of the interval in which the share is."""


class Places(nn.Module):
    """Counts of tokens at each place, and the share of what they say, 0 until it is found.

    Args:
        size: tokens in an example.
        levels: how many different tokens there are.

    >>> places = Places(2, 2)
    >>> places.count(torch.tensor([[0, 1], [1, 1], [0, 1]]))
    >>> places.q()
    tensor([[0.6250, 0.3750],
            [0.1250, 0.8750]], dtype=torch.float64)
    """

    counts: Tensor
    share: Tensor

    def __init__(self, size: int, levels: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(size, levels, dtype=torch.int64))
        self.register_buffer("share", torch.zeros((), dtype=torch.float64))

    def count(self, tokens: Tensor) -> None:
        """Counts the tokens of examples, `(n, size)`."""
        size, levels = self.counts.shape
        at = torch.arange(size, device=tokens.device) * levels + tokens
        self.counts = torch.bincount(at.flatten(), minlength=size * levels).view(size, levels)

    def q(self) -> Tensor:
        """Probabilities of the tokens at each place, `(size, levels)`, float64."""
        n = self.counts.double() + 0.5
        return n / n.sum(1, keepdim=True)

    def of(self, tokens: Tensor) -> Tensor:
        """The probability of each token at its place, `(n, size)`, float64."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.q()[places, tokens]

    def weigh(self, tokens: Tensor, other: Tensor) -> None:
        """Finds the share that makes tokens `(n, size)`, which were not counted, most likely beside
        their probabilities `other` under p_0: all, unless less gains what a parameter must (BIC).
        """
        own = self.of(tokens)
        more = own - other  # the log of other + share more is concave in the share
        low, high = torch.zeros_like(self.share), torch.ones_like(self.share)
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            rises = (more / (other + share * more)).sum() > 0
            low, high = torch.where(rises, share, low), torch.where(rises, high, share)
        gained = (torch.lerp(other, own, low) / own).log().sum()
        self.share = torch.where(gained > 0.5 * math.log(own.numel()), low, 1.0)

    def mixed(self, p: Tensor, tokens: Tensor) -> Tensor:
        """The mixture's probability of each token, `(n, length)`, of p under p_0; p_0 alone behind
        the last place that was counted.
        """
        size = min(len(self.counts), tokens.shape[1])
        own = self.of(tokens[:, :size])
        first = torch.lerp(p[:, :size], own, self.share)
        return torch.cat([first, p[:, size:]], 1)

    def draw(self, tokens: Tensor, i: int) -> Tensor:
        """The tokens drawn from p_0 at place `i`, `(n,)`, some of them replaced by draws from
        q_i, so that they are drawn from the mixture.
        """
        if i >= len(self.counts):
            return tokens
        u = torch.rand(len(tokens), dtype=torch.float64).to(tokens.device)
        q = self.counts[i].double() + 0.5
        drawn = torch.searchsorted(self.share * (q / q.sum()).cumsum(0), u, right=True)
        return torch.where(drawn < self.counts.shape[1], drawn, tokens)
