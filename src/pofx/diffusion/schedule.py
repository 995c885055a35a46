r"""schedule: how much signal and how much noise there is at each time.

A schedule maps a time t in [0, 1] to (alpha, sigma): noisy data is

.. math:: x_t = \alpha_t x_0 + \sigma_t \epsilon, \quad \epsilon \sim N(0, I)

t = 0 is data (alpha = 1, sigma = 0) and t = 1 is noise. A discrete schedule of T steps lives on
the same axis: its step k is the time k / T.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), eq. 4 and section 4.
    https://arxiv.org/abs/2006.11239
    Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021), eq. 17.
    https://arxiv.org/abs/2102.09672
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 25, 29, 31 and 33.
    https://arxiv.org/abs/2011.13456
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), table
    1. https://arxiv.org/abs/2206.00364
    Flow matching for generative modeling (Lipman et al., 2023), eq. 20-22.
    https://arxiv.org/abs/2210.02747
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pofx.errors import UserError

Path = Literal["ratio", "line", "circle"]

_MOST = 100_000
"""Steps of sampling."""


class Level(NamedTuple):
    """A noise level.

    Args:
        t: one time for each example, `(n,)`.
        alpha: signal scale: one float for the whole batch, or a tensor that broadcasts over the
            examples.
        sigma: noise scale, likewise.
    """

    t: Tensor
    alpha: float | Tensor
    sigma: float | Tensor


class Schedule(nn.Module, ABC):
    """A map from time to (alpha, sigma), each of the shape and dtype of t."""

    prior_scale: float = 1.0
    """The standard deviation of the noise that sampling starts from, at t = 1."""
    first: float = 1e-3
    """The earliest time, above 0, at which sampling asks a denoiser."""
    last: float = 1.0
    """The latest time that still has a signal-to-noise ratio."""
    path: Path = "ratio"
    """What a slope is taken along: sigma / alpha, sigma / (alpha + sigma), or the angle of the two,
    which is bounded where there is no signal."""

    @abstractmethod
    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at each time."""

    @abstractmethod
    def time(self, ratio: Tensor) -> Tensor:
        """The time at which sigma / alpha is this positive number; the inverse of `forward`."""

    def ratio(self, t: float) -> float:
        """Sigma / alpha at a time; infinite where there is no signal."""
        ((alpha, sigma),) = self.scales([t])
        return sigma / alpha if alpha else math.inf

    def rates(self, times: list[float]) -> list[tuple[float, float]]:
        r"""The noising equation at each time: :math:`dx = f x\, dt + g\, dw` as (f, g^2).

        .. math:: f = \frac{d \log \alpha}{dt}, \qquad
                  g^2 = \frac{d \sigma^2}{dt} - 2 f \sigma^2
        """
        t = torch.tensor(times, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            alpha, sigma = self(t)
            (growth,) = torch.autograd.grad(sigma.square().sum(), t, retain_graph=True)
            f = torch.zeros_like(t)
            if alpha.requires_grad:
                (f,) = torch.autograd.grad(alpha.log().sum(), t)
        square = growth - 2 * f * sigma.detach() ** 2
        return list(zip(f.tolist(), square.tolist(), strict=True))

    def level(self, t: Tensor, ndim: int) -> Level:
        """The level of each example, ready to broadcast over a batch with `ndim` axes."""
        shape = (-1, *(1,) * (ndim - 1))
        alpha, sigma = self(t)
        return Level(t, alpha.reshape(shape), sigma.reshape(shape))

    def scales(self, times: list[float]) -> list[tuple[float, float]]:
        """(alpha, sigma) at each time as plain floats, all in one call."""
        alpha, sigma = self(torch.tensor(times, dtype=torch.float64))
        return list(zip(alpha.tolist(), sigma.tolist(), strict=True))

    def grid(self, steps: int) -> list[float]:
        """`steps + 1` times from 1 down to 0, none twice."""
        check_steps(steps)
        return [1 - i / steps for i in range(steps)] + [0.0]


class VariancePreserving(Schedule):
    r"""A schedule with :math:`\alpha^2 + \sigma^2 = 1`, given by log alpha."""

    path = "circle"

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """The natural logarithm of alpha at each time."""

    @abstractmethod
    def time_of(self, log_alpha: Tensor) -> Tensor:
        """The time at which log alpha is this."""

    def time(self, ratio: Tensor) -> Tensor:
        return self.time_of(-0.5 * torch.log1p(ratio**2))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(t)
        return log_alpha.exp(), torch.expm1(2 * log_alpha).neg().sqrt()


class VP(VariancePreserving):
    r"""The continuous schedule of a noise rate that rises linearly.

    .. math:: \log \alpha_t = -\tfrac14 t^2 (\beta_1 - \beta_0) - \tfrac12 t \beta_0

    References:
        Score-based generative modeling through SDEs (Song et al., 2021), eq. 33.

    >>> alpha, sigma = VP()(torch.tensor(0.5))
    >>> torch.isclose(alpha**2 + sigma**2, torch.tensor(1.0))
    tensor(True)
    """

    def __init__(self, beta_0: float = 0.1, beta_1: float = 20.0) -> None:
        super().__init__()
        self.beta_0, self.beta_1 = beta_0, beta_1

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_1 - self.beta_0) - 0.5 * t * self.beta_0

    def time_of(self, log_alpha: Tensor) -> Tensor:
        root = (self.beta_0**2 - 4 * (self.beta_1 - self.beta_0) * log_alpha).sqrt()
        return -4 * log_alpha / (self.beta_0 + root)


