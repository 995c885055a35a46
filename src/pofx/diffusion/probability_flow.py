r"""probability_flow: the ordinary differential equation whose solutions have the noisy data's law.

In the variables

.. math:: y = \frac{x}{\sqrt{\alpha^2 + \sigma^2}}, \quad w = \log \frac{\sigma}{\alpha}, \quad
          c = \frac{\alpha}{\sqrt{\alpha^2 + \sigma^2}}

it is the same for every schedule, of order one everywhere and divides by nothing small:

.. math:: \frac{dy}{dw} = c\, (c\, y - D(x, t))

It takes an example to noise and back, and its log-density with it:

.. math:: \log p(y_0) = \log p(y_1) + \int_{w_0}^{w_1} \mathrm{tr} \frac{\partial}{\partial y}
          \frac{dy}{dw}\, dw

References:
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 13, 39 and 40.
    https://arxiv.org/abs/2011.13456
    FFJORD: free-form continuous dynamics for scalable reversible generative models (Grathwohl et
    al., 2019), eq. 7: Hutchinson's estimate of the trace. https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.diffusion.denoiser import Denoiser
from pofx.diffusion.schedule import Level
from pofx.functional.reductions import expand_like, sum_event
from pofx.solvers.ode import rk4
from pofx.typing import Cond, Data


class ProbabilityFlow:
    """Between noisy data at the schedule's first time and at its last.

    Args:
        denoiser: guesses the clean data.
        cond: a label for each example.
    """

    def __init__(self, denoiser: Denoiser, cond: Cond | None = None) -> None:
        self.denoiser, self.cond = denoiser, cond
        self.schedule = denoiser.schedule
        self.evaluations = 0

    def place(self, t: float) -> float:
        """Where a time is, w; that of the schedule's last time for one without a signal."""
        return math.log(self.schedule.ratio(min(t, self.schedule.last)))

    def scaled(self, x: Data, t: float) -> Tensor:
        """Y of x at a time."""
        return x / math.hypot(*self.schedule.scales([t])[0])

    def unscaled(self, y: Tensor, t: float) -> Data:
        """X of y at a time."""
        return y * math.hypot(*self.schedule.scales([t])[0])

    def field(self, w: float | Tensor, y: Tensor) -> Tensor:
        """The slope dy/dw.

        Args:
            w: one place for all, or one for each example.
            y: `(n, *event)`.
        """
        self.evaluations += 1
        place = torch.as_tensor(w, dtype=y.dtype, device=y.device).expand(y.shape[0])
        t = self.schedule.time(place.exp())
        alpha, sigma = (expand_like(v, y) for v in self.schedule(t))
        norm = torch.hypot(alpha, sigma)
        c = alpha / norm
        x0 = self.denoiser.denoise(y * norm, Level(t, alpha, sigma), self.cond)
        return c * (c * y - x0)

    def carry(self, y: Tensor, start: float, end: float, steps: int) -> Tensor:
        """Y at w = `end` from y at w = `start`, in `steps` steps of four evaluations."""
        return rk4(self.field, y, start, end, steps)

    def carry_with_trace(
        self, y: Tensor, start: float, end: float, steps: int, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same, with the integral of `v^T J v` along each direction, `(n, k)`.

        Args:
            y: `(n, *event)` at w = `start`.
            start: where y is.
            end: where it goes.
            steps: of Runge and Kutta's method.
            directions: `(k, n, *event)`; those of all axes add up to the trace.
        """
        size = y[0].numel()

        def derivative(w: float, state: Tensor) -> Tensor:
            with torch.enable_grad():
                point = state[:, :size].reshape(y.shape).detach().requires_grad_()
                slope = self.field(w, point)
                along = [
                    sum_event(torch.autograd.grad(slope, point, v, retain_graph=True)[0] * v)
                    for v in directions
                ]
            return torch.cat([slope.detach().flatten(1), torch.stack(along, 1)], 1)

        state = torch.cat([y.flatten(1), y.new_zeros(len(y), len(directions))], 1)
        state = rk4(derivative, state, start, end, steps)
        return state[:, :size].reshape(y.shape), state[:, size:]


def axes(y: Tensor) -> Tensor:
    """Every unit vector, whose `v^T J v` add up to the trace: `(size, n, *event)`."""
    size = y[0].numel()
    eye = torch.eye(size, dtype=y.dtype, device=y.device).reshape(size, 1, *y.shape[1:])
    return eye.expand(size, *y.shape)


def corners(y: Tensor, count: int) -> Tensor:
    """Random corners of the cube, `(count, n, *event)`, each of them right in the mean."""
    half = torch.full_like(y, 0.5)
    return torch.stack([2 * torch.bernoulli(half) - 1 for _ in range(count)])
