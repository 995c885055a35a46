"""strings: the strings of one, two, three, ... tokens that examples hold, counted.

Each string is the string of its first tokens with one more, so that all those of one length are one
sorted list of numbers, in which a whole batch is found at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import indices, values
from pofx.spec import DataSpec, Mixed
from pofx.typing import Data


class Level(NamedTuple):
    """The different strings of k tokens, each the string of its first k - 1, at its place among
    those, times the number of tokens, plus its last; sorted.

    Args:
        keys: `(m,)`.
        below: how often all strings before each one came, `(m + 1,)`.
        first: where the strings that begin with each one of k - 1 tokens begin, and the end.
    """

    keys: Tensor
    below: Tensor
    first: Tensor

    def find(self, key: Tensor) -> Tensor:
        """The place of each key; -1 where it is none of ours."""
        place = torch.searchsorted(self.keys, key.contiguous()).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == key, place, -1)

    def counts(self, place: Tensor) -> Tensor:
        """How often each string came; 0 at -1."""
        return torch.where(place >= 0, self.below[place + 1] - self.below[place], 0)

    def followed(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """How often each context came before a token, and before how many different ones; 0 at
        -1.
        """
        first, end = self.first[context], self.first[context + 1]
        known = context >= 0
        return (
            torch.where(known, self.below[end] - self.below[first], 0),
            torch.where(known, end - first, 0),
        )


class Strings(nn.Module):
    """What was counted, and how examples are read as tokens: an image pixel by pixel, its colours
    together.

    Args:
        spec: of the data: discrete elements of one kind.
    """

    keys: Tensor
    counts: Tensor
    sizes: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        assert not isinstance(spec.support, Mixed)
        self.spec, self.support = spec, spec.support
        for name in ("keys", "counts", "sizes"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_as_large)

    def count(self, tokens: Tensor, longest: int) -> None:
        """Counts the strings of up to `longest` tokens in texts, `(n, length)`."""
        keys, counts = [], []
        context = torch.zeros_like(tokens)
        for _ in range(min(longest, tokens.shape[1])):
            key = (context * self.support.levels + tokens)[context >= 0]
            found, place, count = key.unique(return_inverse=True, return_counts=True)
            keys.append(found)
            counts.append(count)
            seen = torch.full_like(tokens, -1)
            seen[context >= 0] = place
            context = shifted(seen)
        self.keys, self.counts = torch.cat(keys), torch.cat(counts)
        self.sizes = torch.tensor([len(k) for k in keys], device=tokens.device)

    def levels(self) -> list[Level]:
        """The counted strings by their length; none before a fit, when all tokens are as likely."""
        found, contexts = [], 1
        sizes = self.sizes.tolist()
        for keys, counts in zip(self.keys.split(sizes), self.counts.split(sizes), strict=True):
            starts = torch.arange(contexts + 1, device=keys.device) * self.support.levels
            below = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
            found.append(Level(keys, below, torch.searchsorted(keys, starts)))
            contexts = len(keys)
        return found

    def tokens(self, x: Data) -> Tensor:
        """Examples as tokens in the model's order, int64 `(n, size)`."""
        pixels = x.flatten(2).transpose(1, 2) if x.ndim > 2 else x
        return indices(pixels, self.support).flatten(1)

    def examples(self, tokens: Tensor) -> Data:
        """What `tokens` read."""
        x = values(tokens, self.support)
        if len(self.spec.shape) < 3:
            return x.unflatten(1, self.spec.shape)
        channels, *sides = self.spec.shape
        return x.unflatten(1, (-1, channels)).transpose(1, 2).unflatten(2, sides)


def shifted(places: Tensor) -> Tensor:
    """What ends before each token: nothing before the first."""
    return torch.cat([torch.full_like(places[:, :1], -1), places[:, :-1]], 1)


def _as_large(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Makes room for as many strings as were counted."""
    for name in ("keys", "counts", "sizes"):
        if prefix + name in state:
            like = getattr(model, name)
            setattr(model, name, like.new_zeros(state[prefix + name].shape))
