r"""edm: Elucidating the design space of diffusion-based generative models (Karras et al., 2022).

Good for: sharp samples in fewer steps, completing and editing.

The network sees noisy data of unit variance and says only what is left once the best linear guess
is made, which has unit variance too:

.. math:: D(x, \sigma) = c_\text{skip}\, x + c_\text{out} F(c_\text{in}\, x, \sigma), \quad
    c_\text{skip} = \frac{s^2}{\sigma^2 + s^2}, \quad
    c_\text{out} = \frac{\sigma s}{\sqrt{\sigma^2 + s^2}}, \quad
    c_\text{in} = \frac{1}{\sqrt{\sigma^2 + s^2}}

.. math:: L = \mathbb{E}_{\log \sigma \sim N(-1.2, 1.2^2)}
    \frac{\sigma^2 + s^2}{(\sigma s)^2} \|x_0 - D(x_0 + \sigma \epsilon, \sigma)\|^2
    = \mathbb{E}\, \|F - \hat F\|^2

Sampling takes Heun's steps between noise levels that are even in their seventh root.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. 5,
    7 and 8, table 1 and algorithm 1. https://arxiv.org/abs/2206.00364

Note:
    The paper tells the network a quarter of the logarithm of sigma; here it is the time of
    `pofx.diffusion.schedule.EDM`, the seventh root. Non-leaking augmentation is left out.
"""

from __future__ import annotations

from typing import Literal

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose, data_std_of
from pofx.diffusion.objective import Denoising
from pofx.diffusion.parameterization import Preconditioned
from pofx.diffusion.schedule import EDM
from pofx.diffusion.times import LogNormal
from pofx.parameters import (
    Conditional,
    DenoiserSize,
    DropLabel,
    Guidance,
    Positive,
    SamplingSteps,
    Training,
    follows,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    data_std: Positive = follows("0.5 for images, else 1", data_std_of),
    noise_mean: float = -1.2,
    noise_std: Positive = 1.2,
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampler: Literal["heun", "edm", "dpmpp-2m", "dpmpp-2m-sde", "euler"] = "heun",
    sampling_steps: SamplingSteps = 18,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """EDM: preconditioning, log-normal noise levels, Heun's method.

    Args:
        data_std: s, the standard deviation of the data.
        noise_mean: of the logarithm of the noise levels that are learned from.
        noise_std: of that logarithm.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network)
    denoiser = NetworkDenoiser(
        chosen.network,
        EDM(),
        Preconditioned(data_std),
        spec.cond,
        data_std=data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    return trained(model, Denoising(model, LogNormal(noise_mean, noise_std), drop_label), training)
