r"""penalties: what keeps a discriminator's gradient in bounds.

Each is one number per example, differentiable in the discriminator's parameters, so that the leaf
decides how to weigh and average it.

References:
    Which training methods for GANs do actually converge? (Mescheder et al., 2018), eq. 9.
    https://arxiv.org/abs/1801.04406
    Improved training of Wasserstein GANs (Gulrajani et al., 2017), eq. 3. https://arxiv.org/abs/1704.00028
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.functional.reductions import expand_like, sum_event
from pofx.typing import PerExample

Critic = Callable[[Tensor], PerExample]


def input_gradient(values: PerExample, x: Tensor) -> Tensor:
    """The gradient of each example's value at that example, itself differentiable: the shape of
    `x`.

    `x` must be what `values` were computed from, with `requires_grad`; no example's value may
    depend on another example.
    """
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    return gradient


def r1(logits: PerExample, x: Tensor) -> PerExample:
    r"""The squared norm of the gradient at real data, :math:`|\nabla_x D(x)|^2`, for :math:`\gamma
    / 2` to weigh.

    >>> x = torch.zeros(2, 3, requires_grad=True)
    >>> r1(x @ torch.tensor([1.0, 2.0, 2.0]), x).tolist()
    [9.0, 9.0]
    """
    return sum_event(input_gradient(logits, x).square())


def between(x: Tensor, x_fake: Tensor, u: PerExample) -> Tensor:
    """A point on the line from each fake example (u = 0) to its real one (u = 1), cut from any
    graph.
    """
    u = expand_like(u, x)
    return (u * x + (1 - u) * x_fake).detach()


def gradient_norm(critic: Critic, x: Tensor) -> PerExample:
    """The norm of the critic's gradient at `x`, differentiable in the critic's parameters even
    where it is 0.
    """
    x = x.detach().requires_grad_()
    # The square root has no derivative at 0; 1e-12 moves a norm of 1 by less than float32 can tell.
    return (sum_event(input_gradient(critic(x), x).square()) + 1e-12).sqrt()
