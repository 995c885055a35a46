r"""objective: the mean squared error of what a denoiser's network says, at a random noise level.

.. math:: L = \mathbb{E}_{t, x_0, \epsilon}\; w_t\,
          \big\| F_\theta(\alpha_t x_0 + \sigma_t \epsilon, t) - (p_t x_0 + q_t \epsilon) \big\|^2

The recipes of the family differ in the schedule (alpha, sigma), in what is predicted (p, q), in
how t is drawn and in w. Where the data has classes, the label is dropped now and then, so that one
network is both the conditional and the unconditional model, and guidance can tell them apart.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 14 and algorithm 1.
    https://arxiv.org/abs/2006.11239
    Classifier-free diffusion guidance (Ho and Salimans, 2021), algorithm 1.
    https://arxiv.org/abs/2207.12598

Note:
    The loss is the mean square over elements, not their sum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.schedule import Level
from pofx.diffusion.times import Times
from pofx.diffusion.weighting import Of, Weighting
from pofx.functional import labels
from pofx.functional.dequantize import relax
from pofx.objective import LossObjective, Metrics
from pofx.typing import Cond, Data

Coupling = Callable[[Tensor, Tensor, Cond | None], Tensor]
"""Which noise goes with which example, `(x0, eps, cond) -> eps`."""


class NetworkLoss(LossObjective):
    """What every loss of a network denoiser does besides: it shows examples to its marginals."""

    model: Diffusion

    @property
    def departs(self) -> bool:
        return True  # the bound's noise hides what is learned at most levels

    def relaxed(self, x: Data) -> Tensor:
        """Relaxed examples, which the marginals count in training."""
        marginals = network_denoiser(self.model).marginals
        if self.training and marginals is not None:
            marginals.log_odds.see(x)
        return relax(x, self.model.spec)

    def after_step(self) -> None:
        marginals = network_denoiser(self.model).marginals
        if marginals is not None:
            marginals.log_odds.settle()


class Denoising(NetworkLoss):
    """The one loss.

    Args:
        model: its denoiser is a network's.
        times: which noise levels to learn from.
        drop_label: how often an example's label is withheld.
        weighting: of the clean guess's error; None leaves that of the network's own output as it
            is.
        coupling: pairs noise with examples; None takes it as it is drawn.
    """

    def __init__(
        self,
        model: Diffusion,
        times: Times,
        drop_label: float = 0.1,
        *,
        weighting: Weighting | None = None,
        coupling: Coupling | None = None,
    ) -> None:
        super().__init__()
        self.model: Diffusion = model
        self.times, self.drop_label = times, drop_label
        self.weighting, self.coupling = weighting, coupling

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        x0, denoiser = self.relaxed(x), network_denoiser(self.model)
        level = denoiser.schedule.level(self.times(denoiser.schedule, x0), x0.ndim)
        eps = torch.randn_like(x0)
        if self.coupling is not None:
            eps = self.coupling(x0, eps, cond)
        error = squares(denoiser, x0, eps, level, self.labels(cond))
        if self.weighting is not None:
            error = error * (self.weighting(level) / Of(denoiser.parameterization)(level))
        return error.mean(), {}

    def labels(self, cond: Cond | None) -> Cond | None:
        """The labels that the network is told."""
        return withheld(cond, self.drop_label, self.model)


def network_denoiser(model: Diffusion) -> NetworkDenoiser:
    """The model's denoiser, which is a network's."""
    assert isinstance(model.denoiser, NetworkDenoiser)
    return model.denoiser


def squares(
    denoiser: NetworkDenoiser, x0: Tensor, eps: Tensor, level: Level, cond: Cond | None = None
) -> Tensor:
    """The squared error of each element of what the network says."""
    output, _ = denoiser.outputs(level.alpha * x0 + level.sigma * eps, level, cond)
    return (output.to(x0.dtype) - denoiser.parameterization.target(x0, eps, level)).square()


def withheld(cond: Cond | None, p: float, model: Diffusion) -> Cond | None:
    """Labels as the model's network is told them in training, each withheld with probability p."""
    if cond is None or not model.conditional:
        return None
    return labels.withheld(cond, p)
