"""ema: the moving average of a model's weights, which is sampled from in their place."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """An exponential moving average of a model's parameters.

    Early on the half-life is shorter, `decay = (1 + step) / (10 + step)`, so that the start is soon
    forgotten.

    Args:
        model: the model that trains.
        half_life: steps after which a weight counts half.

    References:
        Analyzing and improving the training dynamics of diffusion models (Karras et al., 2024),
        section 3.
    """

    def __init__(self, model: nn.Module, half_life: float) -> None:
        self.source = model
        self.half_life = half_life
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.averages = [p.detach() for p in self.model.parameters()]
        self.weights = [p.detach() for p in model.parameters()]

    def update(self, step: int) -> None:
        """Moves the average towards the weights that step number `step` left."""
        decay = min(0.5 ** (1 / self.half_life), (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.weights, 1 - decay)

    def synchronised(self) -> nn.Module:
        """The averaged model, with the buffers that the training model has now."""
        for mine, theirs in zip(self.model.buffers(), self.source.buffers(), strict=True):
            mine.copy_(theirs)
        return self.model
