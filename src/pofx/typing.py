"""The tensors that cross the contracts, by name."""

from __future__ import annotations

from torch import Tensor

Data = Tensor
"""A batch of examples, of shape `(n, *spec.shape)`."""

Cond = Tensor
"""What each example is conditioned on: class labels, int64 of shape `(n,)`."""

PerExample = Tensor
"""One number for each example, of shape `(n,)`; log-probabilities are nats summed over the event.
"""
