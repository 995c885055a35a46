r"""ddpm: Denoising diffusion probabilistic models (Ho et al., 2020).

Good for: sharp samples, completing and editing; slower to sample than a GAN.

Noise is added to data in T = 1,000 small steps; a network learns to tell it from the data at every
one of them:

.. math:: L_\text{simple} = \mathbb{E}_{k, x, \epsilon} \| \epsilon - \epsilon_\theta(x_k, k) \|^2,
          \quad x_k = \sqrt{\bar\alpha_k} x + \sqrt{1 - \bar\alpha_k}\, \epsilon

Sampling takes the steps back. Where the data has classes, the label is dropped now and then, so
that one network is both the conditional and the unconditional model, and guidance can tell them
apart.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 14, algorithms 1 and 2.
    https://arxiv.org/abs/2006.11239
    Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021), eq. 17: the
    cosine schedule. https://arxiv.org/abs/2102.09672
    Progressive distillation for fast sampling of diffusion models (Salimans and Ho, 2022), section
    4: v. https://arxiv.org/abs/2202.00512
    Efficient diffusion training via min-SNR weighting strategy (Hang et al., 2023), section 3.4.
    https://arxiv.org/abs/2303.09556
    Classifier-free diffusion guidance (Ho and Salimans, 2021), algorithm 1.
    https://arxiv.org/abs/2207.12598

Note:
    The paper has `--schedule linear --parameterization eps`; the defaults here are a cosine and v.
"""

from __future__ import annotations

from typing import Literal

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import Denoising
from pofx.diffusion.parameterization import X0, Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP, LinearVP
from pofx.diffusion.times import Steps
from pofx.diffusion.weighting import MinSNR
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

_SCHEDULES = {"linear": LinearVP, "cosine": CosineVP}
_TARGETS: dict[str, type[Parameterization]] = {"eps": Eps, "x0": X0, "v": V}


def recipe(
    spec: DataSpec,
    *,
    schedule: Literal["linear", "cosine"] = "cosine",
    parameterization: Literal["eps", "x0", "v"] = "v",
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    min_snr: Positive | None = None,
    sampler: Literal["ddim", "ancestral", "ancestral-small"] = "ddim",
    sampling_steps: SamplingSteps = 50,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A DDPM: a U-Net for images, a residual network for anything else.

    Args:
        schedule: how the noise rises.
        parameterization: what the network predicts.
        min_snr: gamma, above which no signal-to-noise ratio weighs an error more; 5 in the paper.
            Leave it out to take what the network says as it is.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network)
    denoiser = NetworkDenoiser(
        chosen.network,
        _SCHEDULES[schedule](),
        _TARGETS[parameterization](),
        spec.cond,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    weighting = None if min_snr is None else MinSNR(min_snr)
    return trained(
        model, Denoising(model, Steps(model.chain), drop_label, weighting=weighting), training
    )
