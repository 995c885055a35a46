r"""score_sde: Score-based generative modeling through stochastic differential equations (Song et al., 2021).

Good for: likelihoods and samples of one diffusion, by many solvers.

Noise comes by a stochastic differential equation, and goes by the one that runs backwards, in which
the score is all that is unknown:

.. math:: dx = f x\, dt + g\, dw, \qquad
    dx = \big(f x - g^2 s_\theta(x, t)\big)\, dt + g\, d\bar w

.. math:: L = \mathbb{E}_{t, x_0, \epsilon}\; \sigma_t^2\,
    \Big\| s_\theta(\alpha_t x_0 + \sigma_t \epsilon, t) + \frac{\epsilon}{\sigma_t} \Big\|^2
    = \mathbb{E}\, \|\epsilon_\theta - \epsilon\|^2

VP keeps the variance, VE lets it explode, and sub-VP has less noise than VP. The same score gives
an ordinary equation, and with it likelihoods (`by_flow`).

References:
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 5-7, 11 and 12, appendix B
    and algorithms 4 and 5. https://arxiv.org/abs/2011.13456
    Maximum likelihood training of score-based diffusion models (Song et al., 2021), eq. 7:
    `--weighting likelihood`, whose times are drawn as in appendix B, so that weights are even.
    https://arxiv.org/abs/2101.09258

Note:
    The network says eps, of which the score is minus a sigma-th, and is shown data of about unit
    variance. Times are drawn from the schedule's first, which is where sampling ends too.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from typing import Literal

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import choose
from pofx.diffusion.objective import Denoising, trained
from pofx.diffusion.parameterization import Eps
from pofx.diffusion.schedule import VE, VP, Schedule, SubVP
from pofx.diffusion.times import Even, LogSNR
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
    sde: Literal["vp", "ve", "subvp"] = "vp",
    sigma_max: float = 50.0,
    weighting: Literal["simple", "likelihood"] = "simple",
    conditional: bool = True,
    drop_label: float = 0.1,
    sampler: Literal[
        "predictor-corrector", "reverse-sde", "rk45", "ancestral-small", "dpmpp-2m"
    ] = "predictor-corrector",
    sampling_steps: int = 100,
    guidance: float = 0.0,
    ema: float = 500.0,
    lr: float = 2e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """A score model of a VP, VE or sub-VP equation.

    Args:
        spec: what the data is.
        network: by default a U-Net for images and a residual network for vectors; `unet` and `dit`
            take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one; by default 2 for sides of 24 or
            more and in a DiT, else 1.
        hidden: width of the others.
        sde: how noise comes.
        sigma_max: the most noise of VE: about the largest distance between two examples.
        weighting: of the noise levels: even in time, or as their parts of the likelihood, which
            serves log p(x) better and samples worse.
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
        "score-sde", spec, network, channels=channels, blocks=blocks, patch=patch,
        hidden=hidden, conditional=conditional, drop_label=drop_label,
    )  # fmt: skip
    check_at_least("score-sde", 0.02, sigma_max=sigma_max)
    schedule: Schedule = VE(0.01, sigma_max) if sde == "ve" else VP() if sde == "vp" else SubVP()
    denoiser = NetworkDenoiser(
        chosen.network,
        schedule,
        Eps(),
        chosen.classes,
        data_std=chosen.data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    times = LogSNR() if weighting == "likelihood" else Even()
    return trained(
        Denoising(model, times, drop_label),
        spec,
        ema=ema,
        lr=lr,
        batch_size=batch_size or chosen.batch_size,
        steps=steps,
    )
