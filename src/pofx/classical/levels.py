"""levels: the contract of a yardstick of bits and categories: an exact mass, fitted at once."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pofx.classical.yardstick import BLOCK_BYTES, Grouped, blocks
from pofx.spec import DataSpec, is_counted
from pofx.typing import Cond, Data, PerExample


def counted(spec: DataSpec) -> bool:
    """Whether every element is a bit or a category of so few levels that each can be counted; not
    where it is not known how many examples there are, as in a run of former days.

    >>> from pofx.spec import Binary
    >>> counted(DataSpec((3,), Binary(), count=10)), counted(DataSpec((3,), Binary()))
    (True, False)
    """
    return spec.count is not None and all(map(is_counted, set(spec.columns)))


class Levels(Grouped):
    """A mass of examples whose elements are levels, with a column of zeros and ones for each.

    Args:
        spec: `counted`.
        conditional: whether every class has a mass of its own.
    """

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        levels = torch.tensor([c.levels for c in spec.columns])
        self.width = int(levels.max())
        real = torch.arange(self.width) < levels[:, None]
        self.register_buffer("real", real.flatten(), persistent=False)
        self.real: Tensor

    @property
    def columns(self) -> int:
        """Zeros and ones of an example."""
        return self.spec.size * self.width

    def fit_bytes(self, n: int, stored: int) -> int:
        """Bytes that a fit takes beside its examples: their levels, some blocks, and what it
        keeps.
        """
        return 8 * n * self.spec.size + self.own_bytes(n) + 4 * BLOCK_BYTES

    @abstractmethod
    def own_bytes(self, n: int) -> int:
        """Bytes of what is fitted to `n` examples, before and after."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        k = codes(x)
        parts = [
            self.log_mass(k[rows], None if cond is None else cond[rows])
            for rows in blocks(len(k), self.columns)
        ]
        return torch.cat(parts).to(x.dtype)

    @abstractmethod
    def log_mass(self, k: Tensor, cond: Cond | None) -> PerExample:
        """Log-mass of levels, int64 `(n, size)`; float64."""

    def sample(self, n: int, cond: Cond | None = None) -> Data:
        label = self.labels(n, cond)
        k = torch.cat([self.drawn(label[rows]) for rows in blocks(n, self.columns)])
        return k.to(torch.get_default_dtype()).reshape(-1, *self.spec.shape)

    @abstractmethod
    def drawn(self, label: Tensor) -> Tensor:
        """Levels drawn for examples of these classes, `(n, size)`."""

    def indicators(self, k: Tensor) -> Tensor:
        """Levels as zeros and ones, float64 `(n, size * width)`."""
        return one_hot(k, self.width).flatten(1).double()

    def frequencies(self, counts: Tensor) -> Tensor:
        """The frequency of each level, each count a half more; 0 of a level that a column has not.

        Args:
            counts: `(..., size * width)`.
        """
        counts = ((counts + 0.5) * self.real).unflatten(-1, (-1, self.width))
        return (counts / counts.sum(-1, keepdim=True)).flatten(-2)

    def counts(self, k: Tensor) -> Tensor:
        """How many examples have each level, `(size * width,)`."""
        parts = [self.indicators(k[rows]).sum(0) for rows in blocks(len(k), self.columns)]
        return torch.stack(parts).sum(0)

    def levels_drawn(self, p: Tensor) -> Tensor:
        """A level for each element, by its probabilities: `(n, size * width) -> (n, size)`."""
        up_to = p.unflatten(1, (-1, self.width)).cumsum(2)
        at = torch.rand(up_to.shape[:2], dtype=p.dtype, device=p.device)[:, :, None]
        return (at * up_to[:, :, -1:] >= up_to[:, :, :-1]).sum(2)


def codes(x: Data) -> Tensor:
    """The levels of bits and categories, int64 `(n, size)`."""
    return x.flatten(1).round().long()
