r"""predictor_corrector: Score-based generative modeling through stochastic differential equations (Song et al., 2021).

After each step of ancestral sampling, Langevin dynamics at the noise level reached:

.. math:: x \leftarrow x + \varepsilon \nabla \log p_t(x) + \sqrt{2 \varepsilon}\, z, \quad
          \varepsilon = 2 (r \sigma_t)^2

References:
    Score-based generative modeling through SDEs (Song et al., 2021), algorithms 1, 4 and 5.
    https://arxiv.org/abs/2011.13456

Note:
    The paper's epsilon has the ratio of the norms of the noise and the score of a batch in place of
    sigma, which is what that ratio is about; so an example never depends on its neighbours.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.sampler import Coefficients, PlannedSampler, Sampler, State, blend, levels
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.typing import Cond, Data


class PredictorCorrector(Sampler):
    """Two evaluations in a step, one in the last.

    Args:
        predictor: takes the steps.
        snr: r, how large the corrector's steps are.
        corrections: Langevin steps after each.
    """

    def __init__(
        self,
        predictor: PlannedSampler | None = None,
        *,
        snr: float = 0.16,
        corrections: int = 1,
    ) -> None:
        self.predictor = predictor or Ancestral("small")
        self.snr, self.corrections = snr, corrections

    @torch.no_grad()
    def trajectory(
        self, denoiser: Denoiser, x_t: Data, times: list[float], cond: Cond | None = None
    ) -> Iterator[State]:
        at = levels(denoiser.schedule, times, x_t)
        for i, step in enumerate(self.predictor.plan(denoiser.schedule, times)):
            x0 = _apply(step, denoiser.denoise(x_t, at[i], cond), x_t)
            if times[i + 1] > 0:
                correction = self.correction(float(at[i + 1].alpha), float(at[i + 1].sigma))
                for _ in range(self.corrections):
                    x0 = _apply(correction, denoiser.denoise(x_t, at[i + 1], cond), x_t)
            yield State(times[i + 1], x_t, x0)

    def correction(self, alpha: float, sigma: float) -> Coefficients:
        """A Langevin step; the score is `(alpha x0 - x) / sigma^2`."""
        share = 2 * self.snr**2  # epsilon / sigma^2
        return Coefficients(1 - share, share * alpha, sigma * math.sqrt(2 * share))


def _apply(step: Coefficients, x0: Data, x_t: Data) -> Data:
    """Takes a step in place, and passes the guess on."""
    blend(x_t, step.keep, step.clean, x0)
    if step.noise:
        x_t.add_(torch.randn_like(x_t), alpha=step.noise)
    return x0
