r"""network_score: any network as the score of data with normal noise of one level on it.

Samples walk in the noisy density and jump to the clean data that their place speaks of:

.. math:: y \leftarrow y + \tfrac{\epsilon}{2} s(y) + \sqrt{\epsilon}\, z, \qquad
    x = y + \sigma^2 s(y)

References:
    Neural empirical Bayes (Saremi and Hyvarinen, 2019), section 3: walk and jump.
    https://arxiv.org/abs/1903.02334
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import harden, relaxed_shape
from pofx.mcmc.annealed import denoised
from pofx.mcmc.chains import Chains, take
from pofx.mcmc.langevin import langevin
from pofx.nn.mlp import MLP
from pofx.nn.unet import UNet
from pofx.parameters import Count, Positive
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class NetworkScore(nn.Module):
    """A network as a score: capabilities Samples, Walks and Score.

    Args:
        network: `(n, *relaxed) -> (n, *relaxed)`; the score is it over sigma.
        spec: of the data.
        sigma: of the noise on the data, which the score is about.
        step: epsilon of Langevin dynamics.
        sampling_steps: of Langevin dynamics, from a standard normal.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: DataSpec,
        *,
        sigma: float = 0.1,
        step: float = 0.01,
        sampling_steps: int = 500,
    ) -> None:
        super().__init__()
        self.network, self.spec, self.sigma = network, spec, sigma
        self.step, self.sampling_steps = step, sampling_steps

    def relaxed_score(self, y: Tensor) -> Tensor:
        """The score of the noisy relaxed data."""
        return self.network(y) / (self.sigma or 1.0)

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        """Of the relaxed data at the level of noise that was learned, whatever the time."""
        return self.relaxed_score(x_t)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        steps: Count | None = None,
        step: Positive | None = None,
        jump: bool = True,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: not used.
            steps: of Langevin dynamics.
            step: its epsilon.
            jump: whether to end with the mean of the clean data.
        """
        chains = self._langevin(n, self.step if step is None else step)
        y = take(chains, self.sampling_steps if steps is None else steps)
        if jump and self.sigma:
            y = denoised(lambda y, _: self.relaxed_score(y), y, self.sigma)
        return harden(y, self.spec)

    def walk(self, n: int) -> Iterator[Chains]:
        """The chains of `sample`, step after step, relaxed and noisy."""
        return islice(self._langevin(n, self.step), self.sampling_steps)

    def _langevin(self, n: int, step: float) -> Iterator[Chains]:
        like = next(self.parameters())
        start = torch.randn(n, *relaxed_shape(self.spec), dtype=like.dtype, device=like.device)
        return langevin(self.relaxed_score, start, step)


class _Still(nn.Module):
    """A network that is told a time, at one time."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor) -> Tensor:
        return self.network(y, torch.zeros(y.shape[0], dtype=y.dtype, device=y.device))


def score_network(spec: DataSpec, hidden: tuple[int, ...], channels: int) -> nn.Module:
    """A network from a relaxed example to as many numbers: a U-Net of an image.

    Args:
        hidden: widths of the hidden layers of the fully connected network.
        channels: channels of the U-Net; 0 for the other.
    """
    shape = relaxed_shape(spec)
    if len(shape) == 3 and channels:
        return _Still(UNet(shape, widths=(channels, 2 * channels)))
    size = torch.Size(shape).numel()
    body = MLP([size, *hidden, size], nn.SiLU)
    return nn.Sequential(nn.Flatten(), body, nn.Unflatten(1, shape))
