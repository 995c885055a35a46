r"""ode: solvers of :math:`\dot x = f(t, x)` from one time to another, forwards or backwards.

References:
    Solving ordinary differential equations I (Hairer, Noersett and Wanner, 1993), sections II.1 and
    II.4, table 5.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[float, Tensor], Tensor]
"""The derivative of x at a time, of x's shape."""


def rk4(f: Field, x: Tensor, start: float, end: float, steps: int) -> Tensor:
    """Runge and Kutta's method of fourth order with equal steps; gradients go through it.

    >>> e = rk4(lambda t, x: x, torch.ones(1, dtype=torch.float64), 0.0, 1.0, 100)
    >>> round(e.item(), 8)
    2.71828183
    """
    h = (end - start) / steps
    for i in range(steps):
        t = start + i * h
        a = f(t, x)
        b = f(t + h / 2, torch.add(x, a, alpha=h / 2))
        c = f(t + h / 2, torch.add(x, b, alpha=h / 2))
        d = f(t + h, torch.add(x, c, alpha=h))
        x = torch.add(x, a + 2 * (b + c) + d, alpha=h / 6)
    return x


_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def dormand_prince(
    f: Field,
    x: Tensor,
    start: float,
    end: float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    most: int = 10_000,
) -> Tensor:
    """Dormand and Prince's pair of orders 5 and 4: steps as long as the worst example allows.

    Args:
        f: the derivative.
        x: `(n, *event)`, at `start`.
        start: a time.
        end: another.
        rtol: the largest error of a step for each unit of x.
        atol: the largest error of a step beside that.
        most: steps, after which it gives up.

    Raises:
        RuntimeError: it has given up, for the equation is too stiff or not finite.

    >>> e = dormand_prince(lambda t, x: x, torch.ones(1, 1, dtype=torch.float64), 0.0, 1.0)
    >>> round(e.item(), 4)
    2.7183
    """
    t, h, slope = start, (end - start) / 10, f(start, x)
    for _ in range(most):
        h = h if abs(h) < abs(end - t) else end - t
        slopes = _slopes(f, t, x, slope, h)
        new = torch.add(x, _combine(_STAGES[-1], slopes), alpha=h)
        scale = atol + rtol * torch.maximum(x.abs(), new.abs())
        miss = (h * _combine(_ERROR, slopes) / scale).flatten(1)
        worst = float(miss.square().mean(1).amax().sqrt().detach())
        if worst <= 1:
            t, x, slope = t + h, new, slopes[-1]
            if t == end or abs(end - t) < 1e-12:
                return x
        h *= min(10.0, max(0.2, 0.9 * worst**-0.2)) if worst > 0 else 10.0
    raise RuntimeError(f"an equation was not solved in {most} steps, up to t = {t:.4g} only")


def _slopes(f: Field, t: float, x: Tensor, slope: Tensor, h: float) -> list[Tensor]:
    """At the seven nodes; the last is that of the next step's first."""
    slopes = [slope]
    for node, weights in zip(_NODES, _STAGES, strict=True):
        slopes.append(f(t + node * h, torch.add(x, _combine(weights, slopes), alpha=h)))
    return slopes


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=False):
        if weight:
            total = torch.add(total, slope, alpha=weight)
    return total


FieldEach = Callable[[Tensor, Tensor], Tensor]
"""The derivative of x, `(n, *event)`, at a time for each, `(n,)`."""


def dormand_prince_each(
    f: FieldEach,
    x: Tensor,
    start: float,
    end: float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    most: int = 10_000,
) -> Tensor:
    """The same pair, with steps of its own for each example, which no other one can change.

    Args:
        f: the derivative.
        x: `(n, *event)`, at `start`.
        start: a time.
        end: another.
        rtol: the largest error of a step for each unit of x.
        atol: the largest error of a step beside that.
        most: steps, after which it gives up.

    Raises:
        RuntimeError: it has given up, for an equation is too stiff or not finite.

    >>> e = dormand_prince_each(lambda t, x: x, torch.ones(2, 1), 0.0, 1.0)
    >>> e.flatten().round(decimals=3).tolist()
    [2.7179999351501465, 2.7179999351501465]
    """
    wide = (-1, *(1,) * (x.ndim - 1))
    t = x.new_full((len(x),), start)
    h = torch.full_like(t, (end - start) / 10)
    slope = f(t, x)
    for _ in range(most):
        left = end - t
        if not bool(left.any()):
            return x
        arrives = h.abs() >= left.abs()
        h = torch.where(arrives, left, h)
        if bool(((t + h == t) & (left != 0)).any()):
            raise RuntimeError("an equation is not finite, or too stiff, however short the step")
        slopes, step = [slope], h.reshape(wide)
        for node, weights in zip(_NODES, _STAGES, strict=True):
            slopes.append(f(t + node * h, x + _combine(weights, slopes) * step))
        new = x + _combine(_STAGES[-1], slopes) * step
        scale = atol + rtol * torch.maximum(x.abs(), new.abs())
        worst = (step * _combine(_ERROR, slopes) / scale).flatten(1).square().mean(1).sqrt()
        taken = worst <= 1
        keep = taken.reshape(wide)
        x, slope = torch.where(keep, new, x), torch.where(keep, slopes[-1], slope)
        t = torch.where(taken, torch.where(arrives, torch.full_like(t, end), t + h), t)
        h = h * (0.9 * worst.clamp(min=1e-10) ** -0.2).clamp(0.2, 10.0).nan_to_num(0.2)
    raise RuntimeError(
        f"{int(left.count_nonzero())} of {len(x)} equations were not solved in {most} steps"
    )
