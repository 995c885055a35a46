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

from typing import Annotated, Literal

from pofx.diffusion.denoiser import NetworkDenoiser
from pofx.diffusion.model import Diffusion
from pofx.diffusion.network import NETWORK, TRAINING, choose
from pofx.diffusion.objective import Denoising
from pofx.diffusion.parameterization import Eps
from pofx.diffusion.schedule import VE, VP, Schedule, SubVP
from pofx.diffusion.times import Even, LogSNR
from pofx.parameters import (
    Conditional,
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
    sde: Literal["vp", "ve", "subvp"] = "vp",
    sigma_max: Annotated[float, at_least(0.02)] = 50.0,
    weighting: Literal["simple", "likelihood"] = "simple",
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampler: Literal[
        "predictor-corrector", "reverse-sde", "rk45", "ancestral-small", "dpmpp-2m"
    ] = "predictor-corrector",
    sampling_steps: SamplingSteps = 100,
    guidance: Guidance = 0.0,
    network: DenoiserSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A score model of a VP, VE or sub-VP equation.

    Args:
        sde: how noise comes.
        sigma_max: the most noise of VE: about the largest distance between two examples.
        weighting: of the noise levels: even in time, or as their parts of the likelihood, which
            serves log p(x) better and samples worse.
        sampler: how to sample by default.
    """
    chosen = choose(spec, network)
    schedule: Schedule = VE(0.01, sigma_max) if sde == "ve" else VP() if sde == "vp" else SubVP()
    denoiser = NetworkDenoiser(
        chosen.network,
        schedule,
        Eps(),
        spec.cond,
        data_std=chosen.data_std,
        marginals=chosen.marginals,
    )
    model = Diffusion(denoiser, spec, sampler=sampler, steps=sampling_steps, guidance=guidance)
    times = LogSNR() if weighting == "likelihood" else Even()
    return trained(model, Denoising(model, times, drop_label), training)
