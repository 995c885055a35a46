r"""smoothed_levels: the training examples of bits and categories, each blurred.

.. math:: p(x) = \frac{1}{n} \sum_i \prod_j
    \left( (1 - \lambda) 1[x_j = x_{ij}] + \lambda m_j(x_j) \right)

The kernel of Aitchison and Aitken gives what it takes from an example's own level to all levels
evenly; here it goes to them by their frequencies m in all examples, each count a half more, so that
the widest kernel, lambda = 1, is that of independent elements and not of even ones. By default
lambda is the one under which each example is likeliest given all the others, which also lack it in
m.

References:
    Multivariate binary discrimination by the kernel method (Aitchison and Aitken, 1976), eq. 2.
    https://doi.org/10.1093/biomet/63.3.413
    Nonparametric estimation of regression functions with both categorical and continuous data
    (Racine and Li, 2004), section 2, for the rate of lambda by a rule.
    https://doi.org/10.1016/S0304-4076(03)00157-X
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.classical.leave_one_out import asked_of, highest
from pofx.classical.levels import Levels, codes
from pofx.classical.yardstick import blocks
from pofx.distributions.mixture import class_weights, pick
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_STEEPEST = 14.0
"""Lambda lies between the logistic functions of this and of its negative."""


class SmoothedLevels(Levels):
    """Exact mass of bits and categories.

    Args:
        spec: of the examples.
        points: how many training examples are kept at most, drawn at random.
        by_rule: whether lambda follows the number of examples alone, and not their likelihood.
        conditional: whether every class has the points of its own examples.
    """

    weights: Tensor
    points: Tensor
    common: Tensor
    blur: Tensor

    def __init__(
        self,
        spec: DataSpec,
        points: int = 10_000,
        *,
        by_rule: bool = False,
        conditional: bool = False,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        self.by_rule = by_rule
        classes = spec.classes if conditional else 1
        own = torch.arange(points) % classes == torch.arange(classes)[:, None]
        self.register_buffer("weights", own.double() / own.sum(1, keepdim=True))
        self.register_buffer("points", torch.zeros(points, spec.size, dtype=torch.uint8))
        even = self.frequencies(torch.zeros(self.columns, dtype=torch.float64))
        self.register_buffer("common", even)
        self.register_buffer("blur", torch.ones((), dtype=torch.float64))

    def own_bytes(self, n: int) -> int:
        return 8 * n * len(self.weights) + 8 * self.columns * 8

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        label = self.grouped(x, cond, 1, "kde", "leave --conditional out, or bring more")
        kept = fairly(label, len(self.points))
        k, label = codes(x[kept]), label[kept]
        self.points.zero_()[: len(k)] = k.to(torch.uint8)
        own = label == torch.arange(len(self.weights), device=label.device)[:, None]
        self.weights.zero_()[:, : len(k)] = own.double() / own.sum(1, keepdim=True)
        counts = self.counts(k)
        self.common.copy_(self.frequencies(counts))
        each = len(k) / len(self.weights)
        rule = each ** (-2 / (self.spec.size + 4))
        self.blur.copy_(torch.tensor(rule if self.by_rule else self._likeliest(k, label, counts)))

    def _likeliest(self, k: Tensor, label: Tensor, counts: Tensor) -> float:
        """The lambda under which the first examples, in random order, are likeliest given all the
        others; a half where there are none.
        """
        asked = asked_of(len(k), self.columns)
        others = label[:asked, None] == label
        others &= torch.arange(len(k), device=k.device) != torch.arange(asked).to(k)[:, None]
        some = others.any(1)
        if not some.any():
            return 0.5
        mine, hidden = k[:asked][some], others[some].double().log()
        own = self._of_own(self.frequencies(counts - self.indicators(mine)), mine)

        def log_prob(at: float) -> float:
            pairs = self._pairs(mine, own, torch.sigmoid(k.new_tensor(at, dtype=torch.float64)), k)
            return float((pairs + hidden).logsumexp(1).mean())

        return 1 / (1 + math.exp(-highest(log_prob, -_STEEPEST, _STEEPEST)))

    def log_mass(self, k: Tensor, cond: Cond | None) -> PerExample:
        used = self.weights.any(0)
        weights = class_weights(self.weights[:, used], cond, self.conditional)
        own = self._of_own(self.common.expand(len(k), -1), k)
        return (weights.log() + self._pairs(k, own, self.blur, self.points[used])).logsumexp(1)

    def drawn(self, label: Tensor) -> Tensor:
        k = self.points[pick(self.weights, label)].long()
        again = torch.rand(k.shape, dtype=torch.float64, device=k.device) < self.blur
        return torch.where(again, self.levels_drawn(self.common.expand(len(k), -1)), k)

    def _of_own(self, p: Tensor, k: Tensor) -> Tensor:
        """The probability of each example's own levels, `(n, size)`."""
        return p.unflatten(1, (-1, self.width)).gather(2, k[:, :, None])[:, :, 0]

    def _pairs(self, k: Tensor, own: Tensor, blur: Tensor, points: Tensor) -> Tensor:
        """Log-mass of each example, with the frequencies of its own levels, under the kernel of
        each point: `(n, points)`.
        """
        elsewhere = (blur * own).log()
        gain = ((1 - blur) + blur * own).log() - elsewhere
        gains = self.indicators(k).unflatten(1, (-1, self.width)).mul_(gain[:, :, None]).flatten(1)
        parts = [
            gains @ self.indicators(points[rows].long()).T
            for rows in blocks(len(points), self.columns)
        ]
        return elsewhere.sum(1, keepdim=True) + torch.cat(parts, 1)


def fairly(label: Tensor, most: int) -> Tensor:
    """At most so many examples, at random, from each class as many as it has or its even share."""
    order = torch.randperm(len(label), device=label.device)
    turn = torch.empty_like(order)
    for c in label.unique():
        mine = order[label[order] == c]
        turn[mine] = torch.arange(len(mine), device=label.device)
    return order[turn[order].argsort(stable=True)][:most]
