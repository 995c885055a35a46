r"""score-matching: A connection between score matching and denoising autoencoders (Vincent, 2011).

Good for: the score of data in few dimensions, to combine with others.

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

from pofx.ebm.network_score import NetworkScore, score_network
from pofx.ebm.score_objectives import Denoising, Implicit, ScoreMatching, Sliced
from pofx.parameters import Count, Hidden, NonNegative, StepSize, Training, Whole
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec

_OBJECTIVES: dict[str, type[ScoreMatching]] = {
    "implicit": Implicit, "sliced": Sliced, "denoising": Denoising,
}  # fmt: skip


def recipe(
    spec: DataSpec,
    *,
    objective: Literal["denoising", "sliced", "implicit"] = "denoising",
    sigma: NonNegative = 0.1,
    step_size: StepSize = 0.01,
    sampling_steps: Count = 500,
    hidden: Hidden = (128, 128, 128),
    channels: Whole = 32,
    training: Training = Training(
        lr=2e-3,
        batch_size=256,
        steps=4_000,
        warmup=100,
        clip=1.0,
        ema=100.0,
    ),
) -> Recipe:
    """A score of vectors, tables and images at one level of noise, sampled by Langevin dynamics.

    Args:
        objective: `denoising` is the cheapest; `sliced` takes one backward pass more, `implicit`
            one for each element, and both do without noise.
        sigma: standard deviation of the noise on the data.
        sampling_steps: Langevin steps to a sample.
        channels: channels of a U-Net, for images; 0 for a fully connected network.
    """
    needs_noise = objective == "denoising" or any(c.discrete for c in spec.columns)
    if needs_noise and not sigma:
        raise RecipeError(
            "--sigma must be above 0 to denoise, and for discrete data, which have no score (got "
            "0): give 0.1."
        )
    model = NetworkScore(
        score_network(spec, hidden, channels), spec,
        sigma=sigma, step=step_size, sampling_steps=sampling_steps,
    )  # fmt: skip
    return trained(model, _OBJECTIVES[objective](model, sigma), training)
