r"""continuous: a bijection that flows along a velocity from data at t = 0 to noise at t = 1.

.. math:: \dot x = v(x, t), \qquad
    \log|\det| = \int_0^1 \mathrm{tr} \frac{\partial v}{\partial x} dt

The trace is a sum over directions of :math:`e^T (\partial v / \partial x) e`: over all axes it is
exact, and over one random direction it has the right mean. The network pushes directions forwards
beside its input, so that neither needs a derivative of a derivative.

References:
    FFJORD: free-form continuous dynamics for scalable reversible generative models (Grathwohl et
    al., 2019), eq. 3-8. https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pofx.flow.bijection import Bijection
from pofx.nn.condition import condition
from pofx.solvers.ode import rk4
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample

_EMBEDDING = 16


class Velocity(nn.Module):
    r"""A fully connected network of x whose layers the time, and the class, gate and shift.

    .. math:: h \leftarrow (W h + b) \odot \sigma(G u) + C u, \qquad u = (t, \mathrm{class}, 1)
    """

    def __init__(
        self, size: int, hidden: tuple[int, ...] = (64, 64), cond: DataSpec | None = None
    ) -> None:
        super().__init__()
        self.label = condition(cond, _EMBEDDING)
        sizes = [size, *hidden, size]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        known = 1 + (_EMBEDDING if cond else 0)
        self.gates = nn.ModuleList(nn.Linear(known, b) for b in sizes[1:])
        self.shifts = nn.ModuleList(nn.Linear(known, b, bias=False) for b in sizes[1:])
        nn.init.normal_(self.layers[0].weight, std=size**-0.5)  # type: ignore[arg-type]
        nn.init.uniform_(self.layers[0].bias, -2, 2)  # type: ignore[arg-type]
        for layer in (self.layers[-1], self.shifts[-1]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def known(self, x: Tensor, cond: Cond | None) -> Tensor:
        """What does not change on the way, with a place for the time: `(n, known)`, or `(1, 1)`
        where there is no class.
        """
        if self.label is None:
            return x.new_zeros(1, 1)
        return torch.cat([x.new_zeros(len(x), 1), self.label(cond)], 1)

    def forward(self, x: Tensor, t: float, known: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """v, and what it does to directions: `(k, n, size)`, or `(k, 1, size)` the same for all,
        before, and `(k, n, size)` after.
        """
        known = torch.cat([torch.full_like(known[:, :1], t), known[:, 1:]], 1)
        layers: list[nn.Linear] = list(self.layers)  # type: ignore[arg-type]
        for i, (layer, gate, shift) in enumerate(zip(layers, self.gates, self.shifts, strict=True)):
            if i:
                x = torch.tanh(x)
                along = along * (1 - x.square())
            open_ = torch.sigmoid(gate(known))
            x = torch.addcmul(shift(known), layer(x), open_)
            along = (along @ layer.weight.t()) * open_
        return x, along


class Continuous(Bijection):
    """The flow along a velocity, by Runge and Kutta's method with equal steps.

    Args:
        velocity: of vectors.
        solver_steps: from t = 0 to 1.
        exact: whether the trace is summed over all axes, or estimated along one random direction
            for each example (Hutchinson), the same all the way.
    """

    def __init__(self, velocity: Velocity, solver_steps: int = 8, *, exact: bool = True) -> None:
        super().__init__()
        self.velocity: Velocity = velocity
        self.solver_steps, self.exact = solver_steps, exact

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        known = self.velocity.known(x, cond)
        before = self._directions(x)

        def derivative(t: float, state: Tensor) -> Tensor:
            v, after = self.velocity(state[:, :-1], t, known, before)
            return torch.cat([v, (before * after).sum((0, 2))[:, None]], 1)

        start = torch.cat([x, x.new_zeros(len(x), 1)], 1)
        end = rk4(derivative, start, 0.0, 1.0, self.solver_steps)
        return end[:, :-1], end[:, -1]

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        known, none = self.velocity.known(z, cond), z.new_zeros(0, *z.shape)
        return rk4(lambda t, x: self.velocity(x, t, known, none)[0], z, 1.0, 0.0, self.solver_steps)

    def _directions(self, x: Tensor) -> Tensor:
        """Every axis, or a random corner of the cube for each example."""
        if not self.exact:
            return 2 * torch.bernoulli(torch.full_like(x, 0.5))[None] - 1
        return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, None]
