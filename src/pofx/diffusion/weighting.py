r"""weighting: how much an error of the clean guess counts at each noise level.

A loss on what the network says is a loss on the clean data with a weight of its own:

.. math:: \|F - \hat F\|^2 = \Big(\frac{q \alpha - p \sigma}{\sigma}\Big)^2 \|x_0 - D\|^2

so a weighting is a function of the level, whatever the network predicts.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), table
    1. https://arxiv.org/abs/2206.00364
    Efficient diffusion training via min-SNR weighting strategy (Hang et al., 2023), section 3.4.
    https://arxiv.org/abs/2303.09556
    Variational diffusion models (Kingma et al., 2021), eq. 15 and 19: eps and the bound.
    https://arxiv.org/abs/2107.00630
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pofx.diffusion.parameterization import Parameterization
from pofx.diffusion.schedule import Level


class Weighting(ABC):
    """The weight of `||x0 - D||^2`, one for each example."""

    @abstractmethod
    def __call__(self, level: Level) -> Tensor | float:
        """The weight, in the shape of the level's alpha."""


class Of(Weighting):
    r"""That of an unweighted loss on a prediction: eps has :math:`\alpha^2 / \sigma^2`, x0 has 1,
    v has :math:`\alpha^2 / \sigma^2 + 1` where variance is preserved, and EDM's F has
    :math:`1 / c_\text{out}^2`. That of eps, at times drawn evenly in the log of the signal-to-noise
    ratio, makes the loss the likelihood's bound.

    Args:
        parameterization: what is predicted.
    """

    def __init__(self, parameterization: Parameterization) -> None:
        self.parameterization = parameterization

    def __call__(self, level: Level) -> Tensor | float:
        p, q = self.parameterization.weights(level.alpha, level.sigma)  # type: ignore[type-var]
        return ((q * level.alpha - p * level.sigma) / level.sigma) ** 2


class MinSNR(Weighting):
    r"""The signal-to-noise ratio, but at most gamma: :math:`\min(\alpha^2 / \sigma^2, \gamma)`.

    Args:
        gamma: the paper's 5.
    """

    def __init__(self, gamma: float = 5.0) -> None:
        self.gamma = gamma

    def __call__(self, level: Level) -> Tensor | float:
        snr = torch.as_tensor((level.alpha / level.sigma) ** 2)
        return snr.clamp(max=self.gamma)
