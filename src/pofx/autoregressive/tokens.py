r"""tokens: examples that are written token after token.

.. math:: \log p(x) = \sum_i \log p(k_i | k_{<i}), \qquad
    p(k_i | k_{<i}) = \mathrm{softmax}(\mathrm{logits}_i)

A token is a character, a byte or a piece of a text, and as well a category, a bit, or a level of an
image's pixel, pixel after pixel. What is written may begin with a prompt, go on without end, and be
drawn with more or less daring (`pofx.autoregressive.decoding`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.autoregressive.autoregressive import Autoregressive, Given
from pofx.autoregressive.decoding import Decoding, decoding, gumbels
from pofx.errors import UserError
from pofx.functional.dequantize import indices, values
from pofx.functional.labels import any_class
from pofx.nn.log_odds import of_tokens
from pofx.parameters import Count, NonNegative, Share
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample

_BLOCK = 1 << 14
"""Tokens that are asked about at a time where no gradient is needed."""
_PLAIN = Decoding()


class Writing(Protocol):
    """Examples being written."""

    logits: Tensor
    """Of the token after those that it was told, `(n, levels)`."""

    count: int
    """How many tokens it was told of each example."""

    @property
    def full(self) -> bool:
        """Whether no more tokens can be told."""
        ...

    def __call__(self, tokens: Tensor) -> None:
        """Tells the next token of each example, int64 `(n,)`."""
        ...


class TokenModel(Autoregressive):
    """Capabilities Samples, Density, Completes, Factors and Continues.

    Args:
        spec: of the data: discrete elements of one kind.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec, marginals=of_tokens(spec))
        assert not isinstance(spec.support, Mixed)
        self.support = spec.support

    def see(self, x: Data) -> None:
        assert self.marginals is not None
        self.marginals.see(self.tokens(x))

    def own(self) -> Tensor | None:
        """What to add to the logits of each token, `(size, levels)`."""
        if self.marginals is None:
            return None
        return self.marginals().view(self.spec.size, self.support.levels)

    @abstractmethod
    def logits(self, tokens: Tensor, cond: Cond | None) -> Tensor:
        """Of every token given those before it: `(n, size)` to `(n, size, levels)`."""

    @abstractmethod
    def writing(self, n: int, cond: Cond | None) -> Writing:
        """The same, token by token, of `n` examples that nothing is known of; without gradients."""

    def chain(self, x: Data, cond: Cond | None, known: Tensor | None = None) -> PerExample:
        each = self.log_factors(x, cond)
        return each.sum(1) if known is None else (each * known.flatten()[self.orders[0]]).sum(1)

    def log_factors(self, x: Data, cond: Cond | None = None) -> Tensor:
        """Log p(x_i | x_<i) of every element in the model's order, nats, `(n, size)`."""
        rows = len(x) if torch.is_grad_enabled() else max(1, _BLOCK // self.spec.size)
        parts = [
            self._log_factors(part, None if cond is None else cond[first : first + rows])
            for first, part in zip(range(0, len(x), rows), x.split(rows), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _log_factors(self, x: Data, cond: Cond | None) -> Tensor:
        tokens = self.tokens(x)
        logits, own = self.logits(tokens, cond), self.own()
        logits = (logits if own is None else logits + own).flatten(0, 1).to(self._like)
        return -F.cross_entropy(logits, tokens.flatten(), reduction="none").view_as(tokens)

    def tokens(self, x: Data) -> Tensor:
        """Examples as tokens in the model's order, int64 `(n, size)`."""
        return indices(x, self.support).flatten(1)[:, self.orders[0]]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        temperature: NonNegative | None = None,
        top_k: Count | None = None,
        top_p: Share | None = None,
        prompt: Tensor | None = None,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: a label for each; None draws from all classes at once.
            temperature: 1 draws from the model, less from likelier examples, 0 takes the likeliest
                token each time.
            top_k: draw from so many of the likeliest tokens only.
            top_p: draw from the fewest likeliest tokens whose probabilities sum to it only.
            prompt: the tokens that every example begins with, int64.

        Raises:
            UserError: a number out of its range, or a prompt that is too long.
        """
        how = decoding(temperature, top_k, top_p)
        if self.conditional and cond is None:
            cond = any_class(n, self.spec.classes, self.orders.device)
        return self._written(n, cond, self._prompt(prompt).expand(n, -1), how)

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        begun = self.orders.new_empty(n, 0)
        if given is not None:
            begun = self.tokens(given.x)[:, : int(given.known.sum())]
        return self._written(n, cond, begun, _PLAIN)

    def continuation(
        self,
        prompt: Tensor,
        cond: Cond | None = None,
        *,
        temperature: NonNegative | None = None,
        top_k: Count | None = None,
        top_p: Share | None = None,
    ) -> Iterator[int]:
        """The tokens after a prompt, int64 `(k,)`, one by one and without end.

        Where all places are taken, the later half of what they hold is all that is still seen.
        """
        return self._going_on(prompt, cond, decoding(temperature, top_k, top_p))

    @torch.no_grad()
    def _going_on(self, prompt: Tensor, cond: Cond | None, how: Decoding) -> Iterator[int]:
        length = self.spec.size
        if self.conditional and cond is None:
            cond = any_class(1, self.spec.classes, self.orders.device)
        seen = prompt.tolist()[max(0, len(prompt) - length + 1) :]
        writing = self.writing(1, cond)
        noise, own = gumbels(1, writing.logits), self.own()
        while True:
            for k in seen[writing.count :]:
                writing(self.orders.new_tensor([k]))
            logits = writing.logits if own is None else writing.logits + own[writing.count]
            seen.append(int(how.draw(logits, next(noise))))
            yield seen[-1]
            if writing.full:
                writing, seen = self.writing(1, cond), seen[len(seen) - length // 2 :]

    def _prompt(self, prompt: Tensor | None) -> Tensor:
        """The tokens that every example begins with, `(1, k)`."""
        prompt = self.orders.new_empty(0) if prompt is None else prompt.to(self.orders.device)
        if len(prompt) > self.spec.size:
            raise UserError(
                f"an example has {self.spec.size:,} tokens, and the prompt has {len(prompt):,}; "
                "give a shorter one."
            )
        return prompt[None]

    def _written(self, n: int, cond: Cond | None, begun: Tensor, how: Decoding) -> Data:
        """Examples of which the first tokens are known, `(n, k)`."""
        count, size = begun.shape[1], self.spec.size
        tokens = self.orders.new_empty(n, size)
        tokens[:, :count] = begun
        writing = self.writing(n, cond)
        noise, own = gumbels(n, writing.logits), self.own()
        for i in range(size):
            if i:
                writing(tokens[:, i - 1])
            if i >= count:
                logits = writing.logits if own is None else writing.logits + own[i]
                tokens[:, i] = how.draw(logits, next(noise))
        x = torch.empty_like(tokens)
        x[:, self.orders[0]] = tokens
        return values(x, self.support).to(self._like).unflatten(1, self.spec.shape)

    @property
    def _like(self) -> Tensor:
        """Of the model's own precision."""
        return next(self.parameters())


def check_tokens(spec: DataSpec) -> None:
    """Refuses what is no text, vector or image of one kind of discrete elements."""
    if (
        isinstance(spec.support, Mixed)
        or not spec.support.discrete
        or len(spec.shape) not in (1, 3)
    ):
        raise RecipeError(
            "examples must be text, or vectors or images of categories, bits or bytes (got "
            f"{type(spec.support).__name__} of shape {spec.shape}): use made."
        )
