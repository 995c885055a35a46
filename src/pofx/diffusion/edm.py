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
from pofx.diffusion.network import choose
from pofx.diffusion.objective import Denoising, trained
from pofx.diffusion.parameterization import Preconditioned
from pofx.diffusion.schedule import EDM
from pofx.diffusion.times import LogNormal
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    network: Literal["mlp", "unet", "dit"] | None = None,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    data_std: float | None = None,
    noise_mean: float = -1.2,
    noise_std: float = 1.2,
    conditional: bool = True,
    drop_label: float = 0.1,
    sampler: Literal["heun", "edm", "dpmpp-2m", "dpmpp-2m-sde", "euler"] = "heun",
    sampling_steps: int = 18,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """EDM: preconditioning, log-normal noise levels, Heun's method.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        data_std: s, the standard deviation of the data; by default 0.5 for images, else 1.
        noise_mean: of the logarithm of the noise levels that are learned from.
        noise_std: of that logarithm.
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
        "edm", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label,
    )  # fmt: skip
    data_std = chosen.data_std if data_std is None else data_std
    if data_std <= 0 or noise_std <= 0:
        raise RecipeError(
            f"edm: --data-std and --noise-std are above 0, and {data_std}, {noise_std} came."
        )
    denoiser = NetworkDenoiser(
        chosen.network,
        EDM(),
        Preconditioned(data_std),
        chosen.classes,
        data_std=data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    return trained(
        Denoising(model, LogNormal(noise_mean, noise_std), drop_label),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
