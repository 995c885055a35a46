r"""annealed_langevin: Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019).

Langevin dynamics at one noise level after another, whose steps shrink with the noise:

.. math:: x \leftarrow x + r \sigma_i^2 \nabla \log p_i(x) + \sigma_i \sqrt{2 r}\, z

The last step is the denoiser's guess.

References:
    Generative modeling by estimating gradients of the data distribution (Song and Ermon, 2019),
    algorithm 1, where r is epsilon / (2 sigma_L^2) = 0.1. https://arxiv.org/abs/1907.05600
    Improved techniques for training score-based generative models (Song and Ermon, 2020), section
    3.3 and algorithm 1: the guess at the end. https://arxiv.org/abs/2006.09011
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from collections.abc import Iterator

import torch

from pofx.diffusion.denoiser import Denoiser, score_of_guess
from pofx.diffusion.sampler import Sampler, State, levels
from pofx.diffusion.schedule import Level
from pofx.errors import UserError
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin
from pofx.typing import Cond, Data


class AnnealedLangevin(Sampler):
    """Several evaluations at each level.

    Args:
        steps: at each level.
        rate: r, in (0, 1].
    """

    def __init__(self, steps: int = 5, rate: float = 0.1) -> None:
        if steps < 1 or not 0 < rate <= 1:
            raise UserError(
                "Langevin dynamics take at least 1 step at a rate in (0, 1], and "
                f"{steps} at {rate} came."
            )
        self.steps, self.rate = steps, rate

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        at = levels(denoiser.schedule, times[:-1], x_t)
        for level, t, s in zip(at, times, times[1:], strict=False):
            guess = Guess(denoiser, level, cond)
            step = 2 * self.rate * float(level.sigma) ** 2
            x_t.copy_(take(langevin(guess.score, x_t, step), self.steps))
            if not s:
                x_t.copy_(guess(x_t))
            yield State(t if s else 0.0, x_t, guess.x0)


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
