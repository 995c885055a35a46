r"""guidance: denoisers that wrap a denoiser, so that they work with every sampler.

References:
    Classifier-free diffusion guidance (Ho and Salimans, 2021), eq. 6.
    https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level
from pofx.typing import Cond, Data


class ClassifierFree(Denoiser):
    r"""Goes on beyond the conditional guess, away from the unconditional one.

    .. math:: D_w(x_t, c) = (1 + w) D(x_t, c) - w D(x_t)

    Both are evaluated in one call of twice the batch. Without a `cond`, D itself.

    Args:
        denoiser: knows classes, and was trained with some labels dropped.
        w: 0 is the conditional denoiser, -1 the unconditional one, above 0 exaggerates the class.

    References:
        Classifier-free diffusion guidance (Ho and Salimans, 2021), eq. 6.
    """

    def __init__(self, denoiser: Denoiser, w: float) -> None:
        super().__init__(denoiser.schedule, denoiser.classes)
        self.denoiser, self.w = denoiser, w

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        if cond is None:
            return self.denoiser.denoise(x_t, level)
        labels = torch.cat([cond, torch.full_like(cond, self.classes)])
        twice = Level(*(_twice(v) for v in level))  # type: ignore[arg-type]
        both = self.denoiser.denoise(torch.cat([x_t, x_t]), twice, labels)
        with_class, without = both.chunk(2)
        return torch.lerp(without, with_class, 1 + self.w)


def _twice(value: float | Tensor) -> float | Tensor:
    return torch.cat([value, value]) if isinstance(value, Tensor) else value
