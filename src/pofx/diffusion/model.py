"""model: a denoiser with everything that can be done with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn

from pofx.diffusion import bound, likelihood
from pofx.diffusion.denoiser import Clip, Denoiser, NetworkDenoiser
from pofx.diffusion.editing import Known, Repeated, below, widened
from pofx.diffusion.grid import Grid
from pofx.diffusion.grid import grid as choose_grid
from pofx.diffusion.guidance import Autoguidance, ClassifierFree, check_told
from pofx.diffusion.probability_flow import ProbabilityFlow
from pofx.diffusion.sampler import Sampler, State
from pofx.diffusion.samplers import SAMPLERS, choose
from pofx.errors import UserError
from pofx.functional.dequantize import harden, relax, relaxed_shape, relaxed_width
from pofx.parameters import Count, Fraction, GridSteps
from pofx.spec import DataSpec, Real
from pofx.typing import Cond, Data, PerExample

_CARRY = 16
"""Steps of Runge and Kutta's method between an example and its noise."""


_FIRST = ("ddim", "ancestral-small", "heun", "dpm-2", "dpmpp-2m", "unipc")
"""Samplers whose comparison says most: without and with noise, of first and second order."""


class Options(TypedDict, total=False):
    """How to sample; see `Diffusion.sample`."""

    sampler: Sampler | str | None
    steps: GridSteps | None
    grid: Grid | str | None
    eta: Fraction | None
    guidance: float | None
    guidance_interval: tuple[float, float] | None


class Way(NamedTuple):
    """From noise to data."""

    denoiser: Denoiser
    sampler: Sampler
    times: list[float]


