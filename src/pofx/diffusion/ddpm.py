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
from pofx.diffusion.network import choose
from pofx.diffusion.objective import Denoising, trained
from pofx.diffusion.parameterization import X0, Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP, LinearVP
from pofx.diffusion.times import Steps
from pofx.diffusion.weighting import MinSNR
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec

_SCHEDULES = {"linear": LinearVP, "cosine": CosineVP}
_TARGETS: dict[str, type[Parameterization]] = {"eps": Eps, "x0": X0, "v": V}


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    network: Literal["mlp", "unet", "dit"] | None = None,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    schedule: Literal["linear", "cosine"] = "cosine",
    parameterization: Literal["eps", "x0", "v"] = "v",
    conditional: bool = True,
    drop_label: float = 0.1,
    min_snr: float | None = None,
    sampler: Literal["ddim", "ancestral", "ancestral-small"] = "ddim",
    sampling_steps: int = 50,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """A DDPM: a U-Net for images, a residual network for anything else.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        schedule: how the noise rises.
        parameterization: what the network predicts.
        conditional: whether to condition on the class, where the data has any.
        drop_label: how often a label is withheld in training, which guidance and samples of no
            class rely on.
        min_snr: gamma, above which no signal-to-noise ratio weighs an error more; 5 in the paper.
            Leave it out to take what the network says as it is.
        sampler: how to sample by default.
        sampling_steps: steps of sampling by default.
        guidance: strength of classifier-free guidance when sampling by default; 0 for none.
        ema: half-life in steps of the averaged weights that are sampled from.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 32 images or 256 vectors.
        steps: optimizer steps.
    """
    chosen = choose(
        "ddpm", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label,
    )  # fmt: skip
    denoiser = NetworkDenoiser(
        chosen.network,
        _SCHEDULES[schedule](),
        _TARGETS[parameterization](),
        chosen.classes,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    if min_snr is not None and not min_snr > 0:
        raise RecipeError(f"ddpm: --min-snr is above 0, and {min_snr} came.")
    weighting = None if min_snr is None else MinSNR(min_snr)
    return trained(
        Denoising(model, Steps(model.chain), drop_label, weighting=weighting),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
