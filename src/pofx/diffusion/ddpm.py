r"""ddpm: Denoising diffusion probabilistic models (Ho et al., 2020).

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
    Classifier-free diffusion guidance (Ho and Salimans, 2021), algorithm 1.
    https://arxiv.org/abs/2207.12598

Note:
    The paper has `--schedule linear --parameterization eps`; the defaults here are a cosine and v.
    The loss is the mean square over elements, not their sum.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.parameterization import X0, Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP, LinearVP
from pofx.functional.dequantize import relax, relaxed_shape
from pofx.nn.unet import TimedMLP, UNet
from pofx.objective import LossObjective, Metrics
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond, Data

_SCHEDULES = {"linear": LinearVP, "cosine": CosineVP}
_TARGETS: dict[str, type[Parameterization]] = {"eps": Eps, "x0": X0, "v": V}


class Simple(LossObjective):
    """The mean squared error of what the network predicts, at a random step of the chain.

    Args:
        model: its denoiser is a network's.
        drop_label: how often an example's label is withheld.
    """

    def __init__(self, model: Diffusion, drop_label: float = 0.1) -> None:
        super().__init__()
        self.model: Diffusion = model
        self.drop_label = drop_label

    def loss(self, x: Data, cond: Cond | None = None) -> tuple[Tensor, Metrics]:
        denoiser = self.model.denoiser
        assert isinstance(denoiser, NetworkDenoiser)
        x0 = relax(x, self.model.spec)
        k = torch.randint(1, self.model.chain + 1, (x0.shape[0],), device=x0.device)
        level = denoiser.schedule.level(k.to(x0) / self.model.chain, x0.ndim)
        eps = torch.randn_like(x0)
        output = denoiser.predict(level.alpha * x0 + level.sigma * eps, level.t, self._labels(cond))
        target = denoiser.parameterization.target(x0, eps, level)
        return (output.to(x0.dtype) - target).square().mean(), {}

    def _labels(self, cond: Cond | None) -> Cond | None:
        if cond is None or not self.model.conditional:
            return None
        dropped = torch.rand(cond.shape, device=cond.device) < self.drop_label
        return cond.masked_fill(dropped, self.model.denoiser.classes)


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    schedule: Literal["linear", "cosine"] = "cosine",
    parameterization: Literal["eps", "x0", "v"] = "v",
    conditional: bool = True,
    drop_label: float = 0.1,
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
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the network
            for vectors.
        patch: side of the squares of pixels that the U-Net takes as one; by default 2 for sides of
            24 or more, else 1.
        hidden: width of the network for vectors.
        schedule: how the noise rises.
        parameterization: what the network predicts.
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
    if not 0 < drop_label <= 1:
        raise RecipeError(f"ddpm: --drop-label is above 0 and at most 1, and {drop_label} came.")
    if blocks < 1 or min(channels, default=0) < 1:
        raise RecipeError(
            f"ddpm: --blocks and --channels are at least 1, and {blocks}, {channels} came."
        )
    classes = spec.classes if conditional else 0
    shape = relaxed_shape(spec)
    network: nn.Module
    if len(shape) == 3:
        patch = patch or (2 if min(shape[1:]) >= 24 else 1)
        network = UNet(shape, widths=channels, blocks=blocks, patch=patch, classes=classes)
    elif len(shape) == 1:
        network = TimedMLP(shape[0], hidden=hidden, blocks=4 * blocks, classes=classes)
    else:
        raise RecipeError(f"ddpm: examples are images or vectors, and their shape is {shape}.")
    denoiser = NetworkDenoiser(
        network, _SCHEDULES[schedule](), _TARGETS[parameterization](), classes
    )
    model = Diffusion(
        denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance
    )  # fmt: skip
    return Recipe(
        model=model,
        objective=Simple(model, drop_label),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size or (32 if len(shape) == 3 else 256),
        steps=steps,
        warmup=200,
        decay="cosine",
        clip=1.0,
        ema=ema,
    )
