r"""marginals: sends each discrete element to the standard normal variable that its frequencies call
for.

A value is one of L levels, spread evenly over a cell of [-1, 1] (`pofx.functional.marginals`), with

.. math:: \log \frac{dz}{dy} = \log \frac{L p_k}{2} - \log \mathcal{N}(z; 0, 1)

so that under the identity from there on the bound of uniform dequantisation has no gap: it is the
log-likelihood of independent elements. What a flow learns is what they say of each other.

The probabilities are set by the first batch, each count a half more. What is learned from then on
is by how much their logarithms differ, so that weight decay draws them back there.

References:
    Gaussianization (Chen and Gopinath, 2000), section 2, for marginals made normal first.
        https://papers.nips.cc/paper/1856-gaussianization
    A note on the evaluation of generative models (Theis et al., 2016), section 3.1, for uniform
    dequantisation. https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pofx.flow.bijection import DataDependent
from pofx.functional.marginals import cells, counts, from_normal, to_normal
from pofx.functional.processes import sum_over_processes
from pofx.spec import DataSpec, is_counted
from pofx.typing import Cond, PerExample


class Marginals(DataDependent):
    """Levels of bits and categories to normal variables; other columns pass unchanged.

    Args:
        spec: with at least one such column.
    """

    levels: Tensor
    place: Tensor
    start: Tensor
    mask: Tensor
    ready: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        place = [i for i, s in enumerate(spec.columns) if is_counted(s)]
        levels = torch.tensor([spec.columns[i].levels for i in place])
        beyond = torch.arange(int(levels.max())) >= levels[:, None]
        self.every = len(place) == spec.size
        self.logits = nn.Parameter(torch.zeros(beyond.shape))
        self.register_buffer("start", torch.zeros(beyond.shape))
        self.register_buffer(
            "mask", torch.zeros(beyond.shape).masked_fill(beyond, -math.inf), persistent=False
        )
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("place", torch.tensor(place), persistent=False)
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        log_p = (self.start + self.logits + self.mask).log_softmax(1)
        z, ladj = to_normal(self._mine(x), log_p, self.levels)
        return self._put(x, z), ladj.sum(1)

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        p = (self.start + self.logits + self.mask).softmax(1)
        return self._put(z, from_normal(self._mine(z), p, self.levels))

    @torch.no_grad()
    def normalise(self, x: Tensor) -> None:
        k, _ = cells(self._mine(x), self.levels)
        self.start.copy_((sum_over_processes(counts(k, self.logits)) + 0.5).log())
        self.logits.zero_()
        self.ready.fill_(True)

    def _mine(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat if self.every else flat[:, self.place]

    def _put(self, x: Tensor, values: Tensor) -> Tensor:
        if self.every:
            return values.reshape(x.shape)
        return x.flatten(1).index_copy(1, self.place, values).reshape(x.shape)
