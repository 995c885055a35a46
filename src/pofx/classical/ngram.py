r"""ngram: The zero-frequency problem (Witten and Bell, 1991).

Good for: a first model of text: counted in seconds.

The next token depends on the last few, by counts: what followed a context h of k tokens is mixed
with what followed its last k - 1, the more so the more different tokens have followed it,

.. math:: p(x | h) = \frac{c(h x) + t(h)\, p(x | h')}{c(h) + t(h)}

where c counts, t(h) is how many different tokens followed h, and h' is h without its first token;
with no token left, p is even. A context that never came says nothing, and p(x | h) = p(x | h').
Where examples are no running text, this is mixed with the frequencies of tokens at each place
(`places`), by the share that serves examples which were not counted.

References:
    The zero-frequency problem: estimating the probabilities of novel events in adaptive text
    compression (Witten and Bell, 1991), method C. https://doi.org/10.1109/18.87000
    An empirical study of smoothing techniques for language modeling (Chen and Goodman, 1996), for
    its interpolated form. https://arxiv.org/abs/cmp-lg/9606011

Note:
    Examples that are all windows of one running text are counted as that text, each token once.
    Every example begins without a context. Frequencies of places need as many examples as there are
    different tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from pofx.classical.places import Places
from pofx.classical.strings import Strings, shifted
from pofx.classical.writing import Writing
from pofx.errors import UserError
from pofx.parameters import between
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample

_WEIGHED = 2**20
"""Tokens held out, at most."""


class NGram(Strings):
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

    def __init__(self, spec: DataSpec, order: int = 5) -> None:
        super().__init__(spec)
        self.order = order
        levels = self.support.levels
        self.places = Places(spec.size, levels) if (spec.count or 0) >= levels else None

    def fit_bytes(self, n: int, stored: int) -> int:
        """Tokens, and the key, place and context of each; all strings that may differ."""
        return 8 * 8 * stored + 2 * 8 * stored * self.order

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        """Counts strings of up to `order` tokens."""
        running = x.ndim == 2 and min(x.shape) > 1 and torch.equal(x[1:, :-1], x[:-1, 1:])
        if running:
            x = torch.cat([x[:, 0], x[-1, 1:]])[None]
        tokens = self.tokens(x)
        if self.places is not None and not running:
            self._weigh(self.places, tokens)
        self.count(tokens, self.order)

    def _weigh(self, places: Places, tokens: Tensor) -> None:
        """Counts at each place; their share is found with every second example held out."""
        known, held_out = tokens[::2], tokens[1::2]
        held_out = held_out[: max(1, _WEIGHED // tokens.shape[1])]
        self.count(known, self.order)
        places.count(known)
        places.weigh(held_out, self._p(held_out))
        places.count(tokens)

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
        p = self._p(tokens)
        return (p if self.places is None else self.places.mixed(p, tokens)).log()

    def _p(self, tokens: Tensor) -> Tensor:
        """P of every token given those before it, by strings alone, `(n, length)`, float64."""
        levels = self.support.levels
        p = torch.full(tokens.shape, 1 / levels, dtype=torch.float64, device=tokens.device)
        context = torch.zeros_like(tokens)
        for level in self.levels():
            place = torch.where(context >= 0, level.find(context * levels + tokens), -1)
            times, different = level.followed(context)
            mixed = (level.counts(place) + different * p) / (times + different).clamp(min=1)
            p = torch.where(times > 0, mixed, p)
            context = shifted(place)
        return p

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
        writing = self._writing(n)
        told = [torch.full((n,), k, device=self.keys.device) for k in begun]
        for k in told:
            writing.see(k)
        drawn = [writing.draw() for _ in range(self.spec.size - len(begun))]
        return self.examples(torch.stack([*told, *drawn], 1))

    def continuation(self, prompt: Tensor, cond: Cond | None = None) -> Iterator[int]:
        """Yields the tokens after a prompt, int64 `(k,)`, without end."""
        writing = self._writing(1)
        for k in prompt.to(self.keys.device):
            writing.see(k[None])
        while True:
            yield int(writing.draw())

    def _writing(self, n: int) -> Writing:
        return Writing(self.levels(), self.support.levels, n, self.keys.device, self.places)


def recipe(
    spec: DataSpec,
    *,
    order: Annotated[int, between(1, 64)] = 5,
) -> Recipe:
    """An n-gram with the smoothing of Witten and Bell: the yardstick of text.

    Args:
        order: tokens in the longest strings that are counted, the next one included.
    """
    if (
        isinstance(spec.support, Mixed)
        or not spec.support.discrete
        or len(spec.shape) not in (1, 3)
    ):
        raise RecipeError(
            "examples must be text, or vectors or images of categories, bits or bytes (got "
            f"{type(spec.support).__name__} of shape {spec.shape}): use gmm."
        )
    return Recipe(model=NGram(spec, order))
