r"""autoregressive: each element moves by a rule that those before it set.

.. math:: z_d = f(x_d; \theta_d), \quad \theta_d = \mathrm{net}_d(x_{<d}), \qquad
    \log|\det| = \sum_d \log \frac{\partial f(x_d; \theta_d)}{\partial x_d}

A masked network gives all rules in one pass, so densities cost one pass. Its inverse needs x one
element after the other, but each unit of the network only once.

References:
    Masked autoregressive flow for density estimation (Papamakarios et al., 2017), eq. 2-5.
    https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.flow.bijection import Bijection
from pofx.flow.elementwise import Elementwise
from pofx.nn.condition import inputs as condition_inputs
from pofx.nn.masked import MaskedMLP, Unrolled
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample


class Autoregressive(Bijection):
    """An elementwise map whose numbers a masked network makes of the elements before.

    Args:
        order: the elements, first to last.
        map: what the numbers set.
        hidden: widths of the hidden layers; the output starts at zero, the map at the identity.
        cond: the spec of the condition, which comes before the first element.
        direct: whether the numbers also see elements without a layer between.
    """

    def __init__(
        self,
        order: Tensor,
        map: Elementwise,
        hidden: tuple[int, ...] = (128, 128),
        *,
        cond: DataSpec | None = None,
        direct: bool = True,
    ) -> None:
        super().__init__()
        self.map, self.size = map, len(order)
        self.told = None if cond is None else condition_inputs(cond)
        inputs, outputs = [1] * self.size, [map.numbers] * self.size
        if self.told is not None:
            inputs, outputs = [self.told.width, *inputs], [0, *outputs]
            order = F.pad(order + 1, (1, 0))
        self.net = MaskedMLP(
            inputs, outputs, hidden, direct=direct, interleaved=True, activation=_relu
        )
        self.order = order.tolist()
        for i, mask in enumerate(self.net.masks(order)):
            # as numbers, which multiply weights faster than bits do
            self.register_buffer(f"mask{i}", mask.to(self.net.last.weight), persistent=False)
        _start(self.net)

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        # transposed, so that each of an element's numbers is one block of memory
        x = x.t().contiguous()
        z, ladj = self.map.forward(x, self.raw(x, cond))
        return z.t(), ladj

    def raw(self, x: Tensor, cond: Cond | None) -> Tensor:
        """The numbers that set the map, `(numbers, elements, n)`, of `(elements, n)`."""
        seen = x if self.told is None else torch.cat([self._told(cond).t(), x])
        raw = self.net.transposed(seen, list(self.buffers(recurse=False)))
        return raw.view(self.map.numbers, *x.shape)

    @torch.no_grad()
    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        steps = Unrolled(self.net, len(z))
        x = torch.empty_like(z)
        first = self.told is not None
        if first:
            steps.reveal(0, self._told(cond))
        for number in self.order[first:]:
            element = number - first
            raw = steps.outputs(number).t()
            x[:, element] = self.map.inverse(z[:, element], raw)
            steps.reveal(number, x[:, element : element + 1])
        return x

    def _told(self, cond: Cond | None) -> Tensor:
        assert cond is not None
        assert self.told is not None
        return self.told(cond).to(self.net.last.weight.dtype)


class Inverse(Bijection):
    r"""An autoregressive layer the other way round: samples cost one pass, and z is found from x
    one element after the other.

    Where z solves :math:`f(z; \phi) = x`, its derivatives are
    :math:`dz = J^{-1} (dx - \partial_\phi f \, d\phi)`, and a gradient g of z takes the place of
    :math:`v = J^{-T} g`. J is triangular, so that with its diagonal D the iteration
    :math:`v \leftarrow v + D^{-1} (g - J^T v)` ends after as many steps as there are elements, and
    is near its end long before.

    References:
        Improved variational inference with inverse autoregressive flow (Kingma et al., 2016),
        eq. 10-12. https://arxiv.org/abs/1606.04934
    """

    def __init__(self, layer: Autoregressive) -> None:
        super().__init__()
        self.layer: Autoregressive = layer

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        z = self.layer.inverse(x, cond)
        if torch.is_grad_enabled():
            z = self._differentiable(z, x, cond)
        return z, -self.layer(z, cond)[1]

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return self.layer(z, cond)[0]

    def _differentiable(self, z: Tensor, x: Tensor, cond: Cond | None) -> Tensor:
        z.requires_grad_()
        again = self.layer(z, cond)[0]
        missing = x - again
        if missing.requires_grad:
            diagonal = self._diagonal(z, cond)
            missing.register_hook(lambda g: _solve(g, again, z, diagonal))
        return z.detach() + missing

    def _diagonal(self, z: Tensor, cond: Cond | None) -> Tensor:
        with torch.no_grad():
            columns = z.t().contiguous()
            raw = self.layer.raw(columns, cond)
        columns.requires_grad_()
        x = self.layer.map.forward(columns, raw)[0]
        return torch.autograd.grad(x.sum(), columns)[0].t()


def to_and_fro(
    size: int,
    layers: int,
    element: Elementwise,
    hidden: tuple[int, ...],
    cond: DataSpec | None = None,
) -> list[Autoregressive]:
    """Layers in the order of the elements and against it, in turn."""
    order = torch.arange(size)
    orders = [order if i % 2 == 0 else order.flip(0) for i in range(layers)]
    return [Autoregressive(o, element, hidden, cond=cond) for o in orders]


def _solve(g: Tensor, x: Tensor, z: Tensor, diagonal: Tensor) -> Tensor:
    """The v whose product with the Jacobian dx/dz is g."""
    v = g / diagonal
    near = 10 * torch.finfo(g.dtype).eps * g.abs().max()
    for _ in range(g.shape[1] - 1):
        error = g - torch.autograd.grad(x, z, v, retain_graph=True)[0]
        if error.abs().max() <= near:
            break
        v = v + error / diagonal
    return v


def _start(net: MaskedMLP) -> None:
    """The output at zero; kinks of the first layer's rectifiers spread over standardised data."""
    for layer in net.units:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.uniform_(net.units[0].bias, -2, 2)
    ends = [net.last] if net.direct is None else [net.last, net.direct]
    for parameter in nn.ModuleList(ends).parameters():
        nn.init.zeros_(parameter)


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)
