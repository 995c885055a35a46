r"""elbo: the evidence lower bound as a loss, with what keeps codes in use.

.. math:: L = -\mathbb{E}_q \log p(x | z)
    + \beta_t \sum_j \max\big(\lambda, \; \mathbb{E}_x \mathrm{KL}_j\big)

:math:`\beta_t` rises from 0 over a share of the budget, once or in cycles, and :math:`\lambda` nats
of each part of the divergence are free: a decoder that can do without z finds z useless before it
has learned to use it, and a code that is switched off at the start seldom comes back.

References:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), eq. 7. https://arxiv.org/abs/1312.6114
    Generating sentences from a continuous space (Bowman et al., 2016), section 3.1: the rise.
    https://arxiv.org/abs/1511.06349
    Cyclical annealing schedule (Fu et al., 2019), eq. 6-7. https://arxiv.org/abs/1903.10145
    Improved variational inference with inverse autoregressive flow (Kingma et al., 2016), eq. 15:
    free bits. https://arxiv.org/abs/1606.04934
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.objective import LossObjective, Metrics, Symptom
from pofx.recipe import check_share
from pofx.vae.latent_variable import LatentVariable

ACTIVE_NATS = 0.01
"""A part of the divergence above this counts as in use."""

COLLAPSED_NATS = 0.1
"""A divergence that is known as a whole says nothing below this."""

_PATIENCE = 1000
"""Steps at the full weight before a code that is not in use is called collapsed: some wake late."""


class ELBO(LossObjective):
    """Minimises `-log p(x | z) + beta KL`, averaged over examples.

    Args:
        model: what is trained.
        beta: weight of the divergence; the bound itself has 1.
        kl_warmup: the share of the training budget over which the weight rises from 0.
        kl_cycles: how often it starts from 0 again and rises, as long at its full height as the
            rise takes, until the budget is spent; 0 for a single rise.
        free_bits: nats of each part of the divergence that cost nothing.

    Raises:
        RecipeError: `kl_warmup` is no share.
    """

    steps: Tensor

    def __init__(
        self,
        model: LatentVariable,
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        kl_cycles: int = 0,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__()
        check_share(kl_warmup=kl_warmup)
        self.model: LatentVariable = model
        self.beta, self.free_bits = beta, free_bits
        self.kl_warmup, self.kl_cycles = kl_warmup, kl_cycles
        self.register_buffer("steps", torch.zeros(()))
        self.progress = 0.0  # of the last batch

    def weight(self, progress: float) -> float:
        """The weight of the divergence once a share of the budget is spent."""
        if not self.kl_warmup:
            return self.beta
        cycles = progress / (2 * self.kl_warmup)
        if self.kl_cycles:
            progress = cycles % 1 * 2 * self.kl_warmup if cycles < self.kl_cycles else 1.0
        return self.beta * min(progress / self.kl_warmup, 1.0)

    @property
    def departs(self) -> bool:
        return self.beta != 1 or self.free_bits > 0

    @property
    def settles(self) -> float:
        """The share of the budget after which the divergence costs what it will always cost."""
        return self.kl_warmup * (2 * self.kl_cycles or 1)

    @property
    def settled(self) -> float:
        """Steps since then."""
        since = self.progress - self.settles
        return float(self.steps) * since / self.progress if since > 0 else 0.0

    def after_step(self) -> None:
        self.steps += 1

    def symptoms(self, metrics: Mapping[str, float]) -> Iterator[Symptom]:
        """Posterior collapse: a heavy weight is meant to switch numbers of a code off, so that it
        is a failure only where none is left.
        """
        kl = metrics.get("kl", math.inf)
        collapsed = not metrics.get("active_units", kl >= COLLAPSED_NATS)
        if collapsed and self.settled >= _PATIENCE:
            yield Symptom(
                "posterior collapse",
                f"codes carry {max(kl, 0.0):.2g} nats and no number of a code is in use; the cures "
                "are a longer KL warm-up, free bits, a smaller beta, or a weaker decoder.",
            )

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        self.progress = batch.progress
        log_likelihood, divergence = self.model.terms(x, cond)
        reconstruction, parts = -log_likelihood.mean(), divergence.mean(0)
        metrics = {"reconstruction": reconstruction, "kl": parts.sum()}
        if len(parts) > 1:
            metrics["active_units"] = (parts.detach() > ACTIVE_NATS).sum().to(parts.dtype)
        cost = self.cost(parts, batch.progress)
        return reconstruction + self.weight(batch.progress) * cost, metrics

    def cost(self, parts: Tensor, progress: float) -> Tensor:
        """What the mean divergence costs, before its weight."""
        return (parts.clamp(min=self.free_bits) if self.free_bits else parts).sum()
