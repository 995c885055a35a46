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
from pofx.diffusion.network import choose
from pofx.diffusion.objective import NetworkLoss, network_denoiser, trained, withheld
from pofx.diffusion.parameterization import Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP
from pofx.functional.reductions import expand_like
from pofx.objective import Metrics
from pofx.recipe import Recipe, RecipeError
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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    network: Literal["mlp", "unet", "dit"] | None = None,
    channels: tuple[int, ...] = (32, 64, 96),
    blocks: int = 1,
    patch: int | None = None,
    hidden: int = 256,
    parameterization: Literal["eps", "v"] = "v",
    share: float = 1e-3,
    conditional: bool = True,
    drop_label: float = 0.1,
    sampler: Literal[
        "ancestral-learned", "ancestral", "ancestral-small", "ddim"
    ] = "ancestral-learned",
    sampling_steps: int = 100,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """A DDPM that learns the variances of its steps.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        parameterization: what the network predicts beside the variance.
        share: lambda, how much the bound counts in the loss.
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
        "improved-ddpm", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label, copies=2,
    )  # fmt: skip
    if share <= 0:
        raise RecipeError(f"improved-ddpm: --share is above 0, and {share} came.")
    denoiser = NetworkDenoiser(
        chosen.network,
        CosineVP(),
        _TARGETS[parameterization](),
        chosen.classes,
        learns_variance=True,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    return trained(
        Hybrid(model, share, drop_label),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
