"""replay: a buffer of chains that go on from step to step, a few of them at each.

Each example of a step owns some slots, of which it draws one: so a step is the same in however many
micro-batches and processes it is taken.

References:
    Implicit generation and modeling with energy-based models (Du and Mordatch, 2019), section 3.2.
    https://arxiv.org/abs/1903.08689
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.errors import UserError


class Drawn(NamedTuple):
    """Some chains of a buffer.

    Args:
        slots: where they are.
        y: `(n, *event)`.
        alive: whether there was ever a chain there, bool `(n,)`.
    """

    slots: tuple[Tensor, Tensor]
    y: Tensor
    alive: Tensor


class ReplayBuffer(nn.Module):
    """Chains of `shape`, `slots` for each example of a step.

    >>> buffer = ReplayBuffer(3, 10, (2,))
    >>> drawn = buffer.draw(3)
    >>> buffer.keep(drawn.slots, torch.ones(3, 2))
    >>> int(buffer.alive.sum()), float(buffer.chains.sum())
    (3, 6.0)
    """

    chains: Tensor
    alive: Tensor

    def __init__(self, examples: int, slots: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("chains", torch.zeros(examples, slots, *shape))
        self.register_buffer("alive", torch.zeros(examples, slots, dtype=torch.bool))
        self._taken = 0  # by this step's micro-batches so far; 0 between steps

    def draw(self, n: int) -> Drawn:
        """One chain for each of the next `n` examples of the step."""
        first, device = self._taken, self.chains.device
        self._taken += n
        examples, slots = self.alive.shape
        if self._taken > examples:
            raise UserError(
                f"a step takes at most {examples} examples, one for each row of chains, and at "
                f"least {self._taken} came; give that number as batch_size."
            )
        rows = torch.arange(first, self._taken, device=device)
        places = (rows, torch.randint(slots, (n,), device=device))
        return Drawn(places, self.chains[places], self.alive[places])

    def keep(self, slots: tuple[Tensor, Tensor], y: Tensor) -> None:
        """Puts chains back where they were drawn."""
        self.chains[slots] = y.to(self.chains.dtype)
        self.alive[slots] = True

    def rewind(self) -> None:
        """The step is over: the next one begins with the first example."""
        self._taken = 0
