r"""energy: what can be done with an energy whatever it is, `log p(x) = -energy(x) - log Z`.

Over few binary variables log Z is a sum that can be written out; over many it can only be estimated
(`pofx.mcmc.ais`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pofx.typing import Data, PerExample


class Observer(Protocol):
    """What wants to know the mean of the data, or of something of it."""

    moments_shape: tuple[int, ...]

    def powers(self, x: Data) -> Tensor:
        """What the model wants to know the mean of over the data: `(n, *moments_shape)`."""
        ...

    def observe(self, total: Tensor, examples: Tensor) -> None:
        """Is told, after each step, the sum of the powers of its training examples, and how many
        they were.
        """
        ...


class BipartiteEnergy(Observer, Protocol):
    """An energy of visible and hidden units, where each side is independent given the other.

    What it takes to train one by contrastive divergence. The hidden side is passed about by
    whatever parameters its conditional has, so that the product with the weights is computed once
    for the free energy and for sampling.
    """

    hidden_shape: tuple[int, ...]

    def free_energy(self, x: Data) -> tuple[PerExample, Tensor]:
        """F(x), nats per example, and the parameters of p(h | x)."""
        ...

    def hidden_parameters(self, x: Data) -> Tensor:
        """The parameters of p(h | x) alone."""
        ...

    def draw_hidden(self, parameters: Tensor) -> Tensor:
        """Draws h, `(n, *hidden_shape)`, from p(h | x) with these parameters."""
        ...

    def draw_visible(self, h: Tensor) -> Data:
        """Draws x given h."""
        ...


class StateEnergy(Observer, Protocol):
    """An energy of visible and hidden units among which any two may be joined: a state is both."""

    state_shape: tuple[int, ...]

    def positive_energy(self, x: Data) -> PerExample:
        """F(x), or a bound from above, whose gradient is the first half of the likelihood's."""
        ...

    def state_energy(self, s: Tensor) -> PerExample:
        """E of whole states, nats: `(n, *state_shape) -> (n,)`."""
        ...

    def visible(self, s: Tensor) -> Data:
        """The visible side of states."""
        ...

    def sweep(self, s: Tensor, k: int) -> Tensor:
        """Where chains at `s` are after `k` sweeps."""
        ...


def binary_states(first: int, last: int, bits: int, like: Tensor) -> Tensor:
    """The states number `first` to `last - 1` of `bits` binary variables: `(last - first, bits)`.

    >>> binary_states(1, 3, 2, torch.zeros(()))
    tensor([[0., 1.],
            [1., 0.]])
    """
    numbers = torch.arange(first, last, device=like.device)
    places = torch.arange(bits - 1, -1, -1, device=like.device)
    return ((numbers[:, None] >> places) & 1).to(like.dtype)


def enumerate_log_partition(
    energy: Callable[[Tensor], PerExample], bits: int, like: Tensor, block: int = 1 << 12
) -> Tensor:
    """Log of the sum of `exp(-energy)` over all `2 ** bits` states, a scalar in nats.

    Args:
        energy: `(n, bits) -> (n,)`.
        bits: number of binary variables; the cost doubles with each.
        like: a tensor with the device and dtype to compute in.
        block: states at a time.

    >>> energy = lambda x: torch.zeros(x.shape[0])
    >>> round(float(enumerate_log_partition(energy, 3, torch.zeros(()))), 4)  # log 8
    2.0794
    """

    def states(first: int, last: int) -> Tensor:
        return binary_states(first, last, bits, like)

    return log_sum_over(energy, states, 2**bits, block)


def log_sum_over(
    energy: Callable[[Tensor], PerExample],
    states: Callable[[int, int], Tensor],
    count: int,
    block: int = 1 << 12,
) -> Tensor:
    """Log of the sum of `exp(-energy)` over states number 0 to `count - 1`, a scalar in nats.

    Args:
        energy: `(n, *state) -> (n,)`.
        states: those number `first` to `last - 1`.
        count: how many there are.
        block: states at a time.
    """
    ends = range(0, count, block)
    parts = [torch.logsumexp(-energy(states(i, min(i + block, count))), 0) for i in ends]
    return torch.stack(parts).logsumexp(0)


def pseudo_log_prob(energy: Callable[[Data], PerExample], x: Data) -> PerExample:
    r"""The sum of log p(x_i | all the others) of bits, exactly, nats; it needs no constant.

    .. math:: \sum_i \log p(x_i | x_{-i}) = -\sum_i \log\big(1 + e^{E(x) - E(\bar x_i)}\big)

    where the i-th bit of :math:`\bar x_i` is the other one.

    References:
        Statistical analysis of non-lattice data (Besag, 1975), section 3.

    >>> pseudo_log_prob(lambda x: 0 * x.sum(1), torch.zeros(1, 2)).exp()  # two fair coins
    tensor([0.2500])
    """
    here, total = energy(x), torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i in range(math.prod(x.shape[1:])):
        flipped = x.clone()
        flipped.view(len(x), -1)[:, i] = 1 - x.flatten(1)[:, i]
        total = total - torch.nn.functional.softplus(here - energy(flipped))
    return total
