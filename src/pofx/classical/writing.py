"""writing: examples that are written token after token, by the strings that were counted."""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.classical.places import Places
from pofx.classical.strings import Level


class Writing:
    """Examples being written: the place of the last 0, 1, 2, ... tokens of each.

    Args:
        levels: the counted strings by their length.
        symbols: how many tokens there are.
        n: how many examples are written.
        device: where.
        places: the frequencies of tokens at each place, if they have a share.
    """

    def __init__(
        self,
        levels: list[Level],
        symbols: int,
        n: int,
        device: torch.device,
        places: Places | None = None,
    ) -> None:
        self.levels, self.symbols, self.n, self.device = levels, symbols, n, device
        self.places, self.written = places, 0
        root = torch.zeros(n, dtype=torch.int64, device=device)
        unknown = [torch.full_like(root, -1) for _ in levels[1:]]
        self.contexts = [root, *unknown][: len(levels)]

    def see(self, tokens: Tensor) -> None:
        """Tells the next token of each example, `(n,)`."""
        self.written += 1
        longer = zip(self.levels, self.contexts[:-1], strict=False)
        places = [
            torch.where(context >= 0, level.find(context * self.symbols + tokens), -1)
            for level, context in longer
        ]
        self.contexts = [*self.contexts[:1], *places]

    def draw(self) -> Tensor:
        """Draws the next token of each example, and sees it.

        A mixture is drawn from by drawing which part of it is meant: the longest context that is
        not passed over has the word.
        """
        u = torch.rand(self.n, 2 * len(self.levels) + 1, dtype=torch.float64)
        u = u.to(self.device)
        tokens = (u[:, 0] * self.symbols).long()
        for k, (level, context) in enumerate(zip(self.levels, self.contexts, strict=True)):
            times, different = level.followed(context)
            meant = u[:, 2 * k + 1] * (times + different) < times
            which = level.below[level.first[context]] + (u[:, 2 * k + 2] * times).long()
            place = torch.searchsorted(level.below, which, right=True) - 1
            token = level.keys[place.clamp(max=len(level.keys) - 1)] % self.symbols
            tokens = torch.where(meant, token, tokens)
        if self.places is not None:
            tokens = self.places.draw(tokens, self.written)
        self.see(tokens)
        return tokens
