r"""guidance: denoisers that wrap a denoiser, so that they work with every sampler.

References:
    Classifier-free diffusion guidance (Ho and Salimans, 2021), eq. 6.
    https://arxiv.org/abs/2207.12598
    Applying guidance in a limited interval improves sample and distribution quality in diffusion
    models (Kynkaanniemi et al., 2024), eq. 5. https://arxiv.org/abs/2404.07724
    Diffusion models beat GANs on image synthesis (Dhariwal and Nichol, 2021), eq. 14 and algorithm
    2. https://arxiv.org/abs/2105.05233
    Guiding a diffusion model with a bad version of itself (Karras et al., 2024), eq. 4.
    https://arxiv.org/abs/2406.02507
    Compositional visual generation with composable diffusion models (Liu et al., 2022), eq. 11.
    https://arxiv.org/abs/2206.01714
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level, Schedule
from pofx.errors import UserError
from pofx.functional.labels import absent
from pofx.typing import Cond, Data, PerExample


class ClassifierFree(Denoiser):
    r"""Goes on beyond the conditional guess, away from the unconditional one.

    .. math:: D_w(x_t, c) = (1 + w) D(x_t, c) - w D(x_t)

    Both are evaluated in one call of twice the batch. Without a `cond`, D itself.

    Args:
        denoiser: knows classes, and was trained with some labels dropped.
        w: 0 is the conditional denoiser, -1 the unconditional one, above 0 exaggerates the class.
        interval: the times at which it is guided; at others it is the conditional denoiser.

    References:
        Classifier-free diffusion guidance (Ho and Salimans, 2021), eq. 6.
        Applying guidance in a limited interval improves sample and distribution quality in
        diffusion models (Kynkaanniemi et al., 2024), eq. 5.
    """

    def __init__(
        self, denoiser: Denoiser, w: float, interval: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        super().__init__(denoiser.schedule, denoiser.cond)
        self.denoiser, self.w = denoiser, w
        self.times = _Times(denoiser.schedule, interval)
        self.learns_variance = denoiser.learns_variance

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        return self.guess(x_t, level, cond)[0]

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        inside = self.times.hold(level)
        if cond is None or inside is False:
            return self.denoiser.guess(x_t, level, cond)
        labels = torch.cat([cond, absent(cond)])
        twice = Level(*(_twice(v) for v in level))  # type: ignore[arg-type]
        both, variances = self.denoiser.guess(torch.cat([x_t, x_t]), twice, labels)
        with_class, without = both.chunk(2)
        guided = torch.lerp(without, with_class, 1 + self.w)
        x0 = guided if inside is True else torch.where(inside, guided, with_class)
        return x0, None if variances is None else variances.chunk(2)[0]


class Classifier(Denoiser):
    r"""Follows a classifier of noisy data towards a class.

    .. math:: D_s(x_t, c) = D(x_t) + s \frac{\sigma_t^2}{\alpha_t} \nabla \log p(c | x_t)

    Args:
        denoiser: asked without a class.
        log_prob: log p(c | x_t) of each example, `(n,)`, given x_t, its level and the classes.
        scale: 1 is Bayes' rule, above 1 exaggerates the class.

    References:
        Diffusion models beat GANs on image synthesis (Dhariwal and Nichol, 2021), eq. 14 and
        algorithm 2.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        log_prob: Callable[[Data, Level, Cond], PerExample],
        scale: float = 1.0,
    ) -> None:
        super().__init__(denoiser.schedule, denoiser.cond)
        self.denoiser, self.log_prob, self.scale = denoiser, log_prob, scale

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        x0 = self.denoiser.denoise(x_t, level)
        if cond is None:
            return x0
        with torch.enable_grad():
            point = x_t.detach().requires_grad_()
            total = self.log_prob(point, level, cond).sum()
            (slope,) = torch.autograd.grad(total, point)
        return x0 + slope * (self.scale * level.sigma**2 / level.alpha)


