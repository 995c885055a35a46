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
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec, Real

_FEW = 8
"""Up to so many elements a normal distribution covers the data well enough to jump by."""


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    objective: Literal["pcd", "cd", "nce", "score-matching"] = "pcd",
    k: int = 5,
    step_size: float = 0.01,
    temperature: float = 1.0,
    adjusted: bool = True,
    replay: int | None = None,
    fresh: float | None = None,
    jumps: int | None = None,
    energy_decay: float | None = None,
    spectral: bool = False,
    smoothing: float | None = None,
    base: float | None = None,
    hidden: tuple[int, ...] = (128, 128, 128),
    channels: int = 32,
    sampling_steps: int = 500,
    temperatures: int = 1000,
    chains: int = 100,
    lr: float | None = None,
    ema: float = 100.0,
    batch_size: int = 256,
    steps: int = 3000,
) -> Recipe:
    """An energy of vectors, tables and images, which Langevin dynamics samples from.

    Args:
        spec: what the data is.
        objective: `pcd`: chains go on from step to step; `cd`: they start from the data; `nce`:
            data is told from noise; `score-matching`: by denoising.
        k: Langevin steps between two updates.
        step_size: epsilon, the variance of a step's noise.
        temperature: share of that variance that is drawn.
        adjusted: put every step between two updates to Metropolis' test.
        replay: chains kept by `pcd`; by default 10,000 of images as in the paper, else a batch.
        fresh: how often one starts anew; by default 0 where elements are few (<= 8), else 0.05.
        jumps: proposals of a chain to start anew, at each step, that Metropolis' test accepts or
            refuses; by default 4 where elements are few, else 0, as hardly any would be accepted.
        energy_decay: alpha, weight of the squared energies; 1 in the paper. By default 0 where
            elements are few, else 0.01, without which training soon runs away.
        spectral: bound every layer's norm by 1, as in the paper.
        smoothing: standard deviation of noise on the data; by default 0, or 0.1 of discrete data
            and for `score-matching`.
        base: sigma of the normal distribution that is tilted; by default 2, or 1 of bounded data.
        hidden: widths of the hidden layers.
        channels: channels of the finest convolution, for images; 0 for a fully connected network.
        sampling_steps: Langevin steps to a sample.
        temperatures: of annealed importance sampling: log Z of more than two elements.
        chains: of annealed importance sampling.
        lr: learning rate, falling to 0 by a cosine; by default 5e-3, or 5e-4 of convolutions.
        ema: half-life, in steps, of the average of the weights that is sampled from.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_at_least("deep-energy", 1, k=k, replay=replay, sampling_steps=sampling_steps)
    check_at_least("deep-energy", 2, temperatures=temperatures, chains=chains)
    check_at_least("deep-energy", 0, energy_decay=energy_decay, smoothing=smoothing)
    check_at_least("deep-energy", 0, fresh=fresh, jumps=jumps)
    if not min(step_size, temperature, 1.0 if base is None else base) > 0 or (fresh or 0) > 1:
        raise RecipeError(
            "deep-energy: --step-size, --temperature and --base are positive and --fresh is at "
            f"most 1, and {step_size}, {temperature}, {base} and {fresh} came."
        )
    base = base or (2.0 if any(isinstance(c, Real) for c in spec.columns) else 1.0)
    discrete = any(c.discrete for c in spec.columns)
    least = 0.1 if discrete or objective == "score-matching" else 0.0
    smoothing = least if smoothing is None else smoothing
    few = math.prod(relaxed_shape(spec)) <= _FEW
    if energy_decay is None:
        energy_decay = 0.0 if few or spec.count is None else 0.01
    constant = objective == "nce" or (objective != "score-matching" and energy_decay > 0)
    model = network_energy(
        energy_network(spec, hidden, channels, spectral=spectral, constant=constant), spec,
        base=base, step=step_size, temperature=temperature, sampling_steps=sampling_steps,
        temperatures=temperatures, chains=chains,
    )  # fmt: skip
    offers = jumps if jumps is not None else 4 if few else 0
    walk = Walk(k, step_size, temperature, adjusted, offers)
    trained: Objective
    if objective == "nce":
        log_z = model.reference.log_partition()
        trained = NoiseContrastive(model, model.reference, log_z=log_z, smoothing=smoothing)
    elif objective == "score-matching":
        trained = Denoising(model, smoothing)
    elif objective == "cd":
        trained = DataChains(model, walk, energy_decay=energy_decay, smoothing=smoothing)
    else:
        trained = ReplayChains(
            model, walk,
            examples=batch_size,
            slots=-(-(replay or (10_000 if spec.is_image else batch_size)) // batch_size),
            fresh=fresh if fresh is not None else 0.0 if few else 0.05,
            energy_decay=energy_decay, smoothing=smoothing,
        )  # fmt: skip
    return Recipe(
        model=model,
        objective=trained,
        optimizers={"model": Adam(lr or (5e-4 if spec.is_image and channels else 5e-3))},
        batch_size=batch_size,
        steps=steps,
        decay="cosine",
        clip=1.0,
        ema=ema,
    )
