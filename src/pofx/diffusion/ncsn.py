r"""ncsn: Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019).

Good for: sharp samples by Langevin dynamics, and scores at many levels of noise.

One network learns the score of data with noise at a number of levels, whose standard deviations
fall by a constant factor; every level weighs as much:

.. math:: L = \frac{1}{L} \sum_i \sigma_i^2\, \mathbb{E}
    \Big\| s_\theta(x_0 + \sigma_i \epsilon, \sigma_i) + \frac{\epsilon}{\sigma_i} \Big\|^2

Sampling is Langevin dynamics at one level after another, from the noisiest down.

References:
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    eq. 5 and 6 and algorithm 1. https://arxiv.org/abs/1907.05600
    Improved techniques for training score-based generative models (Song and Ermon, 2020),
    techniques 1-3 and 5. https://arxiv.org/abs/2006.09011

Note:
    As in the second paper the network says what a sigma-th of is the score, the last step removes
    the noise that is left, and weights are averaged. It is shown data of about unit variance. Its
    steps of sampling are those of `annealed_langevin`, one at each of many levels.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from typing import Annotated

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import Denoising
from pofx.diffusion.parameterization import Eps
from pofx.diffusion.samplers.annealed_langevin import AnnealedLangevin
from pofx.diffusion.schedule import VE
from pofx.diffusion.times import Geometric
from pofx.parameters import (
    Conditional,
    Count,
    DenoiserSize,
    DropLabel,
    Guidance,
    SamplingSteps,
    Training,
    at_least,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    levels: Annotated[int, at_least(2)] = 232,
    sigma_max: Annotated[float, at_least(0.02)] = 50.0,
    langevin_steps: Count = 1,
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampling_steps: SamplingSteps = 100,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A score network of many noise levels, sampled by annealed Langevin dynamics.

    Args:
        levels: of noise in training.
        sigma_max: the most noise: about the largest distance between two examples.
        langevin_steps: in sampling, at each of its levels.
    """
    chosen = choose(spec, network)
    denoiser = NetworkDenoiser(
        chosen.network,
        VE(0.01, sigma_max),
        Eps(),
        spec.cond,
        data_std=chosen.data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(
        denoiser, spec, sampler=AnnealedLangevin(langevin_steps), grid="log-snr",
        steps=sampling_steps, guidance=guidance,
    )  # fmt: skip
    return trained(model, Denoising(model, Geometric(levels), drop_label), training)
