r"""gpt: Improving language understanding by generative pre-training (Radford et al., 2018).

Good for: text, and sequences of categories; goes on from a prompt.

A Transformer whose places see only what is before them says how likely each token is:

.. math:: p(x_i | x_{<i}) = \mathrm{softmax}(E h_i), \quad
    h = \mathrm{Transformer}(s, E_{x_1}, \dots, E_{x_{d - 1}})

with one matrix E at both ends, and s for the start, of the class where there is one. What tokens
are, and how they are drawn, is in `pofx.autoregressive.tokens`.

References:
    Improving language understanding by generative pre-training (Radford et al., 2018), eq. 1 and 2.
    https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    Language models are unsupervised multitask learners (Radford et al., 2019), section 2.3.
    Generative pretraining from pixels (Chen et al., 2020), section 2.1: of images.
    https://proceedings.mlr.press/v119/chen20s.html
    Using the output embedding to improve language models (Press and Wolf, 2017): one matrix.
    https://arxiv.org/abs/1608.05859

Note:
    Weights start from N(0, 0.02), at the end of a block divided by sqrt(2 layers). There are no
    biases and no gains (`pofx.nn.transformer`), so that AdamW decays matrices only. Dropout is of
    what blocks add and begin with, not of attention.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.autoregressive.autoregressive import MaximumLikelihood
from pofx.autoregressive.tokens import TokenModel, check_tokens
from pofx.functional.products import linear
from pofx.nn.condition import condition
from pofx.nn.defaults import decay_of
from pofx.nn.log_odds import cheap
from pofx.nn.transformer import STD, Cached, Transformer
from pofx.parameters import Conditional, Probability, Training, TransformerSize, follows
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec
from pofx.typing import Cond


class GPT(TokenModel):
    """A Transformer over the tokens of an example, in their order.

    Args:
        spec: of the data: discrete elements of one kind.
        net: with as many places as an example has elements.

    >>> from pofx.spec import Categorical
    >>> model = GPT(DataSpec((2,), Categorical(3)), Transformer(8, 1, 2, 2))
    >>> x = torch.cartesian_prod(*[torch.arange(3.0)] * 2)
    >>> round(model.log_prob(x).exp().sum().item(), 4)
    1.0
    """

    def __init__(self, spec: DataSpec, net: Transformer) -> None:
        super().__init__(spec)
        self.net = net
        self.embed = nn.Embedding(self.support.levels, net.width)
        told = condition(spec.cond, net.width, always=True)
        self.start: nn.Module = nn.Embedding(1, net.width) if told is None else told
        for embedding in (self.embed, self.start):
            if isinstance(embedding, nn.Embedding):
                nn.init.normal_(embedding.weight, std=STD)

    def logits(self, tokens: Tensor, cond: Cond | None) -> Tensor:
        h = torch.cat([self.begin(len(tokens), cond)[:, None], self.embed(tokens[:, :-1])], 1)
        return linear(self.net(h), self.embed.weight)

    def writing(self, n: int, cond: Cond | None) -> _Writing:
        return _Writing(self, n, cond)

    def begin(self, n: int, cond: Cond | None) -> Tensor:
        """What stands before the first token, `(n, width)`."""
        if self.conditional:
            return self.start(cond)
        return self.start(self.embed.weight.new_zeros(n, dtype=torch.int64))


class _Writing:
    """The logits of the next token, by kept keys and values."""

    def __init__(self, model: GPT, n: int, cond: Cond | None) -> None:
        self.model, self.step, self.count = model, Cached(model.net, n), 0
        self._see(model.begin(n, cond))

    @property
    def full(self) -> bool:
        return self.step.full

    def __call__(self, tokens: Tensor) -> None:
        self._see(F.embedding(tokens, self.model.embed.weight))
        self.count += 1

    def _see(self, h: Tensor) -> None:
        self.logits = F.linear(self.step(h), self.model.embed.weight)


def recipe(
    spec: DataSpec,
    *,
    positions: Literal["rotary", "learned"] = "rotary",
    gated: bool = True,
    dropout: Probability = 0.0,
    conditional: Conditional = True,
    network: TransformerSize = TransformerSize(width=128, layers=4, heads=4),
    training: Training = Training(
        lr=3e-3,
        batch_size=32,
        steps=5_000,
        weight_decay=follows(
            "0.1, or 3,000 over the number of fewer than 1,000 examples that are 20 for each level",
            lambda spec, lr: decay_of(spec, lr, 3_000) if cheap(spec) else 0.1,
        ),
        beta2=0.99,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A GPT over characters, pieces, categories, bits or pixels.

    Args:
        positions: turn queries and keys by their place, or learn a vector for each place.
        gated: whether the small network is a SwiGLU, instead of one with a GELU.
        dropout: how often a number is dropped in training.
    """
    check_tokens(spec)
    width, heads = network.width, network.heads
    if width % (2 * heads):
        raise RecipeError(
            f"--width must be a multiple of twice --heads (got {width} and {heads}): change one."
        )
    net = Transformer(
        width, network.layers, heads, spec.size,
        positions=positions, gated=gated, dropout=dropout,
    )  # fmt: skip
    model = GPT(spec, net)
    return trained(model, MaximumLikelihood(model), training)
