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

import math
from collections.abc import Iterator

import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Sampler, State, levels
from pofx.errors import UserError
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
            with torch.no_grad():
                for _ in range(self.steps):
                    # the score is (alpha x0 - x) / sigma^2
                    x0 = denoiser.denoise(x_t, level, cond)
                    x_t.mul_(1 - self.rate).add_(x0, alpha=self.rate * float(level.alpha))
                    noise = float(level.sigma) * math.sqrt(2 * self.rate)
                    x_t.add_(torch.randn_like(x_t), alpha=noise)
                if not s:
                    x0 = denoiser.denoise(x_t, level, cond)
                    x_t.copy_(x0)
            yield State(t if s else 0.0, x_t, x0)
