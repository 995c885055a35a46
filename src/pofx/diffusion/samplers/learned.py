r"""learned: Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021).

The steps of `ancestral` with the variances that the denoiser has learned, element by element:

.. math:: \log v = u \log \beta + (1 - u) \log \tilde\beta

For fewer steps than the chain has, beta and beta-tilde are those of the longer steps.

References:
    Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021), eq. 15 and 19.
    https://arxiv.org/abs/2102.09672
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Sampler, State, levels, transition
from pofx.errors import UserError
from pofx.typing import Cond, Data


class LearnedAncestral(Sampler):
    """Its last step, to t = 0, adds no noise."""

    def check(self, denoiser: Denoiser) -> None:
        if not denoiser.learns_variance:
            raise UserError(
                "the sampler 'ancestral-learned' needs learned variances, and this model has "
                "none; take 'ancestral', or train improved-ddpm."
            )

    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        self.check(denoiser)
        steps = pairwise(denoiser.schedule.scales(times))
        path = zip(steps, levels(denoiser.schedule, times, x_t), times[1:], strict=False)
        for (t, s), level, time in path:
            alpha, beta = transition(t, s)
            ratio = (s[1] / t[1]) ** 2
            with torch.no_grad():
                x0, share = denoiser.guess(x_t, level, cond)
                assert share is not None
                x_t.mul_(alpha * ratio).add_(x0, alpha=s[0] * beta / t[1] ** 2)
                if ratio:
                    std = torch.exp((1 - share) * (0.5 * math.log(ratio))) * math.sqrt(beta)
                    x_t.addcmul_(std, torch.randn_like(x_t))
            yield State(time, x_t, x0)
