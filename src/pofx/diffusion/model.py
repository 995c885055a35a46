"""model: a denoiser with everything that can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from pofx.diffusion import bound
from pofx.diffusion.denoiser import Clip, Denoiser
from pofx.diffusion.guidance import ClassifierFree
from pofx.diffusion.sampler import Sampler, State
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.diffusion.samplers.ddim import DDIM
from pofx.errors import UserError, did_you_mean
from pofx.functional.dequantize import harden, relaxed_shape
from pofx.spec import Categorical, DataSpec, Real
from pofx.typing import Cond, Data, PerExample

_SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "ddim": DDIM,
    "ancestral": lambda: Ancestral("large"),
    "ancestral-small": lambda: Ancestral("small"),
}


class Diffusion(nn.Module):
    """A diffusion model: capabilities Samples, Bound and Score.

    It lives in the relaxed space of the data (`pofx.functional.dequantize`), where bounded values
    are in [-1, 1].

    Args:
        denoiser: of relaxed examples.
        spec: of the data.
        sampler: how it samples unless told otherwise.
        steps: of sampling, unless told otherwise.
        guidance: classifier-free guidance w of samples with a class; 0 for none.
        chain: steps of the chain that the bound is of.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        spec: DataSpec,
        *,
        sampler: Sampler | str = "ddim",
        steps: int = 50,
        guidance: float = 0.0,
        chain: int = 1000,
    ) -> None:
        super().__init__()
        self.denoiser, self.spec = denoiser, spec
        self.sampler, self.steps, self.guidance, self.chain = sampler, steps, guidance, chain

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.denoiser.classes > 0

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: a label for each; None draws from all classes at once.
            sampler: `ddim`, `ancestral` (variance beta), `ancestral-small` (variance beta-tilde),
                or a `Sampler`.
            steps: evaluations of the denoiser for each example.
            guidance: classifier-free guidance w; 0 for none.
            eta: of DDIM, from 0 (deterministic) to 1.

        Raises:
            UserError: an unknown sampler, or a number out of its range.
        """
        x0 = torch.empty(0)
        for state in self.trajectory(
            n, cond, sampler=sampler, steps=steps, guidance=guidance, eta=eta
        ):
            x0 = state.x_t
        return harden(x0, self.spec)

    def trajectory(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
    ) -> Iterator[State]:
        """Yields every step of `sample`, relaxed; the next step overwrites `state.x_t`."""
        chosen = _choose(self.sampler if sampler is None else sampler, eta)
        times = self.denoiser.schedule.grid(self.steps if steps is None else steps)
        denoiser = self._clipped(self._guided(self.guidance if guidance is None else guidance))
        like = next(self.parameters(), torch.empty(0))
        x_t = torch.randn(n, *relaxed_shape(self.spec), dtype=like.dtype, device=like.device)
        x_t = x_t * self.denoiser.schedule.prior_scale
        return chosen.trajectory(denoiser, x_t, times, cond if self.conditional else None)

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        return self.denoiser.score(x_t, t, cond if self.conditional else None)

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        cond = cond if self.conditional else None
        return bound.elbo(self._clipped(self.denoiser), x, self.spec, cond, steps=self.chain)

    def _guided(self, w: float) -> Denoiser:
        return ClassifierFree(self.denoiser, w) if w and self.conditional else self.denoiser

    def _clipped(self, denoiser: Denoiser) -> Denoiser:
        bounds = _bounds(self.spec)
        if all(b == float("inf") for b in bounds):
            return denoiser
        if all(b == 1 for b in bounds):
            return Clip(denoiser)
        like: Tensor = next(self.parameters(), torch.empty(0))
        return Clip(denoiser, torch.tensor(bounds, dtype=like.dtype, device=like.device))


def _choose(sampler: Sampler | str, eta: float | None) -> Sampler:
    if eta is not None:
        if sampler != "ddim":
            raise UserError(
                f"eta belongs to the sampler ddim, and the sampler is {sampler}; leave eta out."
            )
        return DDIM(eta)
    if isinstance(sampler, Sampler):
        return sampler
    if sampler not in _SAMPLERS:
        raise UserError(f"there is no sampler '{sampler}'; {did_you_mean(str(sampler), _SAMPLERS)}")
    return _SAMPLERS[sampler]()


def _bounds(spec: DataSpec) -> list[float]:
    """How far from 0 each element of a relaxed example can be; one entry where all are alike."""
    columns = spec.columns if len(set(spec.columns)) > 1 else spec.columns[:1]
    widths = [c.levels if isinstance(c, Categorical) else 1 for c in columns]
    limits = [float("inf") if isinstance(c, Real) else 1.0 for c in columns]
    return [b for b, width in zip(limits, widths, strict=True) for _ in range(width)]