class SubVP(VP):
    r"""Less noise than VP has beside the same signal: :math:`\sigma_t = 1 - \alpha_t^2`.

    References:
        Score-based generative modeling through SDEs (Song et al., 2021), eq. 29.
    """

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(t)
        return log_alpha.exp(), torch.expm1(2 * log_alpha).neg()

    def time(self, ratio: Tensor) -> Tensor:
        # alpha = (sqrt(ratio^2 + 4) - ratio) / 2, whose logarithm is -asinh(ratio / 2)
        return self.time_of(-torch.asinh(ratio / 2))


class DiscreteVP(VariancePreserving):
    r"""A Markov chain of T steps; step k is the time k / T.

    .. math:: x_k = \sqrt{1 - \beta_k} x_{k-1} + \sqrt{\beta_k} \epsilon, \quad
              \bar\alpha_k = \prod_{j \le k} (1 - \beta_j), \quad \alpha_t = \sqrt{\bar\alpha_{tT}}

    Between two steps log alpha is interpolated linearly, so that the schedule is defined at every
    time.

    Args:
        betas: `beta_1 .. beta_T`, float64.

    References:
        Denoising diffusion probabilistic models (Ho et al., 2020), eq. 2 and 4.
    """

    log_alphas: Tensor

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        self.steps = len(betas)
        log_alphas = torch.cat([betas.new_zeros(1), 0.5 * torch.log1p(-betas).cumsum(0)])
        self.register_buffer("log_alphas", log_alphas, persistent=False)
        self.first = 1 / self.steps

    def log_alpha(self, t: Tensor) -> Tensor:
        table = self.log_alphas.to(t)
        position = t * self.steps
        k = position.floor().long().clamp(0, self.steps - 1)
        return torch.lerp(table[k], table[k + 1], position - k)

    def time_of(self, log_alpha: Tensor) -> Tensor:
        table = self.log_alphas.to(log_alpha)
        k = torch.searchsorted(-table, -log_alpha).clamp(1, self.steps)
        share = (log_alpha - table[k - 1]) / (table[k] - table[k - 1])
        return (k - 1 + share) / self.steps

    def grid(self, steps: int) -> list[float]:
        """`steps` of the chain's times, evenly spaced from the last to the first, and then 0."""
        if not 1 <= steps <= self.steps:
            raise UserError(
                f"sampling takes from 1 to {self.steps} steps on this schedule, and {steps} came."
            )
        last = self.steps - 1
        indices = [round(last - i * last / max(steps - 1, 1)) for i in range(steps)]
        return [(k + 1) / self.steps for k in indices] + [0.0]


