r"""gpt: Improving language understanding by generative pre-training (Radford et al., 2018).

A Transformer whose places see only what is before them says how likely each token is:

.. math:: \log p(x) = \sum_i \log p(x_i | x_{<i}), \qquad
    p(x_i | x_{<i}) = \mathrm{softmax}(E h_i), \quad
    h = \mathrm{Transformer}(s, E_{x_1}, \dots, E_{x_{d - 1}})

with one matrix E at both ends, and s for the start, of the class where there is one. A token is a
character, a byte or a piece of a text, and as well a category, a bit, or a level of an image's
pixel, pixel after pixel.

References:
    Improving language understanding by generative pre-training (Radford et al., 2018), eq. 1 and 2.
    https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    Language models are unsupervised multitask learners (Radford et al., 2019), section 2.3.
    Generative pretraining from pixels (Chen et al., 2020), section 2.1: of images.
    https://proceedings.mlr.press/v119/chen20s.html
    Using the output embedding to improve language models (Press and Wolf, 2017): one matrix.
    https://arxiv.org/abs/1608.05859

Note:
    Weights start from N(0, 0.02), those at the end of a block divided by sqrt(2 layers). There are
    no biases and norms have no gain (`pofx.nn.transformer`), so that AdamW decays matrices only.
    Dropout is of what blocks add and of what they begin with, not of attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.autoregressive.autoregressive import Autoregressive, Given, MaximumLikelihood
from pofx.autoregressive.decoding import Decoding, decoding, gumbels
from pofx.errors import UserError
from pofx.functional.dequantize import indices, values
from pofx.functional.labels import any_class
from pofx.nn.transformer import STD, Cached, Transformer
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample

_BLOCK = 1 << 14
"""Tokens that are asked about at a time where no gradient is needed."""
_PLAIN = Decoding()


class GPT(Autoregressive):
    """A Transformer over the tokens of an example, in their order.

    Args:
        spec: of the data: discrete elements of one kind.
        net: with as many places as an example has elements.
        conditional: whether `cond` is used.

    >>> from pofx.spec import Categorical
    >>> model = GPT(DataSpec((2,), Categorical(3)), Transformer(8, 1, 2, 2))
    >>> x = torch.cartesian_prod(*[torch.arange(3.0)] * 2)
    >>> round(model.log_prob(x).exp().sum().item(), 4)
    1.0
    """

    def __init__(self, spec: DataSpec, net: Transformer, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        assert not isinstance(spec.support, Mixed)
        self.net, self.support = net, spec.support
        self.embed = nn.Embedding(spec.support.levels, net.width)
        self.start = nn.Embedding(spec.classes if conditional else 1, net.width)
        for embedding in (self.embed, self.start):
            nn.init.normal_(embedding.weight, std=STD)

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
        h = torch.cat([self._begin(len(x), cond)[:, None], self.embed(tokens[:, :-1])], 1)
        logits = self._logits(self.net(h)).flatten(0, 1)
        each = -F.cross_entropy(logits.to(self.embed.weight), tokens.flatten(), reduction="none")
        return each.view_as(tokens)

    def tokens(self, x: Data) -> Tensor:
        """Examples as tokens in the model's order, int64 `(n, size)`."""
        return indices(x, self.support).flatten(1)[:, self.orders[0]]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
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
        begun = self._prompt(prompt, self.spec.size).expand(n, -1)
        return self._examples(self._write(n, cond, begun, how))

    def ancestral(self, n: int, cond: Cond | None, given: Given | None = None) -> Data:
        begun = self._prompt(None, 0).expand(n, -1)
        if given is not None:
            begun = self.tokens(given.x)[:, : int(given.known.sum())]
        return self._examples(self._write(n, cond, begun, _PLAIN))

    def continuation(
        self,
        prompt: Tensor,
        cond: Cond | None = None,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Iterator[int]:
        """The tokens after a prompt, int64 `(k,)`, one by one and without end.

        Where all places are taken, the later half of what they hold is all that is still seen.
        """
        return self._going_on(prompt, cond, decoding(temperature, top_k, top_p))

    def _going_on(self, prompt: Tensor, cond: Cond | None, how: Decoding) -> Iterator[int]:
        length = self.spec.size
        if self.conditional and cond is None:
            cond = any_class(1, self.spec.classes, self.orders.device)
        seen = prompt.tolist()[max(0, len(prompt) - length + 1) :]
        writing, noise = _Writing(self, 1, cond), self._noise(1)
        while True:
            for k in seen[writing.count :]:
                writing(self.orders.new_tensor([k]))
            seen.append(int(how.draw(writing.logits, next(noise))))
            yield seen[-1]
            if writing.full:
                writing, seen = _Writing(self, 1, cond), seen[len(seen) - length // 2 :]

    def _prompt(self, prompt: Tensor | None, most: int) -> Tensor:
        """The tokens that every example begins with, `(1, k)`."""
        prompt = self.orders.new_empty(0) if prompt is None else prompt.to(self.orders.device)
        if len(prompt) > most:
            raise UserError(
                f"an example has {most:,} tokens, and the prompt has {len(prompt):,}; give a "
                "shorter one."
            )
        return prompt[None]

    def _write(self, n: int, cond: Cond | None, begun: Tensor, how: Decoding) -> Tensor:
        """All tokens in the model's order, `(n, size)`, from those that are known."""
        count, size = begun.shape[1], self.spec.size
        tokens = self.orders.new_empty(n, size)
        tokens[:, :count] = begun
        writing, noise = _Writing(self, n, cond), self._noise(n)
        for i in range(size):
            if i:
                writing(tokens[:, i - 1])
            if i >= count:
                tokens[:, i] = how.draw(writing.logits, next(noise))
        return tokens

    def _examples(self, tokens: Tensor) -> Data:
        x = torch.empty_like(tokens)
        x[:, self.orders[0]] = tokens
        drawn = values(x, self.support).to(self.embed.weight.dtype)
        return drawn.unflatten(1, self.spec.shape)

    def _noise(self, n: int) -> Iterator[Tensor]:
        return gumbels(n, self.embed.weight[:, 0])

    def _begin(self, n: int, cond: Cond | None) -> Tensor:
        return self.start(cond) if self.conditional else self.start.weight.expand(n, -1)

    def _logits(self, h: Tensor) -> Tensor:
        return F.linear(h, self.embed.weight)


class _Writing:
    """Examples being written: the logits of the token after those that it was told."""

    def __init__(self, model: GPT, n: int, cond: Cond | None) -> None:
        self.model, self.step, self.count = model, Cached(model.net, n), 0
        self._see(model._begin(n, cond))

    @property
    def full(self) -> bool:
        """Whether no more tokens can be told."""
        return self.step.full

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> None:
        """Tells the next token of each example, `(n,)`."""
        self._see(F.embedding(tokens, self.model.embed.weight))
        self.count += 1

    @torch.no_grad()
    def _see(self, h: Tensor) -> None:
        self.logits = F.linear(self.step(h), self.model.embed.weight)


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    positions: Literal["rotary", "learned"] = "rotary",
    gated: bool = True,
    dropout: float = 0.0,
    conditional: bool = True,
    lr: float = 3e-3,
    warmup: int = 100,
    weight_decay: float = 0.1,
    batch_size: int = 32,
    steps: int = 5_000,
) -> Recipe:
    """A GPT over characters, pieces, categories, bits or pixels.

    Args:
        width: of the vectors between layers.
        layers: blocks of attention and a small network.
        heads: of attention in each.
        positions: turn queries and keys by their place, or learn a vector for each place.
        gated: whether the small network is a SwiGLU, instead of one with a GELU.
        dropout: how often a number is dropped in training.
        conditional: whether to condition on the class, where the data has any.
        lr: learning rate of AdamW, which falls to 0 by a cosine; the wider, the lower.
        warmup: steps over which it rises first.
        weight_decay: of AdamW.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    if (
        isinstance(spec.support, Mixed)
        or not spec.support.discrete
        or len(spec.shape) not in (1, 3)
    ):
        raise RecipeError(
            "gpt: examples are text, or vectors or images of categories, bits or bytes, and these "
            f"have support {type(spec.support).__name__} and shape {spec.shape}."
        )
    check_at_least("gpt", 1, width=width, layers=layers, heads=heads)
    if width % (2 * heads):
        raise RecipeError(
            f"gpt: --width is a multiple of twice --heads, and {width} and {heads} came."
        )
    if not 0 <= dropout < 1:
        raise RecipeError(f"gpt: --dropout is from 0 to below 1, and {dropout} came.")
    net = Transformer(
        width, layers, heads, spec.size, positions=positions, gated=gated, dropout=dropout
    )
    model = GPT(spec, net, conditional=conditional and spec.classes > 0)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, betas=(0.9, 0.99), weight_decay=weight_decay)},
        batch_size=batch_size,
        steps=steps,
        warmup=warmup,
        decay="cosine",
        clip=1.0,
    )
