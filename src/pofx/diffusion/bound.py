r"""bound: the variational bound of a diffusion model, from one random step of the chain.

.. math:: \log p(x) \ge \mathbb{E}_q \Big[ \log p(x | x_1) - \sum_{k=2}^{T} \mathrm{KL}_k \Big]
          - \mathrm{KL}\big(q(x_T | x) \| p(x_T)\big)

Where a step of the chain has the posterior variance beta-tilde and the model has variance v, its
divergence is

.. math:: \mathrm{KL}_k = \frac{1}{2v} \Big( \frac{\alpha_{k-1} \beta_k}{\sigma_k^2} \Big)^2
          \|x_0 - D(x_k, k)\|^2
          + \frac{d}{2} \Big( \frac{\tilde\beta_k}{v} - 1 - \log \frac{\tilde\beta_k}{v} \Big)

Close to the data, where it matters, a value with a density looks flat, for which v = beta is
exact; a discrete value looks like a point, for which v = beta-tilde is. Where it is one of two, -1
and 1, as a bit and each number of a category's embedding are, what the guess leaves open is its
variance, 1 - D^2, and the best v is known:

.. math:: v = \tilde\beta_k + \Big( \frac{\alpha_{k-1} \beta_k}{\sigma_k^2} \Big)^2 (1 - D^2)

So v follows the support, element by element.

Where the denoiser has learned how large v is between the two, element by element, it is what it
says, and the whole of the divergence is that of the step drawn.

One step k is drawn with probability pi_k and its error divided by pi_k, which leaves the bound's
expectation what it is. pi is the share that each step has when elements are independent, each
standard normal, or, where it is one of two values, either as likely:

.. math:: \pi_k \propto \int_{\mathrm{snr}_k}^{\mathrm{snr}_{k-1}} \mathrm{mmse}(\gamma)\, d\gamma,
    \qquad \mathrm{mmse}(\gamma) = \frac{1}{1 + \gamma}
    \quad \text{or} \quad
    1 - \mathbb{E}_{z \sim \mathcal{N}(0, 1)} \tanh(\gamma - \sqrt{\gamma}\, z)

The chain ends where the noise is a third of half the distance of two values of discrete data: from
there on the decoder knows the value, and a network's error, small beside that distance, would only
be weighed ever more.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 5, 8 and 13.
    https://arxiv.org/abs/2006.11239
    Variational diffusion models (Kingma et al., 2021), eq. 13 and 14.
    https://arxiv.org/abs/2107.00630
    Mutual information and minimum mean-square error in Gaussian channels (Guo et al., 2005), eq.
    17: mmse of two values. https://arxiv.org/abs/cs/0412108
    Analytic-DPM: an analytic estimate of the optimal reverse variance in diffusion probabilistic
    models (Bao et al., 2022), theorem 1: the best v. https://arxiv.org/abs/2201.06503
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.diffusion.decoder import log_likelihood
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level, Schedule
from pofx.functional.dequantize import relax, relaxed_width
from pofx.functional.reductions import expand_like, sum_event
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Simple
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
    flat, pair = (_which(spec, kinds).to(y.device) for kinds in (_has_density, _is_pair))
    chain = Chain(denoiser.schedule, steps, least_noise(spec), pairs=float(pair.double().mean()))
    k = torch.multinomial(chain.share.to(y), y.shape[0], replacement=True)
    last = torch.full_like(k, len(chain.times) - 1)
    level = chain.level(torch.cat([k, last]), y)
    eps = torch.cat([torch.randn_like(y), torch.randn_like(y)])
    x_t = level.alpha * torch.cat([y, y]) + level.sigma * eps
    labels = None if cond is None else torch.cat([cond, cond])
    guess, variance = denoiser.guess(x_t, level, labels)
    guess_k, guess_1 = guess.chunk(2)
    if variance is None:
        if_flat, if_point = (expand_like(w.to(y)[k], y) for w in chain.weights)
        error = torch.where(flat, if_flat, if_point) * (y - guess_k) ** 2
        each = torch.where(pair, chain.divergence_of_pairs(k, y, guess_k), error)
        constant = chain.constant * int(flat.expand_as(y[0]).sum())
        kl = sum_event(each) / chain.share.to(y)[k] + constant
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


def _which(spec: DataSpec, is_one: Callable[[Simple], bool]) -> Tensor:
    """Which elements of a relaxed example are of some supports; one entry where all are alike."""
    if not isinstance(spec.support, Mixed):
        return torch.tensor(is_one(spec.support))
    return torch.tensor([is_one(c) for c in spec.columns for _ in range(relaxed_width(c))])


def _has_density(support: Simple) -> bool:
    return not support.discrete


def _is_pair(support: Simple) -> bool:
    return isinstance(support, Binary | Categorical)


def _mmse_of_pair(snr: Tensor) -> Tensor:
    """How well -1 and 1 can be told apart at best, in the mean square, `(k,)`."""
    z = torch.linspace(-8, 8, 401, dtype=snr.dtype, device=snr.device)
    p = torch.exp(-0.5 * z**2)
    found = 1 - torch.tanh(snr[:, None] - snr.sqrt()[:, None] * z)
    return (found * (p / p.sum())).sum(1)


class Chain:
    """A chain from t = 1 to the noise-to-signal ratio `least`, or its own last one.

    Its levels; the weight of each step's error, for v = beta and v = beta-tilde; the sum over
    steps of what v = beta costs an element; and the share of each step.

    Args:
        schedule: of the noise.
        steps: T.
        least: where it ends.
        pairs: the share of elements that are one of two values.
    """

    def __init__(
        self, schedule: Schedule, steps: int, least: float = 0.0, *, pairs: float = 0.0
    ) -> None:
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
        snr = (self.alpha / self.sigma) ** 2
        share = (1 - pairs) * snr.log1p().diff()
        if pairs:
            share += pairs * snr.diff() * _mmse_of_pair((snr[1:] + snr[:-1]) / 2)
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
        _, ratio = self._step(k, y)
        return self._divergence(k, y, guess, variance * ratio.log())

    def divergence_of_pairs(self, k: Tensor, y: Tensor, guess: Tensor) -> Tensor:
        """KL_k of elements that are -1 or 1, nats, by the best v; arguments as for `divergence`."""
        weight, _ = self._step(k, y)
        return self._divergence(k, y, guess, -torch.log1p(2 * weight * (1 - guess**2).clamp(min=0)))

    def _divergence(self, k: Tensor, y: Tensor, guess: Tensor, log: Tensor) -> Tensor:
        """KL_k, given the log of beta-tilde / v."""
        weight, _ = self._step(k, y)
        return weight * log.exp() * (y - guess) ** 2 + 0.5 * (torch.expm1(log) - log)

    def _step(self, k: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The weight of an error if v were beta-tilde, and the ratio of that to beta."""
        weight, ratio = (expand_like(v.to(y)[k], y) for v in (self.weights[1], self.ratio))
        return weight, ratio

    def level(self, k: Tensor, y: Tensor) -> Level:
        alpha, sigma = (expand_like(v.to(y)[k], y) for v in (self.alpha, self.sigma))
        return Level(self.times.to(y)[k], alpha, sigma)

    def prior_kl(self, y: Tensor) -> PerExample:
        alpha, sigma = float(self.alpha[0]), float(self.sigma[0]) / self.prior_scale
        constant = 0.5 * (sigma**2 - 1 - 2 * math.log(sigma)) * y[0].numel()
        return sum_event(0.5 * (alpha / self.prior_scale * y) ** 2) + constant
