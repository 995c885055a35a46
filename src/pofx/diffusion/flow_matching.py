r"""flow_matching: Flow matching for generative modeling (Lipman et al., 2023).

Good for: sharp samples of images and vectors by the simplest diffusion.

A network learns the velocity of the straight lines between examples and noise. Where many lines
cross, the mean of their velocities is what carries noise to data:

.. math:: x_t = (1 - t) x_0 + t\, \epsilon, \qquad
    L = \mathbb{E}_{t, x_0, \epsilon} \|v_\theta(x_t, t) - (\epsilon - x_0)\|^2, \qquad
    \frac{dx}{dt} = v_\theta(x, t)

Lines that cross less make the way straighter: `--coupling optimal` gives the noise of a batch to
its examples so that the squares of the distances are least in sum.

References:
    Flow matching for generative modeling (Lipman et al., 2023), eq. 20-23, with time reversed.
    https://arxiv.org/abs/2210.02747
    Improving and generalizing flow-based generative models with minibatch optimal transport (Tong
    et al., 2024), section 3.2.3 and algorithm 3: the coupling. https://arxiv.org/abs/2302.00482
    Scaling rectified flow Transformers for high-resolution image synthesis (Esser et al., 2024),
    section 3.1: logit-normal times. https://arxiv.org/abs/2403.03206

Note:
    The smallest sigma of the paper is 0 here. Noise is exchanged within a class only, so that each
    class still starts from all of it. An optimal coupling belongs to the batch of one process: with
    `--accumulate` or more processes the batches that are coupled are smaller.
"""

from __future__ import annotations

from typing import Literal

from pofx.diffusion.coupling import optimal
from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import Denoising
from pofx.diffusion.parameterization import Velocity
from pofx.diffusion.schedule import Rectified
from pofx.diffusion.times import Even, LogitNormal, Times
from pofx.parameters import Conditional, DenoiserSize, DropLabel, Guidance, SamplingSteps, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec

_TIMES: dict[str, type[Times]] = {"even": Even, "logit-normal": LogitNormal}


def recipe(
    spec: DataSpec,
    *,
    coupling: Literal["independent", "optimal"] = "independent",
    times: Literal["even", "logit-normal"] = "even",
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampler: Literal["euler", "heun", "rk45", "ddim", "dpmpp-2m"] = "heun",
    sampling_steps: SamplingSteps = 25,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """Flow matching on straight lines.

    Args:
        coupling: which noise goes with which example: any, or by optimal transport in each batch.
        times: how the times that are learned from are drawn.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network)
    denoiser = NetworkDenoiser(
        chosen.network, Rectified(), Velocity(), spec.cond, marginals=chosen.marginals
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    couple = optimal if coupling == "optimal" else None
    return trained(model, Denoising(model, _TIMES[times](), drop_label, coupling=couple), training)
