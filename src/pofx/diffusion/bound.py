r"""bound: the variational bound of a diffusion model, from one random step of the chain.

.. math:: \log p(x) \ge \mathbb{E}_q \Big[ \log p(x | x_1) - \sum_{k=2}^{T} \mathrm{KL}_k \Big] - \mathrm{KL}\big(q(x_T | x) \| p(x_T)\big)

With the reverse variance beta-tilde both sides of a step have one variance, and its divergence is a weighted squared error:

.. math:: \mathrm{KL}_k = \tfrac12 \Big(\frac{\alpha_{k-1}^2}{\sigma_{k-1}^2} - \frac{\alpha_k^2}{\sigma_k^2}\Big) \|x_0 - D(x_k, k)\|^2

One step k is drawn with probability pi_k and its term divided by pi_k, which leaves the bound's expectation what it is. pi is
the share that each step has when the data is standard normal, :math:`\pi_k \propto \log(1 + \mathrm{snr}_{k-1}) - \log(1 + \mathrm{snr}_k)`.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 5, 8 and 13. https://arxiv.org/abs/2006.11239
    Variational diffusion models (Kingma et al., 2021), eq. 13 and 14. https://arxiv.org/abs/2107.00630
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.diffusion.decoder import log_likelihood
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level
from pofx.functional.dequantize import relax
from pofx.functional.reductions import expand_like, sum_event
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


def elbo(
    denoiser: Denoiser, x: Data, spec: DataSpec, cond: Cond | None = None, *, steps: int = 1000
) -> PerExample:
    """An unbiased one-draw estimate of the bound, nats per example; two evaluations of the denoiser.

    Args:
        denoiser: of relaxed examples.
        x: examples of `spec`.
        spec: of the data.
        cond: a label for each example.
        steps: T, the length of the chain, at least 2.
    """
    y = relax(x, spec)
    chain = _Chain(denoiser, steps)
    k = torch.multinomial(chain.share.to(y), y.shape[0], replacement=True)
    drawn = chain.level(k, y)
    last = chain.level(torch.full_like(k, steps - 1), y)
    x_k, x_1 = _noisy(y, drawn), _noisy(y, last)
    both = Level(*(torch.cat([a, b]) for a, b in zip(drawn, last, strict=True)))  # type: ignore[arg-type]
    labels = None if cond is None else torch.cat([cond, cond])
    guess_k, guess_1 = denoiser.denoise(torch.cat([x_k, x_1]), both, labels).chunk(2)
    kl = chain.weight.to(y)[k] * sum_event((y - guess_k) ** 2) / chain.share.to(y)[k]
    return log_likelihood(x, guess_1, chain.decoder_std, spec) - kl - chain.prior_kl(y)


class _Chain:
    """The levels of a chain from t = 1 to data, and the weight and the share of each of its divergences."""

    def __init__(self, denoiser: Denoiser, steps: int) -> None:
        times = denoiser.schedule.grid(steps)[:-1]
        self.times = torch.tensor(times, dtype=torch.float64)
        scales = denoiser.schedule.scales(times)
        self.alpha, self.sigma = torch.tensor(scales, dtype=torch.float64).T
        snr = (self.alpha / self.sigma) ** 2
        self.weight = 0.5 * snr.diff()
        share = torch.log1p(snr).diff()
        self.share = share / share.sum()
        self.decoder_std = float(self.sigma[-1] / self.alpha[-1])
        self.prior_scale = denoiser.schedule.prior_scale

    def level(self, k: Tensor, y: Tensor) -> Level:
        alpha, sigma = (expand_like(v.to(y)[k], y) for v in (self.alpha, self.sigma))
        return Level(self.times.to(y)[k], alpha, sigma)

    def prior_kl(self, y: Tensor) -> PerExample:
        alpha, sigma = float(self.alpha[0]), float(self.sigma[0]) / self.prior_scale
        constant = 0.5 * (sigma**2 - 1 - 2 * math.log(sigma)) * y[0].numel()
        return sum_event(0.5 * (alpha / self.prior_scale * y) ** 2) + constant


def _noisy(y: Tensor, level: Level) -> Tensor:
    return level.alpha * y + level.sigma * torch.randn_like(y)
