r"""annealed_langevin: Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019).

Langevin dynamics at one noise level after another, whose steps shrink with the noise:

.. math:: x \leftarrow x + r \sigma_i^2 \nabla \log p_i(x) + \sigma_i \sqrt{2 r \tau_i}\, z

Left to themselves, with :math:`\tau = 1`, samples are late and carry more noise than the level that
the network is told of, and it answers with more of it. Here T steps at a level end with just the
noise of the next one: the rate is tied to how far that is, and the temperature :math:`\tau` makes
up for what the steps leave,

.. math:: \gamma = \sigma_{i+1} / \sigma_i, \qquad r = 1 - \gamma^{\epsilon / T}, \qquad
    \tau_i = \frac{\gamma^2 - \gamma^{2 \epsilon}}{1 - \gamma^{2 \epsilon}} \Big(1 - \frac{r}{2}\Big),

with sigma in units of the signal. The last step is the denoiser's guess.

References:
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    algorithm 1. https://arxiv.org/abs/1907.05600
    Improved techniques for training score-based generative models (Song and Ermon, 2020), section
    3.3 and algorithm 1: the guess at the end. https://arxiv.org/abs/2006.09011
    Adversarial score matching and improved sampling for image generation (Jolicoeur-Martineau et
    al., 2021), section 3: the noise, for T = 1. https://arxiv.org/abs/2009.05475
    On tuning consistent annealed sampling for denoising score matching (Serra et al., 2021): the
    rate. https://arxiv.org/abs/2104.03725
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch

from pofx.diffusion.denoiser import Denoiser, score_of_guess
from pofx.diffusion.sampler import Sampler, Scales, State, blend, levels
from pofx.diffusion.schedule import Level
from pofx.errors import UserError
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin
from pofx.typing import Cond, Data


class AnnealedLangevin(Sampler):
    """One or several evaluations at each level.

    Args:
        steps: T, at each level. One at each of many levels is worth more than many at few.
        epsilon: how much noise is renewed: 1 only carries it down, and with one step at a level is
            DDIM; 2 is then ancestral sampling.
    """

    def __init__(self, steps: int = 1, epsilon: float = 3.0) -> None:
        if steps < 1 or not epsilon >= 1:
            raise UserError(
                "annealed Langevin dynamics take at least 1 step at a level, and an epsilon of at "
                f"least 1, and {steps} and {epsilon} came; 1 and 3 are usual."
            )
        self.steps, self.epsilon = steps, epsilon

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        schedule, quiet = denoiser.schedule, torch.no_grad()
        way = zip(pairwise(schedule.scales(times)), levels(schedule, times, x_t), strict=False)
        for ((here, there), level), s in zip(way, times[1:], strict=True):
            guess = Guess(denoiser, level, cond)
            with quiet:
                if here[0] and s:
                    self.relax(guess, x_t, here, there)
                else:  # all noise, or none to come
                    blend(x_t, there[1] / here[1], there[0], guess(x_t))
            yield State(s, x_t, guess.x0)

    def relax(self, guess: Guess, x_t: Data, here: Scales, there: Scales) -> None:
        """Takes the steps of a level, in place, to where another begins."""
        (alpha, sigma), (alpha_s, sigma_s) = here, there
        scale = alpha_s / alpha  # Langevin dynamics keep the signal's
        gamma = sigma_s / (sigma * scale)
        rate, kept = 1 - gamma ** (self.epsilon / self.steps), gamma ** (2 * self.epsilon)
        temperature = (gamma**2 - kept) / (1 - kept) * (1 - rate / 2)
        chains = langevin(guess.score, x_t, 2 * rate * sigma**2, temperature=temperature)
        x_t.copy_(take(chains, self.steps)).mul_(scale)


class Guess:
    """What a denoiser says at a level, and the score that follows.

    Args:
        denoiser: guesses.
        level: of the noise.
        cond: a label for each example.
    """

    x0: Data

    def __init__(self, denoiser: Denoiser, level: Level, cond: Cond | None) -> None:
        self.denoiser, self.level, self.cond = denoiser, level, cond

    @torch.no_grad()
    def __call__(self, x: Data) -> Data:
        """The guess, which is kept as `x0`."""
        self.x0 = self.denoiser.denoise(x, self.level, self.cond)
        return self.x0

    def score(self, x: Data) -> Data:
        """The gradient of log p_t."""
        return score_of_guess(self(x), x, self.level)
