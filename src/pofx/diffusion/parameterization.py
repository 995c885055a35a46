r"""parameterization: what a network predicts, and what that says of data and noise.

Every prediction in use is a mixture of the two, :math:`F = p\, x_0 + q\, \epsilon`. Together with
:math:`x_t = \alpha x_0 + \sigma \epsilon` these are two equations in two unknowns:

.. math:: x_0 = \frac{q\, x_t - \sigma F}{q \alpha - p \sigma}, \qquad
          \epsilon = \frac{\alpha F - p\, x_t}{q \alpha - p \sigma}

So a parameterisation is the pair (p, q), and every conversion follows.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), section 3.2: eps and x0.
    https://arxiv.org/abs/2006.11239
    Progressive distillation for fast sampling of diffusion models (Salimans and Ho, 2022), section
    4 and appendix D: v. https://arxiv.org/abs/2202.00512
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. 7
    and table 1: F. https://arxiv.org/abs/2206.00364
    Flow straight and fast: learning to generate and transfer data with rectified flow (Liu et al.,
    2023), eq. 1: the velocity. https://arxiv.org/abs/2209.03003
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from torch import Tensor

from pofx.diffusion.schedule import Level

Scale = TypeVar("Scale", float, Tensor)


class Parameterization(ABC):
    """What a network predicts: `F = p x0 + q eps`."""

    @abstractmethod
    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        """The pair (p, q) at a noise level."""

    def target(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """What the network should have said of this clean data and this noise."""
        p, q = self.weights(level.alpha, level.sigma)  # type: ignore[type-var]
        return _mix(x0, p, eps, q)

    def clean(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """x0, from what the network said of `x_t`."""
        _, q, determinant = self._solve(level)
        return _mix(x_t, q / determinant, output, -level.sigma / determinant)

    def noise(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """eps, from what the network said of `x_t`."""
        p, _, determinant = self._solve(level)
        return _mix(x_t, -p / determinant, output, level.alpha / determinant)

    def _solve(self, level: Level) -> tuple[float | Tensor, float | Tensor, float | Tensor]:
        p, q = self.weights(level.alpha, level.sigma)  # type: ignore[type-var]
        return p, q, q * level.alpha - p * level.sigma


class Eps(Parameterization):
    """The noise."""

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        return 0.0, 1.0


class X0(Parameterization):
    """The clean data."""

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        return 1.0, 0.0


class V(Parameterization):
    r""":math:`v = \alpha \epsilon - \sigma x_0`: it becomes eps at t = 0 and -x0 at t = 1."""

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        return -sigma, alpha


class Score(Parameterization):
    r""":math:`\nabla \log q(x_t | x_0) = -\epsilon / \sigma`."""

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        return 0.0, -1 / sigma


class Velocity(Parameterization):
    r""":math:`\epsilon - x_0`: where a point of the straight line from data to noise goes."""

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        return -1.0, 1.0


class Preconditioned(Parameterization):
    r"""EDM's F: what is left to say, of unit variance, once the best linear guess is made.

    .. math:: F = \frac{x_0 - c_\text{skip} x_t / \alpha}{c_\text{out}}
                = \frac{\sigma x_0 / s - \alpha s\, \epsilon}{\sqrt{\sigma^2 + \alpha^2 s^2}}

    with s the standard deviation of the data. For s = 1 and a schedule that preserves variance it
    is -v.

    Args:
        data_std: s.
    """

    def __init__(self, data_std: float = 0.5) -> None:
        self.data_std = data_std

    def weights(self, alpha: Scale, sigma: Scale) -> tuple[Scale | float, Scale | float]:
        norm = (sigma**2 + (self.data_std * alpha) ** 2) ** 0.5
        return sigma / (self.data_std * norm), -alpha * self.data_std / norm


def _mix(x: Tensor, a: float | Tensor, y: Tensor, b: float | Tensor) -> Tensor:
    """`a x + b y`: two passes over memory where b is a float, as it is while sampling."""
    if isinstance(b, Tensor):
        return a * x + b * y
    return (x * a).add_(y, alpha=b)
