r"""editing: samples that agree with what is known, or stay near what is given.

Where elements are known, the guess of the clean data is what they are; the sampler then carries
their noisy values along the way that forward noise would have made, and the network sees them:

.. math:: D'(x_t) = m \odot x + (1 - m) \odot D(x_t)

The rest follows the known elements only through the network. Going back to the noise and down
again, several times in each step, lets the two agree.

Near what is given stays whatever starts from a noisy version of it in place of pure noise.

References:
    Score-based generative modeling through SDEs (Song et al., 2021), section 5 and appendix I.2:
    replacement. https://arxiv.org/abs/2011.13456
    RePaint: inpainting using denoising diffusion probabilistic models (Lugmayr et al., 2022),
    algorithm 1. https://arxiv.org/abs/2201.09865
    SDEdit: guided image synthesis and editing with stochastic differential equations (Meng et al.,
    2022), algorithm 1. https://arxiv.org/abs/2108.01073
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Sampler, State, transition
from pofx.diffusion.schedule import Level
from pofx.errors import UserError
from pofx.functional.dequantize import relaxed_width
from pofx.spec import Categorical, DataSpec
from pofx.typing import Cond, Data


class Known(Denoiser):
    """Another denoiser's guess, but where the data are known.

    Args:
        denoiser: guesses the rest.
        x: the data, relaxed, `(n, *event)`.
        known: which elements of them are, bool, of the event's shape.
    """

    def __init__(self, denoiser: Denoiser, x: Data, known: Tensor) -> None:
        super().__init__(denoiser.schedule, denoiser.cond)
        self.denoiser, self.x, self.known = denoiser, x, known
        self.learns_variance = denoiser.learns_variance

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        return self.guess(x_t, level, cond)[0]

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        x0, variance = self.denoiser.guess(x_t, level, cond)
        return torch.where(self.known, self.x, x0), variance


class Repeated(Sampler):
    """Takes every step several times, with noise in between that goes the step back.

    Args:
        sampler: takes the steps, each for itself.
        times: how often; 1 only takes them one by one.
    """

    def __init__(self, sampler: Sampler, times: int) -> None:
        if times < 1:
            raise UserError(f"a step is taken at least once, and {times} came.")
        self.sampler, self.times = sampler, times

    def check(self, denoiser: Denoiser) -> None:
        self.sampler.check(denoiser)

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        schedule, quiet = denoiser.schedule, torch.no_grad()
        for t, s in pairwise(times):
            reached = t
            for _ in range(self.times if s else 1):
                if reached < t:
                    scale, variance = transition(*schedule.scales([t, reached]))
                    with quiet:
                        x_t.mul_(scale).add_(torch.randn_like(x_t), alpha=variance**0.5)
                *_, state = self.sampler.trajectory(denoiser, x_t, [t, s], cond)
                reached = state.t
            yield state


def widened(known: Tensor, spec: DataSpec) -> Tensor:
    """Which elements of a relaxed example are known: all of a known category."""
    if not any(isinstance(c, Categorical) for c in spec.columns):
        return known
    widths = [relaxed_width(c) for c in spec.columns]
    return known.flatten().repeat_interleave(torch.tensor(widths, device=known.device))


def below(times: list[float], strength: float) -> list[float]:
    """The part of a grid of times from `strength` down; one step at the least.

    >>> below([1.0, 0.6, 0.3, 0.0], 0.5), below([1.0, 0.6, 0.3, 0.0], 0.1)
    ([0.3, 0.0], [0.3, 0.0])

    Raises:
        UserError: the strength is not above 0, or above 1.
    """
    if not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise UserError(f"the strength of an edit is above 0 and at most 1, and {strength} came.")
    return [*([t for t in times if 0 < t <= strength] or times[-2:-1]), 0.0]
