r"""analytic: the best denoiser of a mixture of round Gaussians, in closed form.

.. math:: p(x_0) = \sum_k \pi_k N(\mu_k, s_k^2 I) \quad \Longrightarrow \quad
    p(x_t) = \sum_k \pi_k N(\alpha \mu_k, v_k I), \quad v_k = \alpha^2 s_k^2 + \sigma^2

.. math:: D(x_t) = \sum_k p(k | x_t) \Big(\mu_k + \frac{\alpha s_k^2}{v_k} (x_t - \alpha \mu_k)\Big)

Whatever a sampler, a likelihood or a network gets wrong of it is its own error.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level, Schedule
from pofx.spec import class_spec
from pofx.typing import Cond, Data, PerExample


class Mixture(Denoiser):
    """Of vectors. Given a class it is the component of that number, else all of them.

    Args:
        schedule: of the noise.
        weights: pi, `(k,)`; they sum to one.
        means: mu, `(k, d)`.
        stds: s, `(k,)`.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor

    def __init__(self, schedule: Schedule, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        super().__init__(schedule, class_spec(len(weights)))
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("stds", stds)

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        alpha, variance, joint = self._parts(x_t, level)
        share = joint.softmax(1)
        if cond is not None:
            own = torch.nn.functional.one_hot(cond + 1, len(self.weights) + 1)[:, 1:].to(share)
            share = torch.where((cond < 0)[:, None], share, own)
        gain = alpha * self.stds**2 / variance
        return (share * (1 - gain * alpha)) @ self.means + (share * gain).sum(1, True) * x_t

    def log_prob(self, x_t: Data, level: Level) -> PerExample:
        """Log p(x_t), nats per example."""
        return self._parts(x_t, level)[2].logsumexp(1)

    def log_class(self, x_t: Data, level: Level, cond: Cond) -> PerExample:
        """Log p(class | x_t), as a perfect classifier of noisy data says it."""
        joint = self._parts(x_t, level)[2].log_softmax(1)
        return joint.gather(1, cond[:, None])[:, 0]

    def _parts(self, x_t: Data, level: Level) -> tuple[float | Tensor, Tensor, Tensor]:
        """Alpha, the variance of each component, and the log of each one's weighted density."""
        alpha, sigma = level.alpha, level.sigma
        variance = alpha**2 * self.stds**2 + sigma**2
        cross = x_t @ self.means.T
        square = x_t.square().sum(1, True) - 2 * alpha * cross
        square = square + alpha**2 * self.means.square().sum(1)
        size = self.means.shape[1]
        log_density = -0.5 * (square / variance + size * torch.log(2 * math.pi * variance))
        return alpha, variance, self.weights.log() + log_density
