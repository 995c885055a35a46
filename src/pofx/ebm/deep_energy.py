r"""deep-energy: Implicit generation and modeling with energy-based models (Du and Mordatch, 2019).

Good for: energies to add up or to condition, and anomalies in few dimensions.

Any network is an energy; its likelihood's gradient takes draws of the model, which Langevin
dynamics makes of what it left at earlier steps:

.. math:: x \leftarrow x - \tfrac{\epsilon}{2} \nabla E(x) + \sqrt{\epsilon T}\, z, \qquad
    L = \mathbb{E} \left[ E(x_{data}) - E(x_{chains})
    + \alpha (E(x_{data})^2 + E(x_{chains})^2) \right]

`--objective` names other ways to train the same energy: `cd` starts chains from the data, `nce`
tells data from noise and learns the constant, `score-matching` does not see how modes are weighed.

References:
    Implicit generation and modeling with energy-based models (Du and Mordatch, 2019), algorithm 1.
    https://arxiv.org/abs/1903.08689
    Training products of experts by minimizing contrastive divergence (Hinton, 2002): `cd`.
    Noise-contrastive estimation (Gutmann and Hyvarinen, 2010): `nce`.
    A connection between score matching and denoising autoencoders (Vincent, 2011):
    `score-matching`.

Note:
    The energy tilts a normal distribution, so that there is a log Z to estimate, and in few
    dimensions chains jump to its draws where Metropolis' test lets them: else no mode's weight is
    learned. Every Langevin step takes the test, too. The paper's own way is `--no-adjusted --jumps
    0 --replay 10000 --fresh 0.05 --energy-decay 1 --spectral`. A temperature of 1 is its equation
    2; its code draws far less noise, with which samples are likelier than the data.
"""

from __future__ import annotations

import math
from typing import Literal

from pofx.ebm.langevin_contrast import DataChains, ReplayChains, Walk
from pofx.ebm.network_energy import energy_network
from pofx.ebm.noise_contrastive import NoiseContrastive
from pofx.ebm.normalized_energy import network_energy
from pofx.ebm.score_objectives import Denoising
from pofx.functional.dequantize import relaxed_shape
from pofx.objective import Objective
from pofx.parameters import (
    Chains,
    Count,
    Fraction,
    Hidden,
    NonNegative,
    Positive,
    StepSize,
    Temperatures,
    Training,
    Whole,
    follows,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec, Real

_FEW = 8
"""Up to so many elements a normal distribution covers the data well enough to jump by."""


def _few(spec: DataSpec) -> bool:
    return math.prod(relaxed_shape(spec)) <= _FEW


def _bounded(spec: DataSpec) -> bool:
    return not any(isinstance(c, Real) for c in spec.columns)


def _smoothing(spec: DataSpec, objective: str) -> float:
    discrete = any(c.discrete for c in spec.columns)
    return 0.1 if discrete or objective == "score-matching" else 0.0


def recipe(
    spec: DataSpec,
    *,
    objective: Literal["pcd", "cd", "nce", "score-matching"] = "pcd",
    k: Count = 5,
    step_size: StepSize = 0.01,
    temperature: Positive = 1.0,
    adjusted: bool = True,
    replay: Count = follows(
        "10,000 of images, else a batch",
        lambda spec, batch_size: 10_000 if spec.is_image else batch_size,
    ),
    fresh: Fraction = follows(
        "0 up to 8 elements, else 0.05", lambda spec: 0.0 if _few(spec) else 0.05
    ),
    jumps: Whole = follows(
        "4 up to 8 elements, else 0, as hardly any would be accepted",
        lambda spec: 4 if _few(spec) else 0,
    ),
    energy_decay: NonNegative = follows(
        "0 up to 8 elements, else 0.01, without which training soon runs away",
        lambda spec: 0.0 if _few(spec) or spec.count is None else 0.01,
    ),
    spectral: bool = False,
    smoothing: NonNegative = follows(
        "0, or 0.1 of discrete data and for score-matching", _smoothing
    ),
    base: Positive = follows(
        "1 of bounded data, else 2", lambda spec: 1.0 if _bounded(spec) else 2.0
    ),
    hidden: Hidden = (128, 128, 128),
    channels: Whole = 32,
    sampling_steps: Count = 500,
    temperatures: Temperatures = 1000,
    chains: Chains = 100,
    training: Training = Training(
        lr=follows(
            "0.0005 of convolutions, else 0.005",
            lambda spec, channels: 5e-4 if spec.is_image and channels else 5e-3,
        ),
        batch_size=256,
        steps=3_000,
        clip=1.0,
        ema=100.0,
    ),
) -> Recipe:
    """An energy of vectors, tables and images, which Langevin dynamics samples from.

    Args:
        objective: `pcd`: chains go on from step to step; `cd`: they start from the data; `nce`:
            data is told from noise; `score-matching`: by denoising.
        k: Langevin steps between two updates.
        temperature: share of that variance that is drawn.
        adjusted: put every step between two updates to Metropolis' test.
        replay: chains kept by `pcd`.
        fresh: how often a chain starts anew.
        jumps: proposals of a chain to start anew, at each step, that Metropolis' test accepts or
            refuses.
        energy_decay: alpha, weight of the squared energies; 1 in the paper.
        spectral: bound every layer's norm by 1, as in the paper.
        smoothing: standard deviation of noise on the data.
        base: sigma of the normal distribution that is tilted.
        channels: channels of the finest convolution, for images; 0 for a fully connected network.
        sampling_steps: Langevin steps to a sample.
    """
    constant = objective == "nce" or (objective != "score-matching" and energy_decay > 0)
    model = network_energy(
        energy_network(spec, hidden, channels, spectral=spectral, constant=constant), spec,
        base=base, step=step_size, temperature=temperature, sampling_steps=sampling_steps,
        temperatures=temperatures, chains=chains,
    )  # fmt: skip
    walk = Walk(k, step_size, temperature, adjusted, jumps)
    batch = training.batch_size
    contrast: Objective
    if objective == "nce":
        log_z = model.reference.log_partition()
        contrast = NoiseContrastive(model, model.reference, log_z=log_z, smoothing=smoothing)
    elif objective == "score-matching":
        contrast = Denoising(model, smoothing)
    elif objective == "cd":
        contrast = DataChains(model, walk, energy_decay=energy_decay, smoothing=smoothing)
    else:
        contrast = ReplayChains(
            model, walk,
            examples=batch,
            slots=-(-replay // batch),
            fresh=fresh,
            energy_decay=energy_decay, smoothing=smoothing,
        )  # fmt: skip
    return trained(model, contrast, training)
