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

from typing import Literal

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import choose
from pofx.diffusion.objective import Denoising, trained
from pofx.diffusion.parameterization import Eps
from pofx.diffusion.samplers.annealed_langevin import AnnealedLangevin
from pofx.diffusion.schedule import VE
from pofx.diffusion.times import Geometric
from pofx.recipe import Recipe, check_at_least
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    network: Literal["mlp", "unet", "dit"] | None = None,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    levels: int = 232,
    sigma_max: float = 50.0,
    langevin_steps: int = 1,
    conditional: bool = True,
    drop_label: float = 0.1,
    sampling_steps: int = 100,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """A score network of many noise levels, sampled by annealed Langevin dynamics.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        levels: of noise in training.
        sigma_max: the most noise: about the largest distance between two examples.
        langevin_steps: in sampling, at each of its levels.
        conditional: whether to condition on the class, where the data has any.
        drop_label: how often a label is withheld in training, which guidance and samples of no
            class rely on.
        sampling_steps: steps of sampling by default.
        guidance: strength of classifier-free guidance when sampling by default; 0 for none.
        ema: half-life in steps of the averaged weights that are sampled from.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 32 images or 256 vectors.
        steps: optimizer steps.
    """
    chosen = choose(
        "ncsn", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label,
    )  # fmt: skip
    check_at_least("ncsn", 2, levels=levels)
    check_at_least("ncsn", 1, langevin_steps=langevin_steps)
    check_at_least("ncsn", 0.02, sigma_max=sigma_max)
    denoiser = NetworkDenoiser(
        chosen.network,
        VE(0.01, sigma_max),
        Eps(),
        chosen.classes,
        data_std=chosen.data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(
        denoiser, spec, sampler=AnnealedLangevin(langevin_steps), grid="log-snr",
        steps=sampling_steps, guidance=guidance,
    )  # fmt: skip
    return trained(
        Denoising(model, Geometric(levels), drop_label),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
