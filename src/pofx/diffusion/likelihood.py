r"""likelihood: log p(x) by the probability-flow equation.

An example is carried to noise, of which the density is known, and the trace of the equation's
Jacobian is collected on the way: over all axes where there are few elements, which is exact but for
the solver, else along random directions (Hutchinson), which is right in the mean.

`elbo` is for data as they are, discrete or not: the equation starts from the least noise of the
chain that `pofx.diffusion.bound` is about, and the same decoder does the rest.

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
from torch import Tensor

from pofx.diffusion.bound import least_noise
from pofx.diffusion.decoder import log_likelihood
from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.probability_flow import ProbabilityFlow, axes, corners
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
        stderr = each.std(1) / math.sqrt(directions)
    return FlowDensity(prior + ladj, stderr, flow.evaluations, z, ladj)


def elbo(
    denoiser: Denoiser,
    x: Data,
    spec: DataSpec,
    cond: Cond | None = None,
    *,
    steps: int = 50,
    directions: int | None = None,
) -> PerExample:
    """An unbiased one-draw estimate of a bound of log p(x), nats per example.

    Args:
        denoiser: of relaxed examples.
        x: examples of `spec`.
        spec: of the data.
        cond: a label for each example.
        steps: as for `log_density`.
        directions: as for `log_density`.
    """
    y, schedule = relax(x, spec), denoiser.schedule
    least = torch.tensor(max(least_noise(spec), schedule.ratio(schedule.first)))
    t = float(schedule.time(least.double()))
    ((alpha, sigma),) = schedule.scales([t])
    eps = torch.randn_like(y)
    x_t = alpha * y + sigma * eps
    flow = log_density(denoiser, x_t, t, cond, steps=steps, directions=directions)
    x0 = denoiser(x_t, torch.full(y.shape[:1], t, dtype=y.dtype, device=y.device), cond)
    noise = -0.5 * sum_event(eps**2) - eps[0].numel() * (0.5 * _LOG_2PI + math.log(sigma))
    return flow.log_prob + log_likelihood(x, x0, sigma / alpha, spec) - noise