class LinearVP(DiscreteVP):
    r"""Noise rates that rise linearly from 1e-4 to 0.02 in 1,000 steps.

    References:
        Denoising diffusion probabilistic models (Ho et al., 2020), section 4.
    """

    def __init__(self, steps: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> None:
        super().__init__(torch.linspace(beta_1, beta_T, steps, dtype=torch.float64))


class CosineVP(DiscreteVP):
    r"""abar falls as a squared cosine; no rate is above .999.

    .. math:: \bar\alpha_k = f(k/T) / f(0), \quad
              f(t) = \cos^2\Big(\frac{t + s}{1 + s} \frac{\pi}{2}\Big)

    References:
        Improved denoising diffusion probabilistic models (Nichol and Dhariwal, 2021), eq. 17.
    """

    def __init__(self, steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> None:
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        f = torch.cos((t + offset) / (1 + offset) * (math.pi / 2)) ** 2
        super().__init__((1 - f[1:] / f[:-1]).clamp(max=largest))


class VE(Schedule):
    r"""Noise that grows by a constant factor in equal times; the data keep their scale.

    .. math:: \alpha_t = 1, \quad
              \sigma_t^2 = \sigma_\min^2 \big((\sigma_\max / \sigma_\min)^{2t} - 1\big)

    Args:
        sigma_min: noise that cannot be told from none.
        sigma_max: noise in which data cannot be seen.

    References:
        Score-based generative modeling through SDEs (Song et al., 2021), eq. 29 and 31.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        super().__init__()
        self.sigma_min, self.rate = sigma_min, 2 * math.log(sigma_max / sigma_min)
        self.prior_scale = sigma_min * math.sqrt(math.expm1(self.rate))
        self.first = math.log(2) / self.rate

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_min * torch.expm1(self.rate * t).sqrt()

    def time(self, ratio: Tensor) -> Tensor:
        return torch.log1p((ratio / self.sigma_min) ** 2) / self.rate

    def grid(self, steps: int) -> list[float]:
        """`steps` times from 1 to that of the least noise, evenly spaced, and then 0."""
        return evenly(1.0, self.first, steps)


class EDM(Schedule):
    r"""The data keep their scale, and equal times lie as densely as matters at each noise level.

    .. math:: \alpha_t = 1, \quad \sigma_t = \sigma_\max t^\rho

    Args:
        sigma_min: noise that cannot be told from none.
        sigma_max: noise in which data cannot be seen.
        rho: how much denser small noise levels lie.

    References:
        Elucidating the design space of diffusion-based generative models (Karras et al., 2022),
        table 1 and eq. 5.

    Note:
        The paper's time is sigma itself, and its time steps are eq. 5; here that warp is in the
        schedule, so that a network is told a time on which every noise level has its room.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        super().__init__()
        self.sigma_max, self.rho = sigma_max, rho
        self.prior_scale = sigma_max
        self.first = (sigma_min / sigma_max) ** (1 / rho)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t**self.rho

    def time(self, ratio: Tensor) -> Tensor:
        return (ratio / self.sigma_max) ** (1 / self.rho)

    def grid(self, steps: int) -> list[float]:
        """`steps` times from 1 to that of the least noise, evenly spaced, and then 0."""
        return evenly(1.0, self.first, steps)


class Rectified(Schedule):
    r"""The straight line from data to noise: :math:`\alpha_t = 1 - t, \sigma_t = t`.

    References:
        Flow straight and fast: learning to generate and transfer data with rectified flow (Liu et
        al., 2023), eq. 1. https://arxiv.org/abs/2209.03003
        Flow matching for generative modeling (Lipman et al., 2023), eq. 20-22, with time reversed.
    """

    last = 0.999
    path = "line"

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t.clone()

    def time(self, ratio: Tensor) -> Tensor:
        return 1 - 1 / (1 + ratio)


def evenly(start: float, end: float, steps: int) -> list[float]:
    """`steps` times from `start` to `end`, evenly spaced, and then 0.

    >>> evenly(1.0, 0.5, 3)
    [1.0, 0.75, 0.5, 0.0]
    """
    check_steps(steps)
    return [start + (end - start) * i / max(steps - 1, 1) for i in range(steps)] + [0.0]


def check_steps(steps: int) -> None:
    """Refuses a count of steps that no sampling takes."""
    if not 1 <= steps <= _MOST:
        raise UserError(
            f"sampling takes at least 1 step and at most {_MOST:,}, and {steps:,} came."
        )
