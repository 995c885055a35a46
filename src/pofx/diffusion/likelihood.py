r"""likelihood: log p(x) by the probability-flow equation.

An example is carried to noise, of which the density is known, and the trace of the equation's
Jacobian is collected on the way: over all axes where there are few elements, which is exact but for
the solver, else along random directions (Hutchinson), which is right in the mean.

Of discrete data the equation starts from the least noise of the chain that `pofx.diffusion.bound`
is about, and the same decoder does the rest, which is a bound of their mass:

.. math:: \log p(x) \ge \mathbb{E}_{q(x_1 | x)} [\log p(x_1) + \log p(x | x_1) - \log q(x_1 | x)]

References:
    Score-based generative modeling through SDEs (Song et al., 2021), section 4.3 and appendix D.2.
    https://arxiv.org/abs/2011.13456
    Maximum likelihood training of score-based diffusion models (Song et al., 2021), section 4.2.
    https://arxiv.org/abs/2101.09258
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pofx.diffusion.bound import least_noise
from pofx.diffusion.decoder import log_likelihood
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.probability_flow import ProbabilityFlow, axes, corners
from pofx.errors import UserError
from pofx.functional.dequantize import relax
from pofx.functional.reductions import sum_event
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_LOG_2PI = math.log(2 * math.pi)


class FlowDensity(NamedTuple):
    """What the probability flow says of examples.

    Args:
        log_prob: nats per example, `(n,)`.
        stderr: its standard error, `(n,)`: 0 for an exact trace, NaN for a single direction.
        evaluations: of the denoiser for each example.
        z: the noise that it led to, of unit variance, `(n, *event)`.
        ladj: log of the volume's growth on the way to z, `(n,)`.
    """

    log_prob: PerExample
    stderr: PerExample
    evaluations: int
    z: Tensor
    ladj: PerExample


def log_density(
    denoiser: Denoiser,
    x_t: Data,
    t: float | None = None,
    cond: Cond | None = None,
    *,
    steps: int = 50,
    directions: int | None = None,
) -> FlowDensity:
    """The log-density of noisy data at a time.

    Args:
        denoiser: guesses the clean data; no gradient goes to its parameters.
        x_t: relaxed examples, `(n, *event)`.
        t: the time that they are at; the schedule's first by default.
        cond: a label for each example.
        steps: of Runge and Kutta's fourth order, of four evaluations each.
        directions: how many random ones; None takes every axis.
    """
    flow, t = ProbabilityFlow(denoiser, cond), denoiser.schedule.first if t is None else t
    y = flow.scaled(x_t, t)
    along = axes(y) if directions is None else corners(y, directions)
    z, each = flow.carry_with_trace(y, flow.place(t), flow.place(1.0), steps, along)
    size = y[0].numel()
    scale = float(flow.scaled(torch.tensor(denoiser.schedule.prior_scale), 1.0))
    growth = -size * math.log(math.hypot(*denoiser.schedule.scales([t])[0]))
    ladj = growth + (each.sum(1) if directions is None else each.mean(1))
    prior = -0.5 * sum_event((z / scale) ** 2) - size * (0.5 * _LOG_2PI + math.log(scale))
    stderr = torch.zeros_like(ladj)
    if directions is not None:
        spread = each.std(1) if directions > 1 else torch.full_like(ladj, math.nan)
        stderr = spread / math.sqrt(directions)
    return FlowDensity(prior + ladj, stderr, flow.evaluations, z, ladj)


class _ByFlow(nn.Module):
    """What the probability flow of a model says of the data's likelihood.

    Args:
        denoiser: of relaxed examples; no gradient goes to its parameters.
        spec: of the data.
        steps: as for `log_density`.
        directions: as for `log_density`.
    """

    def __init__(
        self, denoiser: Denoiser, spec: DataSpec, *, steps: int = 50, directions: int | None = None
    ) -> None:
        super().__init__()
        self.denoiser, self.spec, self.steps, self.directions = denoiser, spec, steps, directions

    @property
    def likelihood_detail(self) -> str:
        """How it is computed."""
        trace = "the whole trace" if self.directions is None else f"{self.directions} directions"
        start = "dequantised by noise" if self._least else f"at a noise of {self._ratio():.2g}"
        return f"probability flow, {4 * self.steps} evaluations, {trace}, {start}"

    @property
    def _least(self) -> float:
        return least_noise(self.spec)

    def _ratio(self) -> float:
        schedule = self.denoiser.schedule
        return max(self._least, schedule.ratio(schedule.first))

    def _density(self, x: Data, cond: Cond | None) -> PerExample:
        """Of data as noisy as the schedule's first time makes them, but for their scale."""
        y, schedule = relax(x, self.spec), self.denoiser.schedule
        ((alpha, _),) = schedule.scales([schedule.first])
        found = log_density(
            self.denoiser, alpha * y, cond=self._labels(cond), steps=self.steps,
            directions=self.directions,
        )  # fmt: skip
        return found.log_prob + y[0].numel() * math.log(alpha)

    def _labels(self, cond: Cond | None) -> Cond | None:
        return cond if self.denoiser.cond is not None else None


class FlowExact(_ByFlow):
    """The density by the whole trace: capability Density, exact but for the solver."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self._density(x, cond)


class FlowEstimate(_ByFlow):
    """The density by random directions: capability Estimate."""

    def log_prob_estimate(self, x: Data, cond: Cond | None = None) -> PerExample:
        return self._density(x, cond)


class FlowBound(_ByFlow):
    """A bound of a mass, by the density of what noise makes of it: capability Bound."""

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        schedule = self.denoiser.schedule
        y, cond = relax(x, self.spec), self._labels(cond)
        t = float(schedule.time(torch.tensor(self._ratio(), dtype=torch.float64)))
        ((alpha, sigma),) = schedule.scales([t])
        eps = torch.randn_like(y)
        x_t = alpha * y + sigma * eps
        found = log_density(
            self.denoiser, x_t, t, cond, steps=self.steps, directions=self.directions
        )
        x0 = self.denoiser(x_t, torch.full_like(y.flatten(1)[:, 0], t), cond)
        noise = -0.5 * sum_event(eps**2) - eps[0].numel() * (0.5 * _LOG_2PI + math.log(sigma))
        return found.log_prob + log_likelihood(x, x0, sigma / alpha, self.spec) - noise


def by_flow(
    denoiser: Denoiser, spec: DataSpec, *, steps: int = 50, directions: int | None = None
) -> FlowExact | FlowEstimate | FlowBound:
    """The likelihood by the probability flow, as the capability that it is.

    Args:
        denoiser: of relaxed examples.
        spec: of the data: of a mass there is a bound, of a density itself.
        steps: of Runge and Kutta's fourth order, of four evaluations each.
        directions: how many random ones the trace is estimated from; None takes every axis.

    Raises:
        UserError: fewer than one step or direction.
    """
    if steps < 1 or (directions is not None and directions < 1):
        raise UserError(
            "the probability flow takes at least 1 step and 1 direction, and "
            f"{steps} and {directions} came."
        )
    density = FlowExact if directions is None else FlowEstimate
    kind = FlowBound if any(c.discrete for c in spec.columns) else density
    return kind(denoiser, spec, steps=steps, directions=directions)
