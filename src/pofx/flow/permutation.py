"""permutation: fixed orders of an example's elements or channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pofx.flow.bijection import Bijection
from pofx.typing import Cond, PerExample


class Permutation(Bijection):
    """Reorders axis 1, the elements of a vector or the channels of an image: `z[:, i] = x[:,
    order[i]]`.

    Args:
        order: of the elements.
        kept: whether it is stored with the weights, as one that was drawn must be.

    >>> Permutation([2, 0, 1])(torch.tensor([[5.0, 6.0, 7.0]]))[0]
    tensor([[7., 5., 6.]])
    """

    order: Tensor

    def __init__(self, order: Sequence[int], *, kept: bool = False) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=kept)

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return z.index_select(1, self.order.argsort())