class Diffusion(nn.Module):
    """A diffusion model: capabilities Samples, Stepwise, Bound, FlowLikelihood, Score, Latent,
    Completes, Edits and Guidable.

    It lives in the relaxed space of the data (`pofx.functional.dequantize`), where bounded values
    are in [-1, 1].

    Args:
        denoiser: of relaxed examples.
        spec: of the data.
        sampler: how it samples unless told otherwise.
        steps: of sampling, unless told otherwise.
        guidance: w, away from samples of no class, or from `worse`; 0 for none.
        grid: how the times of sampling lie, unless told otherwise; None asks the sampler.
        chain: steps of the chain that the bound is of.
        worse: a smaller denoiser, or one that was trained for less time, which guidance goes away
            from (autoguidance); None takes the denoiser's own guess without a class.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        spec: DataSpec,
        *,
        sampler: Sampler | str = "ddim",
        steps: int = 50,
        guidance: float = 0.0,
        grid: Grid | str | None = None,
        chain: int = 1000,
        worse: Denoiser | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.spec, self.chain = denoiser, spec, chain
        self.sampler, self.steps, self.guidance, self.grid = sampler, steps, guidance, grid
        self.worse = worse

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.denoiser.cond is not None

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        sampler: Sampler | str | None = None,
        steps: GridSteps | None = None,
        grid: Grid | str | None = None,
        eta: Fraction | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: a label for each; None draws from all classes at once.
            sampler: the name of one in `pofx.diffusion.samplers`, or a `Sampler`.
            steps: of the grid; most samplers ask the denoiser once in each.
            grid: how the times of the steps lie: the name of a `pofx.diffusion.grid`, or a `Grid`;
                what suits the sampler and the schedule by default.
            eta: how much noise the samplers `ddim` and `dpmpp-2m` add, from 0 (none) to 1.
            guidance: classifier-free guidance w; 0 for none.
            guidance_interval: the earliest and the latest time that are guided; 0 is data, 1 noise.

        Raises:
            UserError: an unknown sampler or grid, or a number out of its range.
        """
        way = self._way(
            cond is not None, sampler=sampler, steps=steps, grid=grid, eta=eta, guidance=guidance,
            guidance_interval=guidance_interval,
        )  # fmt: skip
        return harden(self._arrive(way, self._noise(n), cond), self.spec)

    def trajectory(
        self, n: int, cond: Cond | None = None, **options: Unpack[Options]
    ) -> Iterator[State]:
        """Yields every step of `sample`, relaxed; the next step overwrites `state.x_t`."""
        way = self._way(cond is not None, **options)
        labels = cond if self.conditional else None
        return way.sampler.trajectory(way.denoiser, self._noise(n), way.times, labels)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of the samplers that this model can use."""
        learned = self.denoiser.learns_variance
        rest = (s for s in SAMPLERS if s not in _FIRST and (learned or s != "ancestral-learned"))
        return (*_FIRST, *rest)

    @property
    def adaptive(self) -> tuple[str, ...]:
        """Names of those that choose their steps themselves, whatever they are told."""
        return tuple(name for name in self.samplers if SAMPLERS[name]().adaptive)

    def check(self, **options: Unpack[Options]) -> None:
        """Refuses what `sample` would refuse, before anything is drawn."""
        self._way(**options)

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Lists, for as long as it is entered, how many examples each call of the network has."""
        calls: list[int] = []
        networks = [m.network for m in self.modules() if isinstance(m, NetworkDenoiser)]
        hooks = [
            net.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
            for net in networks
        ]
        try:
            yield calls
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def complete(
        self,
        x: Data,
        known: Tensor,
        cond: Cond | None = None,
        *,
        repeats: Count = 3,
        **options: Unpack[Options],
    ) -> Data:
        """Draws what is not known of examples.

        Args:
            x: examples; what is not known in them is ignored.
            known: which elements are, bool, of the event's shape.
            cond: a class for each.
            repeats: how often every step is taken, which makes the new agree with the known.
            options: as for `sample`.
        """
        whole = torch.where(known, x, torch.zeros_like(x))
        way = self._way(cond is not None, **options)
        x_t = self._noise(len(x))
        y = relax(whole, self.spec).to(self._like)
        way = Way(
            Known(way.denoiser, y, widened(known, self.spec)),
            Repeated(way.sampler, repeats),
            way.times,
        )
        return torch.where(known, x, harden(self._arrive(way, x_t, cond), self.spec))

    @torch.no_grad()
    def edit(
        self,
        x: Data,
        cond: Cond | None = None,
        *,
        strength: Fraction = 0.5,
        **options: Unpack[Options],
    ) -> Data:
        """Draws examples near given ones, which may be rough.

        Args:
            x: examples, `(n, *event)`.
            cond: a class for each of the new ones.
            strength: the time whose noise they are given: at 1 nothing is left of them.
            options: as for `sample`; of the grid's steps only those below `strength` are taken.
        """
        way = self._way(cond is not None, **options)
        way = way._replace(times=below(way.times, strength))
        ((alpha, sigma),) = self.denoiser.schedule.scales(way.times[:1])
        y = relax(x, self.spec).to(self._like)
        return harden(self._arrive(way, alpha * y + sigma * torch.randn_like(y), cond), self.spec)

    def _way(
        self,
        told: bool = True,
        *,
        sampler: Sampler | str | None = None,
        steps: GridSteps | None = None,
        grid: Grid | str | None = None,
        eta: Fraction | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
    ) -> Way:
        schedule = self.denoiser.schedule
        chosen = choose(self.sampler if sampler is None else sampler, eta)
        suits = "log-snr" if chosen.in_log_snr and schedule.path == "circle" else "uniform"
        lay = choose_grid(grid or self.grid or suits)
        limited = guidance_interval is not None
        if not self.conditional and self.worse is None and (guidance or limited):
            raise UserError(
                "guidance is towards a class, and this model knows none; leave guidance out."
            )
        if self.worse is None:
            check_told(guidance, told)
        w = self.guidance if guidance is None else guidance
        if limited and not w:
            raise UserError(
                "a guidance interval is where guidance acts, and there is none; give a guidance "
                "such as 1."
            )
        chosen.check(self.denoiser)
        interval = (0.0, 1.0) if guidance_interval is None else guidance_interval
        return Way(
            self._clipped(self._guided(w, interval)),
            chosen,
            lay(schedule, self.steps if steps is None else steps),
        )

    @property
    def _like(self) -> Tensor:
        """Of the type and on the device of what the denoiser is shown."""
        return next(self.parameters(), torch.empty(0))

    def _noise(self, n: int) -> Tensor:
        like = self._like
        x_t = torch.randn(n, *relaxed_shape(self.spec), dtype=like.dtype, device=like.device)
        return x_t * self.denoiser.schedule.prior_scale

    def _arrive(self, way: Way, x_t: Tensor, cond: Cond | None) -> Tensor:
        """Where a way leads to."""
        labels = cond if self.conditional else None
        *_, state = way.sampler.trajectory(way.denoiser, x_t, way.times, labels)
        return state.x_t

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        return self.denoiser.score(x_t, t, cond if self.conditional else None)

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        cond = cond if self.conditional else None
        return bound.elbo(self._clipped(self.denoiser), x, self.spec, cond, steps=self.chain)

    def by_flow(
        self, *, steps: int = 50, directions: int | None = None
    ) -> likelihood.FlowExact | likelihood.FlowEstimate | likelihood.FlowBound:
        """The likelihood by the probability flow, which is usually higher than `elbo` and dearer.

        Args:
            steps: of four evaluations each.
            directions: how many random ones the trace is estimated from; None takes every axis,
                which is exact and for few of them.
        """
        return likelihood.by_flow(self.denoiser, self.spec, steps=steps, directions=directions)

    @torch.no_grad()
    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        """The noise, of unit variance, that the probability flow carries examples to."""
        flow = ProbabilityFlow(self.denoiser, cond if self.conditional else None)
        first = self.denoiser.schedule.first
        y = flow.scaled(relax(x, self.spec) * self.denoiser.schedule.scales([first])[0][0], first)
        return flow.carry(y, flow.place(first), flow.place(1.0), _CARRY)

    @torch.no_grad()
    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        """The examples of such noise."""
        cond = cond if self.conditional else None
        flow, first = ProbabilityFlow(self.denoiser, cond), self.denoiser.schedule.first
        x_t = flow.unscaled(flow.carry(z, flow.place(1.0), flow.place(first), _CARRY), first)
        t = torch.full(z.shape[:1], first, dtype=z.dtype, device=z.device)
        return harden(self._clipped(self.denoiser)(x_t, t, cond), self.spec)

    def guided_by(self, worse: Diffusion) -> Diffusion:
        """This model, whose guidance, 1 unless told otherwise, goes away from a worse version of
        it.

        Raises:
            UserError: the other one is of other data, noise or classes.
        """
        one, other = self.denoiser, worse.denoiser
        alike = all(
            torch.tensor(one.schedule.scales([t])).allclose(
                torch.tensor(other.schedule.scales([t]))
            )
            for t in (1.0, 0.5)
        )
        if self.spec != worse.spec or one.cond != other.cond or not alike:
            raise UserError(
                "a worse version of a model is of the same data, noise and classes, and this one "
                "is not; train the same recipe on the same data, smaller or for less time."
            )
        return Diffusion(
            one, self.spec, sampler=self.sampler, steps=self.steps,
            guidance=self.guidance or 1.0, grid=self.grid, chain=self.chain, worse=other,
        ).train(self.training)  # fmt: skip

    def _guided(self, w: float, interval: tuple[float, float]) -> Denoiser:
        if not w:
            return self.denoiser
        if self.worse is not None:
            return Autoguidance(self.denoiser, self.worse, w, interval)
        return ClassifierFree(self.denoiser, w, interval) if self.conditional else self.denoiser

    def _clipped(self, denoiser: Denoiser) -> Denoiser:
        bounds = _bounds(self.spec)
        if all(b == float("inf") for b in bounds):
            return denoiser
        if all(b == 1 for b in bounds):
            return Clip(denoiser)
        return Clip(denoiser, torch.tensor(bounds).to(self._like))


def _bounds(spec: DataSpec) -> list[float]:
    """How far from 0 each element of a relaxed example can be; one entry where all are alike."""
    columns = spec.columns if len(set(spec.columns)) > 1 else spec.columns[:1]
    widths = [relaxed_width(c) for c in columns]
    limits = [float("inf") if isinstance(c, Real) else 1.0 for c in columns]
    return [b for b, width in zip(limits, widths, strict=True) for _ in range(width)]
