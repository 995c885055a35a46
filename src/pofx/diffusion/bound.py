r"""bound: the variational bound of a diffusion model, from one random step of the chain.

.. math:: \log p(x) \ge \mathbb{E}_q \Big[ \log p(x | x_1) - \sum_{k=2}^{T} \mathrm{KL}_k \Big]
          - \mathrm{KL}\big(q(x_T | x) \| p(x_T)\big)

Where a step of the chain has the posterior variance beta-tilde and the model has variance v, its
divergence is

.. math:: \mathrm{KL}_k = \frac{1}{2v} \Big( \frac{\alpha_{k-1} \beta_k}{\sigma_k^2} \Big)^2
          \|x_0 - D(x_k, k)\|^2
          + \frac{d}{2} \Big( \frac{\tilde\beta_k}{v} - 1 - \log \frac{\tilde\beta_k}{v} \Big)

Close to the data, where it matters, a value with a density looks flat, for which v = beta is
exact; a discrete value looks like a point, for which v = beta-tilde is. So v follows the support,
element by element.

Where the denoiser has learned how large v is between the two, element by element, it is what it
says, and the whole of the divergence is that of the step drawn.

One step k is drawn with probability pi_k and its error divided by pi_k, which leaves the bound's
expectation what it is. pi is the share that each step has when the data is standard normal:

.. math:: \pi_k \propto \log(1 + \mathrm{snr}_{k-1}) - \log(1 + \mathrm{snr}_k)

The chain ends where the noise is a third of half the distance of two values of discrete data: from
there on the decoder knows the value, and a network's error, small beside that distance, would only
be weighed ever more.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 5, 8 and 13.
    https://arxiv.org/abs/2006.11239
    Variational diffusion models (Kingma et al., 2021), eq. 13 and 14.
    https://arxiv.org/abs/2107.00630
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.diffusion.decoder import log_likelihood
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level, Schedule
from pofx.functional.dequantize import relax, relaxed_width
from pofx.functional.reductions import expand_like, sum_event
from pofx.spec import Categorical, DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample


def elbo(
    denoiser: Denoiser, x: Data, spec: DataSpec, cond: Cond | None = None, *, steps: int = 1000
) -> PerExample:
    """An unbiased one-draw estimate of the bound, nats per example, by two evaluations of D.

    Args:
        denoiser: of relaxed examples.
        x: examples of `spec`.
        spec: of the data.
        cond: a label for each example.
        steps: T, the length of the chain, at least 2.
    """
    y = relax(x, spec)
    chain = Chain(denoiser.schedule, steps, least_noise(spec))
    k = torch.multinomial(chain.share.to(y), y.shape[0], replacement=True)
    last = torch.full_like(k, len(chain.times) - 1)
    level = chain.level(torch.cat([k, last]), y)
    eps = torch.cat([torch.randn_like(y), torch.randn_like(y)])
    x_t = level.alpha * torch.cat([y, y]) + level.sigma * eps
    labels = None if cond is None else torch.cat([cond, cond])
    guess, variance = denoiser.guess(x_t, level, labels)
    guess_k, guess_1 = guess.chunk(2)
    if variance is None:
        flat = _continuous(spec).to(y.device)
        if_flat, if_point = (expand_like(w.to(y)[k], y) for w in chain.weights)
        weight = torch.where(flat, if_flat, if_point)
        error = sum_event(weight * (y - guess_k) ** 2) / chain.share.to(y)[k]
        kl = error + chain.constant * int(flat.expand_as(y[0]).sum())
    else:
        each = chain.divergence(k, y, guess_k, variance.chunk(2)[0])
        kl = sum_event(each) / chain.share.to(y)[k]
    return log_likelihood(x, guess_1, chain.decoder_std, spec) - kl - chain.prior_kl(y)


def least_noise(spec: DataSpec) -> float:
    """A third of half the distance of two values of discrete data, relaxed; 0 where any element
    has a density.

    >>> from pofx.spec import Bytes
    >>> round(least_noise(DataSpec((64,), Bytes(17))), 6)
    0.020833
    """
    halves = [
        1.0 if isinstance(c, Categorical) else 1 / (c.levels - 1) if c.discrete else 0.0
        for c in set(spec.columns)
    ]
    return min(halves) / 3


def _continuous(spec: DataSpec) -> Tensor:
    """Which elements of a relaxed example have a density; one entry where all are alike."""
    if not isinstance(spec.support, Mixed):
        return torch.tensor(not spec.support.discrete)
    widths = [relaxed_width(c) for c in spec.columns]
    each = [not c.discrete for c in spec.columns]
    return torch.tensor([e for e, width in zip(each, widths, strict=True) for _ in range(width)])


class Chain:
    """A chain from t = 1 to the noise-to-signal ratio `least`, or its own last one.

    Its levels; the weight of each step's error, for v = beta and v = beta-tilde; the sum over
    steps of what v = beta costs an element; and the share of each step.

    Args:
        schedule: of the noise.
        steps: T.
        least: where it ends.
    """

    def __init__(self, schedule: Schedule, steps: int, least: float = 0.0) -> None:
        times = schedule.grid(steps)[:-1]
        scales = schedule.scales(times)
        count = max(2, sum(sigma >= least * alpha for alpha, sigma in scales))
        times, scales = times[:count], scales[:count]
        self.times = torch.tensor(times, dtype=torch.float64)
        self.alpha, self.sigma = torch.tensor(scales, dtype=torch.float64).T
        alpha, sigma = self.alpha[:-1], self.sigma[:-1]
        alpha_s, sigma_s = self.alpha[1:], self.sigma[1:]
        self.beta = sigma**2 - (alpha / alpha_s * sigma_s) ** 2
        self.ratio = (sigma_s / sigma) ** 2  # of beta-tilde to beta
        self.square = 0.5 * (alpha_s * self.beta / sigma**2) ** 2
        self.weights = self.square / self.beta, self.square / (self.beta * self.ratio)
        self.constant = float(0.5 * (self.ratio - 1 - self.ratio.log()).sum())
        share = torch.log1p((self.alpha / self.sigma) ** 2).diff()
        self.share = share / share.sum()
        self.decoder_std = float(self.sigma[-1] / self.alpha[-1])
        self.prior_scale = schedule.prior_scale

    def divergence(self, k: Tensor, y: Tensor, guess: Tensor, variance: Tensor) -> Tensor:
        """KL_k of each element, nats, where log v is `variance` of the way from beta-tilde to beta.

        Args:
            k: a step for each example, from 0, the noisiest.
            y: relaxed examples.
            guess: of them.
            variance: in [0, 1].
        """
        square, beta, ratio = (
            expand_like(v.to(y)[k], y) for v in (self.square, self.beta, self.ratio)
        )
        log = variance * ratio.log()  # of beta-tilde / v
        weight = square / (beta * ratio) * log.exp()
        return weight * (y - guess) ** 2 + 0.5 * (torch.expm1(log) - log)

    def level(self, k: Tensor, y: Tensor) -> Level:
        alpha, sigma = (expand_like(v.to(y)[k], y) for v in (self.alpha, self.sigma))
        return Level(self.times.to(y)[k], alpha, sigma)

    def prior_kl(self, y: Tensor) -> PerExample:
        alpha, sigma = float(self.alpha[0]), float(self.sigma[0]) / self.prior_scale
        constant = 0.5 * (sigma**2 - 1 - 2 * math.log(sigma)) * y[0].numel()
        return sum_event(0.5 * (alpha / self.prior_scale * y) ** 2) + constant
