r"""denoiser: the best guess of the clean data, :math:`D(x_t, t) = \mathbb{E}[x_0 | x_t]`.

It hides what the network predicts; samplers, guidance and bounds know nothing but D. The score
follows from it:

.. math:: \nabla \log p_t(x_t) = \frac{\alpha_t D(x_t, t) - x_t}{\sigma_t^2}

References:
    Tweedie's formula and selection bias (Efron, 2011), eq. 1.4.
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. 3.
    https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pofx.diffusion.marginals import Marginals
from pofx.diffusion.parameterization import Parameterization
from pofx.diffusion.schedule import Level, Schedule
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class Denoiser(nn.Module, ABC):
    """Maps noisy data to the mean of the clean data that it may have come from.

    Args:
        schedule: of the noise.
        cond: the spec of the condition; None if there is none.
    """

    learns_variance = False
    """Whether `guess` says something of the variance."""

    def __init__(self, schedule: Schedule, cond: DataSpec | None = None) -> None:
        super().__init__()
        self.schedule, self.cond = schedule, cond

    @abstractmethod
    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        """E[x0 | x_t] at a noise level; a new tensor, which the caller may overwrite."""

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        """E[x0 | x_t], and, where that is learned, how large the variance of a step back is: from 0
        (beta-tilde) to 1 (beta) in its logarithm, element by element.
        """
        return self.denoise(x_t, level, cond), None

    def forward(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """E[x0 | x_t] at a time for each example."""
        return self.denoise(x_t, self.schedule.level(t, x_t.ndim), cond)

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """The gradient of log p_t at `x_t`."""
        level = self.schedule.level(t, x_t.ndim)
        return score_of_guess(self.denoise(x_t, level, cond), x_t, level)


def score_of_guess(x0: Data, x_t: Data, level: Level) -> Data:
    """The score that a guess of the clean data stands for."""
    return (level.alpha * x0 - x_t) / level.sigma**2


class NetworkDenoiser(Denoiser):
    r"""A network `(x, t, cond) -> F`, of the shape of x, with the meaning of F.

    Args:
        network: learns F.
        schedule: of the noise.
        parameterization: what F is.
        cond: the spec of the condition that the network knows; None leaves it out.
        data_std: the standard deviation s of the data, for a network that is shown
            :math:`x_t / \sqrt{\alpha^2 s^2 + \sigma^2}`; None shows it x_t.
        learns_variance: whether the network has a second output, what `guess` says of the variance.
        marginals: what F adds to: the best guess of each element alone; None adds to nothing.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        parameterization: Parameterization,
        cond: DataSpec | None = None,
        *,
        data_std: float | None = None,
        learns_variance: bool = False,
        marginals: Marginals | None = None,
    ) -> None:
        super().__init__(schedule, cond)
        self.network, self.parameterization = network, parameterization
        self.data_std, self.learns_variance = data_std, learns_variance
        self.marginals = marginals

    def outputs(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """F, and the second output if there is one; without a `cond` nothing is said of
        the condition.
        """
        shown = x_t
        if self.data_std is not None:
            shown = x_t / ((level.alpha * self.data_std) ** 2 + level.sigma**2) ** 0.5
        y = self.network(shown, level.t, None if self.cond is None else cond)
        first, second = y.chunk(2, 1) if self.learns_variance else (y, None)
        if self.marginals is not None:
            first = first + self._of_marginals(x_t, level, self.marginals)
        return first, second

    def _of_marginals(self, x_t: Data, level: Level, marginals: Marginals) -> Tensor:
        """What the network would say if each element had only itself to tell it; 0 where they have
        no such guess.
        """
        x0, mine = marginals.guess(x_t, level)
        eps = (x_t - level.alpha * x0) / level.sigma
        return torch.where(mine, self.parameterization.target(x0, eps, level), 0.0)

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        return self.guess(x_t, level, cond)[0]

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        output, second = self.outputs(x_t, level, cond)
        x0 = self.parameterization.clean(output.to(x_t.dtype), x_t, level)
        return x0, None if second is None else (second.to(x_t.dtype) + 1) / 2


class Clip(Denoiser):
    """Keeps another denoiser's guess where data can be: in `[-bound, bound]`.

    Args:
        denoiser: the one to clip.
        bound: one number, or one for each element of an example.

    References:
        Denoising diffusion probabilistic models (Ho et al., 2020), section 3.3 and its published
        code.
    """

    def __init__(self, denoiser: Denoiser, bound: float | Tensor = 1.0) -> None:
        super().__init__(denoiser.schedule, denoiser.cond)
        self.denoiser, self.bound = denoiser, bound
        self.learns_variance = denoiser.learns_variance

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        return self.guess(x_t, level, cond)[0]

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        x0, variance = self.denoiser.guess(x_t, level, cond)
        clamp = Tensor.clamp if x0.requires_grad else Tensor.clamp_
        return clamp(x0, -self.bound, self.bound), variance  # type: ignore[arg-type]
