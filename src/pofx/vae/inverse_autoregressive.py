r"""inverse_autoregressive: a posterior that is a normal draw sent through triangular steps.

References:
    Improved variational inference with inverse autoregressive flow (Kingma et al., 2016), algorithm
    1 and eq. 10-14. https://arxiv.org/abs/1606.04934
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nn.masked import MaskedMLP
from pofx.vae.normal import NormalPosterior

_FORGET = 1.5
"""Added to s: sigma starts near 0.8, so that a step starts close to doing nothing."""


class IAFStep(nn.Module):
    """One step, with the context as an element before all coordinates.

    Args:
        latent: coordinates.
        context: numbers of h.
        width: of the hidden layer.
        backwards: whether the last coordinate comes first.
    """

    order: Tensor

    def __init__(self, latent: int, context: int, width: int, *, backwards: bool) -> None:
        super().__init__()
        self.net = MaskedMLP([context, *[1] * latent], [0, *[2] * latent], (width,), direct=True)
        nn.init.zeros_(self.net.last.weight)
        coordinates = list(range(1, latent + 1))
        order = [0, *(coordinates[::-1] if backwards else coordinates)]
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The next z and its log-determinant: `(n, latent)`, `(n,)`."""
        m, s = self.net(torch.cat([context, z], 1), self.order).unflatten(1, (-1, 2)).unbind(2)
        s = s + _FORGET
        gate = s.sigmoid()
        return gate * z + (1 - gate) * m, F.logsigmoid(s).sum(1)


class IAFPosterior:
    """A normal draw sent through the steps.

    Args:
        start: q(z_0 | x).
        context: h, `(n, context)`.
        steps: the steps.
    """

    def __init__(self, start: NormalPosterior, context: Tensor, steps: nn.ModuleList) -> None:
        self.start, self.context, self.steps = start, context, steps

    @property
    def mean(self) -> Tensor:
        """Where the mean of z_0 goes, which is no mean but a code that stands for the example."""
        return self._send(self.start.mu, self.context)[0]

    def draw(self, k: int, *, stopped: bool = False) -> tuple[Tensor, Tensor]:
        if stopped:
            raise NotImplementedError("log q of a code that was not drawn by its own steps")
        z, log_q = self.start.draw(k)
        end, ladj = self._send(z.flatten(0, 1), self.context.repeat(k, 1))
        return end.reshape(z.shape), log_q - ladj.reshape(log_q.shape)

    def _send(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(z[:, 0])
        for step in self.steps:
            z, ladj = step(z, context)
            total = total + ladj
        return z, total
