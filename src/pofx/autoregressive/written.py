"""written: a sequence of categories, written token by token.

The parameters of a category are the logits of a token, so that whatever draws elements one after
another may be given a prompt, go on without end and be drawn with more or less daring.
"""

from __future__ import annotations

from torch import Tensor

from pofx.autoregressive.sequence import Sequence
from pofx.autoregressive.tokens import TokenModel
from pofx.spec import Categorical
from pofx.typing import Cond


class Written(TokenModel):
    """A sequence whose elements are tokens.

    Args:
        sequence: of categories.
    """

    def __init__(self, sequence: Sequence) -> None:
        super().__init__(sequence.spec, conditional=sequence.conditional)
        assert isinstance(sequence.spec.support, Categorical)
        self.sequence = sequence

    def logits(self, tokens: Tensor, cond: Cond | None) -> Tensor:
        return self.sequence.parameters_of(self.sequence.seen(tokens.to(self._like)), cond)

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
        x = tokens[:, None].to(self.logits)
        self.steps.reveal(self.sequence.seen(x)[:, 0])
        self.logits = self.steps.outputs()
        self.count += 1