class Autoguidance(Denoiser):
    r"""Goes on beyond a good guess, away from that of a worse version of the same model.

    .. math:: D_w(x_t, c) = (1 + w) D(x_t, c) - w D_\text{bad}(x_t, c)

    Args:
        denoiser: the good one.
        bad: a smaller one, or one that was trained for less time.
        w: 0 is the good one.
        interval: as for `ClassifierFree`.

    References:
        Guiding a diffusion model with a bad version of itself (Karras et al., 2024), eq. 4, whose w
        is 1 + w here.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        bad: Denoiser,
        w: float,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(denoiser.schedule, denoiser.cond)
        self.denoiser, self.bad, self.w = denoiser, bad, w
        self.times = _Times(denoiser.schedule, interval)
        self.learns_variance = denoiser.learns_variance

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        return self.guess(x_t, level, cond)[0]

    def guess(
        self, x_t: Data, level: Level, cond: Cond | None = None
    ) -> tuple[Data, Tensor | None]:
        (good, variance), inside = self.denoiser.guess(x_t, level, cond), self.times.hold(level)
        if inside is False:
            return good, variance
        guided = torch.lerp(self.bad.denoise(x_t, level, cond), good, 1 + self.w)
        return guided if inside is True else torch.where(inside, guided, good), variance


class Product(Denoiser):
    r"""Two models or more at once: their scores add, as those of the factors of a product do.

    .. math:: \nabla \log p = \nabla \log b + \sum_i (\nabla \log p_i - \nabla \log b)
        \quad \Longleftrightarrow \quad D = D_b + \sum_i (D_i - D_b)

    with b what the factors have in common, such as a model of all the data where each factor is
    one of a class; without it the product is that of the densities themselves, of which
    :math:`D_b = x_t / \alpha_t`.

    Args:
        denoisers: of one schedule.
        base: b.

    References:
        Compositional visual generation with composable diffusion models (Liu et al., 2022), eq. 11.

    Note:
        The product of noisy densities is not the noisy product, so that Langevin's dynamics at the
        least noise draw from the product, and other samplers from something near it.
    """

    def __init__(self, denoisers: Sequence[Denoiser], base: Denoiser | None = None) -> None:
        if not denoisers or any(d.cond != denoisers[0].cond for d in denoisers):
            raise UserError(
                "the factors of a product must be one denoiser or more of the same condition (got "
                f"{[d.cond for d in denoisers]}): leave the others out."
            )
        super().__init__(denoisers[0].schedule, denoisers[0].cond)
        self.denoisers, self.base = nn.ModuleList(denoisers), base

    def denoise(self, x_t: Data, level: Level, cond: Cond | None = None) -> Data:
        guesses = [d.denoise(x_t, level, cond) for d in self.denoisers]  # type: ignore[operator]
        if len(guesses) == 1:
            return guesses[0]
        base = x_t / level.alpha if self.base is None else self.base.denoise(x_t, level, cond)
        return torch.stack(guesses).sum(0) - (len(guesses) - 1) * base


def check_told(guidance: float | None, told: bool) -> None:
    """Refuses guidance towards no class.

    Args:
        guidance: its strength; of 0 and None there is none.
        told: whether classes are given.
    """
    if guidance and not told:
        raise UserError(
            "guidance is towards a class, and none is given; give one by --class (`cond` in "
            "Python), or leave guidance out."
        )


class _Times:
    """The times at which a denoiser is guided.

    Args:
        schedule: of the noise.
        interval: the first and the last of them; 0 is data, 1 noise.
    """

    def __init__(self, schedule: Schedule, interval: tuple[float, float]) -> None:
        if not _is_interval(interval):
            raise UserError(
                "guidance is from a time to a later one in [0, 1], such as 0.2,0.8, and "
                f"{interval} came."
            )
        self.whole = tuple(interval) == (0.0, 1.0)
        self.edges = [_angle(*v) for v in schedule.scales(list(interval))]

    def hold(self, level: Level) -> bool | Tensor:
        """Whether a level is in the interval: one answer for a level that the batch shares."""
        if self.whole:
            return True
        least, most = self.edges
        if isinstance(level.alpha, Tensor) and isinstance(level.sigma, Tensor):
            place = torch.atan2(level.sigma, level.alpha)
            return (place >= least) & (place <= most)
        return least <= _angle(level.alpha, level.sigma) <= most  # type: ignore[arg-type]


def _is_interval(value: object) -> bool:
    """Whether it is two times in order, whoever gave it."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(v, int | float) for v in value) and 0 <= value[0] < value[1] <= 1


def _angle(alpha: float, sigma: float) -> float:
    """A number that rises with the noise, and is finite without a signal."""
    return math.atan2(sigma, alpha)


def _twice(value: float | Tensor) -> float | Tensor:
    return torch.cat([value, value]) if isinstance(value, Tensor) else value
