"""written: a sequence of categories or levels, written token by token.

Where the parameters of an element are the logits of a softmax, whatever draws elements one after
another may be given a prompt, go on without end and be drawn with more or less daring.
"""

from __future__ import annotations

from torch import Tensor

from pofx.autoregressive.autoregressive import Autoregressive
from pofx.autoregressive.conditionals import LevelsHead
from pofx.autoregressive.sequence import Sequence
from pofx.autoregressive.tokens import TokenModel
from pofx.distributions.heads import CategoricalHead
from pofx.functional.dequantize import values
from pofx.typing import Cond


class Written(TokenModel):
    """A sequence whose elements are tokens.

    Args:
        sequence: whose elements are distributed by a softmax.
    """

    def __init__(self, sequence: Sequence) -> None:
        super().__init__(sequence.spec)
        self.sequence = sequence

    def logits(self, tokens: Tensor, cond: Cond | None) -> Tensor:
        seen = self.sequence.seen(values(tokens, self.support).to(self._like))
        return self.sequence.parameters_of(seen, cond)

    def writing(self, n: int, cond: Cond | None) -> _Writing:
        return _Writing(self.sequence, n, cond)


class _Writing:
    """The logits of the next token, by what the sequence keeps of those before."""

    full = False

    def __init__(self, sequence: Sequence, n: int, cond: Cond | None) -> None:
        self.sequence, self.count = sequence, 0
        self.steps = sequence.unfolding(n, cond)
        self.logits = self.steps.outputs()

    def __call__(self, tokens: Tensor) -> None:
        x = values(tokens[:, None], self.sequence.spec.columns[0]).to(self.logits)
        self.steps.reveal(self.sequence.seen(x)[:, 0])
        self.logits = self.steps.outputs()
        self.count += 1


def written(sequence: Sequence) -> Autoregressive:
    """A sequence as a model of tokens, where its elements are distributed by a softmax."""
    softmax = isinstance(sequence.element, CategoricalHead | LevelsHead)
    return Written(sequence) if softmax else sequence
