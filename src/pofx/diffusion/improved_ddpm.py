r"""improved_ddpm: Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021).

Good for: a diffusion with a tighter bound on log p(x).

The variance of each step back is learned too, between the two that are right for a point and for
normal data, from its share of the bound:

.. math:: \Sigma = \exp\big(u \log \beta + (1 - u) \log \tilde\beta\big), \qquad
    L_\text{hybrid} = \|\epsilon - \epsilon_\theta\|^2 + \lambda\, T\, \mathrm{KL}_k

with a divergence whose gradient reaches u alone, which so cannot spoil the mean. It makes the bound
tight, and few steps of sampling good.

References:
    Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021), eq. 15-17.
    https://arxiv.org/abs/2102.09672

Note:
    The paper has lambda = 0.001 and nats or bits alike for each element. The first step of the
    chain has the fixed variance of `pofx.diffusion.bound`'s decoder. `--parameterization v` is
    the default here, as in `ddpm`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pofx.batch import Batch
from pofx.diffusion.bound import Chain
from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import NetworkLoss, network_denoiser, withheld
from pofx.diffusion.parameterization import Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP
from pofx.functional.reductions import expand_like
from pofx.objective import Metrics
from pofx.parameters import (
    Conditional,
    DenoiserSize,
    DropLabel,
    Guidance,
    Positive,
    SamplingSteps,
    Training,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec

_TARGETS: dict[str, type[Parameterization]] = {"eps": Eps, "v": V}


class Hybrid(NetworkLoss):
    """The simple loss and, for the variance, the bound's.

    Args:
        model: its denoiser learns variances.
        share: lambda.
        drop_label: how often an example's label is withheld.
    """

    def __init__(self, model: Diffusion, share: float, drop_label: float = 0.1) -> None:
        super().__init__()
        self.model: Diffusion = model
        self.share, self.drop_label = share, drop_label
        self.chain = Chain(model.denoiser.schedule, model.chain)

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        x0, denoiser = self.relaxed(x), network_denoiser(self.model)
        count = len(self.chain.share)
        k = torch.randint(0, count + 1, (len(x0),), device=x0.device)
        level, eps = self.chain.level(k, x0), torch.randn_like(x0)
        x_t = level.alpha * x0 + level.sigma * eps
        labels = withheld(cond, self.drop_label, self.model)
        output, second = denoiser.outputs(x_t, level, labels)
        target = denoiser.parameterization.target(x0, eps, level)
        simple = (output.to(x0) - target).square().mean()
        assert second is not None
        guess = denoiser.parameterization.clean(output.detach().to(x0), x_t, level)
        each = self.chain.divergence(k.clamp(max=count - 1), x0, guess, (second.to(x0) + 1) / 2)
        noisy = expand_like((k < count).to(each), each)
        kl = (count + 1) * (noisy * each).mean()
        return simple + self.share * kl, {"simple": simple.detach(), "kl": kl.detach()}


def recipe(
    spec: DataSpec,
    *,
    parameterization: Literal["eps", "v"] = "v",
    share: Positive = 1e-3,
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampler: Literal[
        "ancestral-learned", "ancestral", "ancestral-small", "ddim"
    ] = "ancestral-learned",
    sampling_steps: SamplingSteps = 100,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A DDPM that learns the variances of its steps.

    Args:
        parameterization: what the network predicts beside the variance.
        share: lambda, how much the bound counts in the loss.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network, copies=2)
    denoiser = NetworkDenoiser(
        chosen.network,
        CosineVP(),
        _TARGETS[parameterization](),
        spec.cond,
        learns_variance=True,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    return trained(model, Hybrid(model, share, drop_label), training)
