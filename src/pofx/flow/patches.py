r"""patches: an image as a sequence, of which each patch moves by a rule that those before it set.

.. math:: z_i = x_i \odot e^{s_i} + t_i, \qquad (s_i, t_i) = \mathrm{net}_i(x_{<i})

A causal Transformer gives all rules in one pass. Its inverse takes the patches one after the other,
and keeps the keys and values of those before.

References:
    Normalizing flows are capable generative models (Zhai et al., 2024), eq. 5-7.
    https://arxiv.org/abs/2412.06329
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pofx.flow.bijection import Bijection
from pofx.flow.elementwise import Elementwise
from pofx.nn.condition import condition
from pofx.nn.transformer import Cached, Transformer
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample


class Patches(Bijection):
    """Cuts an image into square patches, row by row: `(n, c, h, w) -> (n, patches, c side side)`.

    >>> Patches((1, 2, 4), 2)(torch.arange(8.0).view(1, 1, 2, 4))[0]
    tensor([[[0., 1., 4., 5.],
             [2., 3., 6., 7.]]])
    """

    def __init__(self, shape: tuple[int, int, int], side: int) -> None:
        super().__init__()
        self.shape, self.side = shape, side

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        c, h, w = self.shape
        grid = x.reshape(-1, c, h // self.side, self.side, w // self.side, self.side)
        return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        c, h, w = self.shape
        grid = z.reshape(-1, h // self.side, w // self.side, c, self.side, self.side)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)


class PatchAutoregressive(Bijection):
    """An elementwise map of sequences, whose numbers a causal Transformer makes of what came
    before.

    Args:
        length: of the sequences.
        size: of their vectors.
        map: what the numbers set; it starts at the identity.
        width: of the Transformer.
        blocks: of it.
        heads: of its attention.
        backwards: whether the last vector comes first.
        cond: the spec of the condition, which comes before the first vector.
    """

    def __init__(
        self,
        length: int,
        size: int,
        map: Elementwise,
        *,
        width: int = 64,
        blocks: int = 2,
        heads: int = 4,
        backwards: bool = False,
        cond: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.map, self.size, self.backwards = map, size, backwards
        self.enter = nn.Linear(size, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.label = condition(cond, width)
        self.net = Transformer(width, blocks, heads, length, positions="learned")
        self.leave = nn.Linear(width, map.numbers * size)
        nn.init.normal_(self.start)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        x = x.flip(1) if self.backwards else x
        h = torch.cat([self._first(x, cond)[:, None], self.enter(x[:, :-1])], 1)
        z, ladj = self.map.forward(x, self._raw(self.net(h)))
        return z.flip(1) if self.backwards else z, ladj

    @torch.no_grad()
    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        z = z.flip(1) if self.backwards else z
        step, h = Cached(self.net, len(z)), self._first(z, cond)
        parts = []
        for each in z.unbind(1):
            parts.append(self.map.inverse(each, self._raw(step(h))))
            h = self.enter(parts[-1])
        x = torch.stack(parts, 1)
        return x.flip(1) if self.backwards else x

    def _first(self, x: Tensor, cond: Cond | None) -> Tensor:
        start = self.start.expand(len(x), -1)
        return start if self.label is None else start + self.label(cond)

    def _raw(self, h: Tensor) -> Tensor:
        return self.leave(h).unflatten(-1, (self.map.numbers, self.size)).movedim(-2, 0)
