r"""score-matching: A connection between score matching and denoising autoencoders (Vincent, 2011).

A network learns the score of the data, which needs no constant of normalisation, and Langevin
dynamics draws with it. The data has normal noise of a standard deviation sigma on it, which fills
the space between examples and gives bytes and bits a density; samples walk in the noisy density and
jump to the clean data that their place speaks of:

.. math:: y \leftarrow y + \tfrac{\epsilon}{2} s(y) + \sqrt{\epsilon}\, z, \qquad
    x = y + \sigma^2 s(y)

References:
    A connection between score matching and denoising autoencoders (Vincent, 2011), eq. 11:
    `denoising`. https://www.iro.umontreal.ca/~vincentp/Publications/smdae_techreport.pdf
    Estimation of non-normalized statistical models by score matching (Hyvarinen, 2005), theorem 1:
    `implicit`. https://jmlr.org/papers/v6/hyvarinen05a.html
    Sliced score matching: a scalable approach to density and score estimation (Song et al., 2019),
    eq. 8: `sliced`. https://arxiv.org/abs/1905.07088
    Neural empirical Bayes (Saremi and Hyvarinen, 2019), section 3: walk and jump.
    https://arxiv.org/abs/1903.02334

Note:
    At one level of noise a score says how modes lie, not how they are weighed, and far from the
    data it says nothing; many levels, as of ncsn and diffusion, mend both.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pofx.ebm.score_objectives import Denoising, Implicit, ScoreMatching, Sliced
from pofx.functional.dequantize import harden, relaxed_shape
from pofx.mcmc.annealed import denoised
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin
from pofx.nn.mlp import MLP
from pofx.nn.unet import UNet
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_OBJECTIVES: dict[str, type[ScoreMatching]] = {
    "implicit": Implicit, "sliced": Sliced, "denoising": Denoising,
}  # fmt: skip


class ScoreModel(nn.Module):
    """A network as a score: capabilities Samples and Score.

    Args:
        network: `(n, *relaxed) -> (n, *relaxed)`; the score is it over sigma.
        spec: of the data.
        sigma: of the noise on the data, which the score is about.
        step: epsilon of Langevin dynamics.
        sampling_steps: of Langevin dynamics, from a standard normal.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: DataSpec,
        *,
        sigma: float = 0.1,
        step: float = 0.01,
        sampling_steps: int = 500,
    ) -> None:
        super().__init__()
        self.network, self.spec, self.sigma = network, spec, sigma
        self.step, self.sampling_steps = step, sampling_steps

    def relaxed_score(self, y: Tensor) -> Tensor:
        """The score of the noisy relaxed data."""
        return self.network(y) / (self.sigma or 1.0)

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """Of the relaxed data at the level of noise that was learned, whatever the time."""
        return self.relaxed_score(x_t)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        steps: int | None = None,
        step: float | None = None,
        jump: bool = True,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: not used.
            steps: of Langevin dynamics.
            step: its epsilon.
            jump: whether to end with the mean of the clean data.
        """
        like = next(self.parameters())
        start = torch.randn(n, *relaxed_shape(self.spec), dtype=like.dtype, device=like.device)
        walk = langevin(self.relaxed_score, start, self.step if step is None else step)
        y = take(walk, self.sampling_steps if steps is None else steps)
        if jump and self.sigma:
            y = denoised(lambda y, _: self.relaxed_score(y), y, self.sigma)
        return harden(y, self.spec)


class _Still(nn.Module):
    """A network that is told a time, at one time."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor) -> Tensor:
        return self.network(y, torch.zeros(y.shape[0], dtype=y.dtype, device=y.device))


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    objective: Literal["denoising", "sliced", "implicit"] = "denoising",
    sigma: float = 0.1,
    step_size: float = 0.01,
    sampling_steps: int = 500,
    hidden: tuple[int, ...] = (128, 128, 128),
    channels: int = 32,
    lr: float = 2e-3,
    ema: float = 100.0,
    batch_size: int = 256,
    steps: int = 4000,
) -> Recipe:
    """A score of vectors, tables and images at one level of noise, sampled by Langevin dynamics.

    Args:
        spec: what the data is.
        objective: `denoising` is the cheapest; `sliced` takes one backward pass more, `implicit`
            one for each element, and both do without noise.
        sigma: standard deviation of the noise on the data.
        step_size: epsilon, the variance of a Langevin step's noise.
        sampling_steps: Langevin steps to a sample.
        hidden: widths of the hidden layers.
        channels: channels of a U-Net, for images; 0 for a fully connected network.
        lr: learning rate, falling to 0 by a cosine.
        ema: half-life, in steps, of the average of the weights that is sampled from.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_at_least("score-matching", 1, sampling_steps=sampling_steps)
    check_at_least("score-matching", 0, sigma=sigma)
    if not step_size > 0:
        raise RecipeError(f"score-matching: --step-size is positive, and {step_size} came.")
    needs_noise = objective == "denoising" or any(c.discrete for c in spec.columns)
    if needs_noise and not sigma:
        raise RecipeError(
            "score-matching: without noise (--sigma 0) there is nothing to denoise and discrete "
            "data has no score; give a positive --sigma, such as 0.1."
        )
    model = ScoreModel(
        _network(spec, hidden, channels), spec,
        sigma=sigma, step=step_size, sampling_steps=sampling_steps,
    )  # fmt: skip
    return Recipe(
        model=model,
        objective=_OBJECTIVES[objective](model, sigma),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,
        ema=ema,
    )


def _network(spec: DataSpec, hidden: tuple[int, ...], channels: int) -> nn.Module:
    shape = relaxed_shape(spec)
    if len(shape) == 3 and channels:
        return _Still(UNet(shape, widths=(channels, 2 * channels)))
    size = torch.Size(shape).numel()
    body = MLP([size, *hidden, size], nn.SiLU)
    return nn.Sequential(nn.Flatten(), body, nn.Unflatten(1, shape))
