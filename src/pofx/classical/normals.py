"""normals: a yardstick that is a mixture of normal distributions, however it came by them."""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.classical.yardstick import Yardstick, blocks
from pofx.distributions.mixture import class_weights, draw_normals, log_normals, pick
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample


class Normals(Yardstick):
    """Components on the real line; shapes as in `pofx.distributions.mixture`.

    Args:
        spec: of the examples.
        components: K, divided evenly among the classes to begin with.
        full: whether roots are full triangles, or standard deviations.
        conditional: whether every class has weights of its own.
        dtype: of means and roots.
    """

    weights: Tensor
    means: Tensor
    roots: Tensor

    def __init__(
        self,
        spec: DataSpec,
        components: int,
        *,
        full: bool,
        conditional: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(spec, conditional=conditional)
        self.classes = spec.classes if conditional else 1
        label = torch.arange(components) % self.classes
        ones = torch.ones(components, spec.size, dtype=dtype)
        self.register_buffer("weights", self.evenly(label))
        self.register_buffer("means", torch.zeros_like(ones))
        self.register_buffer("roots", ones.diag_embed() if full else ones)

    def evenly(self, label: Tensor) -> Tensor:
        """Weights with which each class is divided evenly among the components of its label."""
        own = label == torch.arange(self.classes, device=label.device)[:, None]
        return own.double() / own.sum(1, keepdim=True)

    def log_density(self, y: Tensor, cond: Cond | None = None) -> PerExample:
        used = self.weights.any(0)
        weights, means, roots = (
            self.weights[:, used],
            self.means[used].to(y),
            self.roots[used].to(y),
        )
        parts = []
        for rows in blocks(len(y), means.numel() if roots.ndim == 3 else len(means) + len(y.T)):
            label = None if cond is None else cond[rows]
            log_weights = class_weights(weights, label, self.conditional).log()
            parts.append((log_weights + log_normals(y[rows], means, roots)).logsumexp(1))
        return torch.cat(parts)

    def draw(self, n: int, cond: Cond | None = None) -> Tensor:
        index = pick(self.weights, self.labels(n, cond))
        return draw_normals(index, self.means, self.roots).to(self.c)
