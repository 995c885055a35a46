r"""ngram: The zero-frequency problem (Witten and Bell, 1991).

The next token depends on the last few, by counts: what followed a context h of k tokens is mixed
with what followed its last k - 1, the more so the more different tokens have followed it,

.. math:: p(x | h) = \frac{c(h x) + t(h)\, p(x | h')}{c(h) + t(h)}

where c counts, t(h) is how many different tokens followed h, and h' is h without its first token;
with no token left, p is even. A context that never came says nothing, and p(x | h) = p(x | h').

References:
    The zero-frequency problem: estimating the probabilities of novel events in adaptive text
    compression (Witten and Bell, 1991), method C. https://doi.org/10.1109/18.87000
    An empirical study of smoothing techniques for language modeling (Chen and Goodman, 1996), for
    its interpolated form. https://arxiv.org/abs/cmp-lg/9606011

Note:
    Examples that are all windows of one running text are counted as that text, each token once. An
    image is read pixel by pixel, its colours together. Every example begins without a context.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pofx.errors import UserError
from pofx.functional.dequantize import indices, values
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample


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
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
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


class NGram(nn.Module):
    """An interpolated n-gram: capabilities Samples and Density.

    Args:
        spec: of the data: discrete elements of one kind.
        order: tokens in the longest strings that are counted.

    >>> from pofx.spec import Binary
    >>> model = NGram(DataSpec((4,), Binary()), 2)
    >>> model.fit(torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    >>> model.log_factors(torch.tensor([[0.0, 1.0, 1.0, 0.0]])).exp()
    tensor([[0.5000, 0.8333, 0.2500, 0.7500]])
    """

    keys: Tensor
    counts: Tensor
    sizes: Tensor

    def __init__(self, spec: DataSpec, order: int = 5) -> None:
        super().__init__()
        assert not isinstance(spec.support, Mixed)
        self.spec, self.support, self.order = spec, spec.support, order
        for name in ("keys", "counts", "sizes"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_as_large)

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        """Counts strings of up to `order` tokens."""
        running = x.ndim == 2 and min(x.shape) > 1 and torch.equal(x[1:, :-1], x[:-1, 1:])
        if running:
            x = torch.cat([x[:, 0], x[-1, 1:]])[None]
        tokens = self.tokens(x)
        keys, counts = [], []
        context = torch.zeros_like(tokens)
        for _ in range(min(self.order, tokens.shape[1])):
            key = (context * self.support.levels + tokens)[context >= 0]
            found, place, count = key.unique(return_inverse=True, return_counts=True)
            keys.append(found)
            counts.append(count)
            seen = torch.full_like(tokens, -1)
            seen[context >= 0] = place
            context = _shifted(seen)
        self.keys, self.counts = torch.cat(keys), torch.cat(counts)
        self.sizes = torch.tensor([len(k) for k in keys], device=x.device)

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self.log_factors(x).sum(1)

    @torch.no_grad()
    def log_factors(self, x: Data, cond: Cond | None = None) -> Tensor:
        """Log p(x_i | x_<i) of every element in the model's order, nats, `(n, size)`."""
        return self.log_running(self.tokens(x)).to(x.dtype)

    @torch.no_grad()
    def log_running(self, tokens: Tensor) -> Tensor:
        """Log p of every token given those before it, nats, float64: of texts of any length, int64
        `(n, length)`.
        """
        levels = self.support.levels
        p = torch.full(tokens.shape, 1 / levels, dtype=torch.float64, device=tokens.device)
        context = torch.zeros_like(tokens)
        for level in self.levels():
            place = torch.where(context >= 0, level.find(context * levels + tokens), -1)
            times, different = level.followed(context)
            mixed = (level.counts(place) + different * p) / (times + different).clamp(min=1)
            p = torch.where(times > 0, mixed, p)
            context = _shifted(place)
        return p.log()

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None, *, prompt: Tensor | None = None) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: not heeded.
            prompt: the tokens that every example begins with, int64.

        Raises:
            UserError: a prompt that is too long.
        """
        begun = [] if prompt is None else prompt.tolist()
        if len(begun) > self.spec.size:
            raise UserError(
                f"an example has {self.spec.size:,} tokens, and the prompt has {len(begun):,}; "
                "give a shorter one."
            )
        writing = _Writing(self, n)
        told = [torch.full((n,), k, device=self.keys.device) for k in begun]
        for k in told:
            writing.see(k)
        drawn = [writing.draw() for _ in range(self.spec.size - len(begun))]
        return self._examples(torch.stack([*told, *drawn], 1))

    def continuation(self, prompt: Tensor, cond: Cond | None = None) -> Iterator[int]:
        """Yields the tokens after a prompt, int64 `(k,)`, without end."""
        writing = _Writing(self, 1)
        for k in prompt.to(self.keys.device):
            writing.see(k[None])
        while True:
            yield int(writing.draw())

    def tokens(self, x: Data) -> Tensor:
        """Examples as tokens in the model's order, int64 `(n, size)`."""
        pixels = x.flatten(2).transpose(1, 2) if x.ndim > 2 else x
        return indices(pixels, self.support).flatten(1)

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

    def _examples(self, tokens: Tensor) -> Data:
        x = values(tokens, self.support)
        if len(self.spec.shape) < 3:
            return x.unflatten(1, self.spec.shape)
        channels, *sides = self.spec.shape
        return x.unflatten(1, (-1, channels)).transpose(1, 2).unflatten(2, sides)


class _Writing:
    """Examples being written: the place of the last 0, 1, 2, ... tokens of each."""

    def __init__(self, model: NGram, n: int) -> None:
        self.levels, self.symbols, self.n = model.levels(), model.support.levels, n
        root = torch.zeros(n, dtype=torch.int64, device=model.keys.device)
        unknown = [torch.full_like(root, -1) for _ in self.levels[1:]]
        self.contexts, self.device = [root, *unknown][: len(self.levels)], root.device

    def see(self, tokens: Tensor) -> None:
        """Tells the next token of each example, `(n,)`."""
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
        self.see(tokens)
        return tokens


def _shifted(places: Tensor) -> Tensor:
    """What ends before each token: nothing before the first."""
    return torch.cat([torch.full_like(places[:, :1], -1), places[:, :-1]], 1)


def _as_large(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Makes room for as many strings as were counted."""
    for name in ("keys", "counts", "sizes"):
        if prefix + name in state:
            like = getattr(model, name)
            setattr(model, name, like.new_zeros(state[prefix + name].shape))


def recipe(spec: DataSpec, *, order: int = 5) -> Recipe:
    """An n-gram with the smoothing of Witten and Bell: the yardstick of text.

    Args:
        spec: what the data is.
        order: tokens in the longest strings that are counted, the next one included.
    """
    if (
        isinstance(spec.support, Mixed)
        or not spec.support.discrete
        or len(spec.shape) not in (1, 3)
    ):
        raise RecipeError(
            "ngram: examples are text, or vectors or images of categories, bits or bytes, and "
            f"these have support {type(spec.support).__name__} and shape {spec.shape}."
        )
    if not 1 <= order <= 64:
        raise RecipeError(f"ngram: --order is from 1 to 64, and {order} came.")
    return Recipe(model=NGram(spec, order))
