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
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec

_OBJECTIVES: dict[str, type[ScoreMatching]] = {
    "implicit": Implicit, "sliced": Sliced, "denoising": Denoising,
}  # fmt: skip


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
    model = NetworkScore(
        score_network(spec, hidden, channels), spec,
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
