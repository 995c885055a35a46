r"""marginals: sends each discrete element to the standard normal variable that its frequencies call
for.

A value is one of L levels, spread evenly over a cell of [-1, 1]. Its distribution is then piecewise
linear, with a knot at each level,

.. math:: F(y) = \sum_{l < k} p_l + u p_k, \quad k + u = \tfrac{L}{2} (y + 1), \quad
    z = \Phi^{-1}(F(y)), \quad \log \frac{dz}{dy} = \log \frac{L p_k}{2} - \log \mathcal{N}(z; 0, 1)

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
from pofx.functional.processes import sum_over_processes
from pofx.spec import DataSpec, is_counted
from pofx.typing import Cond, PerExample

_LOG_2PI = math.log(2 * math.pi)


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
        y = self._mine(x)
        k, u = self._cells(y)
        log_p = (self.start + self.logits + self.mask).log_softmax(1)
        own = self._pick(log_p, k)
        p = log_p.exp()
        below = self._pick(p.cumsum(1) - p, k)
        eps = torch.finfo(y.dtype).eps
        z = torch.special.ndtri((below + u * own.exp()).clamp(eps, 1 - eps))
        ladj = own + (0.5 * self.levels).log() + 0.5 * (z.square() + _LOG_2PI)
        return self._put(x, z), ladj.sum(1)

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        p = (self.start + self.logits + self.mask).softmax(1)
        up_to = p.cumsum(1)
        reached = torch.special.ndtr(self._mine(z))
        k = torch.searchsorted(up_to.contiguous(), reached.T.contiguous(), right=True).T
        k = torch.minimum(k, self.levels - 1)
        own = self._pick(p, k).clamp(min=torch.finfo(p.dtype).tiny)
        u = ((reached - self._pick(up_to - p, k)) / own).clamp(0, 1)
        return self._put(z, (k + u) * (2 / self.levels) - 1)

    @torch.no_grad()
    def normalise(self, x: Tensor) -> None:
        k, _ = self._cells(self._mine(x))
        rows, width = self.logits.shape
        counts = torch.bincount((k + self._first()).flatten(), minlength=rows * width)
        counts = sum_over_processes(counts.reshape(rows, width).to(self.logits))
        self.start.copy_((counts + 0.5).log())
        self.logits.zero_()
        self.ready.fill_(True)

    def _mine(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat if self.every else flat[:, self.place]

    def _put(self, x: Tensor, values: Tensor) -> Tensor:
        if self.every:
            return values.reshape(x.shape)
        return x.flatten(1).index_copy(1, self.place, values).reshape(x.shape)

    def _cells(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of each element, and the place within it, in [0, 1]."""
        at = (y + 1) * (0.5 * self.levels)
        k = torch.minimum(at.detach().floor().clamp(min=0).long(), self.levels - 1)
        return k, (at - k).clamp(0, 1)

    def _first(self) -> Tensor:
        rows, width = self.logits.shape
        return torch.arange(rows, device=self.logits.device) * width

    def _pick(self, of: Tensor, k: Tensor) -> Tensor:
        """The entries of `(elements, levels)` for the cells of examples, `(n, elements)`."""
        return of.flatten().index_select(0, (k + self._first()).flatten()).reshape(k.shape)
