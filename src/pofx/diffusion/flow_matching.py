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
from pofx.diffusion.network import choose
from pofx.diffusion.objective import Denoising, trained
from pofx.diffusion.parameterization import Velocity
from pofx.diffusion.schedule import Rectified
from pofx.diffusion.times import Even, LogitNormal, Times
from pofx.recipe import Recipe
from pofx.spec import DataSpec

_TIMES: dict[str, type[Times]] = {"even": Even, "logit-normal": LogitNormal}


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    network: Literal["mlp", "unet", "dit"] | None = None,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    coupling: Literal["independent", "optimal"] = "independent",
    times: Literal["even", "logit-normal"] = "even",
    conditional: bool = True,
    drop_label: float = 0.1,
    sampler: Literal["euler", "heun", "rk45", "ddim", "dpmpp-2m"] = "heun",
    sampling_steps: int = 25,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """Flow matching on straight lines.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        coupling: which noise goes with which example: any, or by optimal transport in each batch.
        times: how the times that are learned from are drawn.
        conditional: whether to condition on the class, where the data has any.
        drop_label: how often a label is withheld in training, which guidance and samples of no
            class rely on.
        sampler: how to sample by default.
        sampling_steps: steps of sampling by default.
        guidance: strength of classifier-free guidance when sampling by default; 0 for none.
        ema: half-life in steps of the averaged weights that are sampled from.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 32 images or 256 vectors.
        steps: optimizer steps.
    """
    chosen = choose(
        "flow-matching", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label,
    )  # fmt: skip
    denoiser = NetworkDenoiser(
        chosen.network, Rectified(), Velocity(), chosen.classes, marginals=chosen.marginals
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    couple = optimal if coupling == "optimal" else None
    return trained(
        Denoising(model, _TIMES[times](), drop_label, coupling=couple),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
