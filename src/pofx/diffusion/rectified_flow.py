r"""rectified_flow: Flow straight and fast: learning to generate and transfer data with rectified flow (Liu et al., 2023).

Good for: sharp samples in very few steps; trains longer for it.

The flow of straight lines from noise to data (`flow_matching`) does not cross itself: it leads each
noise to one example. Fitted once more to these pairs, its ways become straighter, and few steps of
sampling do:

.. math:: x_0 = \mathrm{ODE}_{v}(\epsilon), \qquad
    \min_{v'} \mathbb{E}_{t, \epsilon} \big\| v'\big((1 - t) x_0 + t \epsilon, t\big)
    - (\epsilon - x_0) \big\|^2

The first part of a run fits v to data. Then the average of its weights stays as it is and makes
pairs of new noise, to which the same network is fitted from where it is.

References:
    Flow straight and fast: learning to generate and transfer data with rectified flow (Liu et al.,
    2023), eq. 1, algorithm 1 and section 2.2: reflow. https://arxiv.org/abs/2209.03003

Note:
    Pairs are new at every step. The bound of a reflowed model is loose, for it draws independent
    pairs; that of the probability flow (`by_flow`) is not.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import NetworkLoss, network_denoiser, squares, withheld
from pofx.diffusion.parameterization import Velocity
from pofx.diffusion.samplers.heun import Heun
from pofx.diffusion.schedule import Rectified
from pofx.diffusion.times import Even
from pofx.objective import Metrics
from pofx.parameters import (
    Conditional,
    Count,
    DenoiserSize,
    DropLabel,
    Fraction,
    Guidance,
    SamplingSteps,
    Training,
)
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import Cond


class Reflow(NetworkLoss):
    """Flow matching on data, and after a share of the budget on pairs that the flow made itself.

    Args:
        model: learns the velocity.
        first: the share of the training budget that is spent on data.
        solver_steps: of Heun's method, from noise to its example.
        half_life: in steps, of the average of weights that makes pairs.
        drop_label: how often an example's label is withheld.
    """

    taken: Tensor
    reflowed: Tensor

    def __init__(
        self, model: Diffusion, first: float, solver_steps: int, half_life: float, drop_label: float
    ) -> None:
        super().__init__()
        self.model: Diffusion = model
        self.teacher = copy.deepcopy(network_denoiser(model)).requires_grad_(False)
        self.first, self.solver_steps, self.drop_label = first, solver_steps, drop_label
        self.rate = 1 - 0.5 ** (1 / half_life) if half_life else 1.0
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        # a longer budget does not bring the first part back
        self.register_buffer("reflowed", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_without_its_part)

    @property
    def stage(self) -> int:
        return int(self.reflowed)

    @property
    def departs(self) -> bool:
        return True  # the bound is of independent pairs

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        x0, denoiser = self.relaxed(x), network_denoiser(self.model)
        level = denoiser.schedule.level(Even()(denoiser.schedule, x0), x0.ndim)
        eps, labels = torch.randn_like(x0), withheld(cond, self.drop_label, self.model)
        if self.training and batch.progress >= self.first:
            self.reflowed.fill_(1)
        if self.reflowed:
            x0 = self.pair(eps, labels)
        return squares(denoiser, x0, eps, level, labels).mean(), {}

    def pair(self, eps: Tensor, cond: Cond | None) -> Tensor:
        """The example that the first flow leads each noise to."""
        times = self.teacher.schedule.grid(self.solver_steps)
        *_, last = Heun().trajectory(self.teacher, eps.clone(), times, cond)
        return last.x_t

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        self.taken += 1
        if not self.reflowed:
            denoiser = network_denoiser(self.model)
            for average, weight in zip(
                self.teacher.parameters(), denoiser.parameters(), strict=True
            ):
                average.lerp_(weight, max(self.rate, 1 / float(self.taken)))
            for mine, theirs in zip(self.teacher.buffers(), denoiser.buffers(), strict=True):
                mine.copy_(theirs)


def _without_its_part(
    objective: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Checkpoints of format 1 do not say which part they are of; the next step's progress does."""
    tensors.setdefault(f"{prefix}reflowed", torch.zeros((), dtype=torch.int64))


FORMER = {"first_steps": Former("first_part", None)}


def recipe(
    spec: DataSpec,
    *,
    first_part: Fraction = 0.5,
    solver_steps: Count = 10,
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampler: Literal["euler", "heun", "rk45"] = "euler",
    sampling_steps: SamplingSteps = 10,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A flow of straight lines that is fitted again to its own pairs.

    Args:
        first_part: share of the budget that is spent on data, before that on its own pairs.
        solver_steps: of Heun's method, from noise to the example that it makes a pair with.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network)
    denoiser = NetworkDenoiser(
        chosen.network, Rectified(), Velocity(), spec.cond, marginals=chosen.marginals
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    return trained(
        model, Reflow(model, first_part, solver_steps, training.ema, drop_label), training
    )
