r"""interpolation: curves between two codes.

.. math:: \text{linear: } (1 - t) a + t b, \qquad
    \text{spherical: } \frac{\sin((1 - t) \omega)}{\sin \omega} a
        + \frac{\sin(t \omega)}{\sin \omega} b, \quad \cos \omega = \frac{a \cdot b}{|a| |b|}

Codes of a standard normal prior in many dimensions lie close to a sphere; halfway along a straight
line between two of them is too close to the origin by a factor of the square root of two, and the
spherical curve stays where codes are.

References:
    Sampling generative networks (White, 2016), section 2.1. https://arxiv.org/abs/1609.04468
    Animating rotation with quaternion curves (Shoemake, 1985), section 3.3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Curve = Literal["linear", "spherical"]


def between(a: Tensor, b: Tensor, steps: int, curve: Curve = "spherical") -> Tensor:
    """`steps` codes from `a` to `b`, both ends among them: `(steps, *latent)`.

    >>> between(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3)[1]
    tensor([0.7071, 0.7071])
    >>> between(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3, "linear")[1]
    tensor([0.5000, 0.5000])
    """
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
    t = t.reshape(-1, *(1,) * a.ndim)
    straight = (1 - t) * a + t * b
    if curve == "linear":
        return straight
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)
    omega = torch.acos(cosine.clamp(-1, 1))
    if omega.sin() < 1e-4:  # one direction, or two opposite ones, between which no arc is shortest
        return straight
    return (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / omega.sin()


def traversal(z: Tensor, dimensions: list[int], spread: Tensor, offsets: Tensor) -> Tensor:
    """A code with one coordinate moved at a time: `(len(dimensions), len(offsets), latent)`.

    Args:
        z: `(latent,)`.
        dimensions: which coordinates.
        spread: the unit of each coordinate, `(latent,)`.
        offsets: how far to move, in these units.

    >>> traversal(torch.zeros(2), [1], torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0]))
    tensor([[[ 0., -2.],
             [ 0.,  2.]]])
    """
    moved = z.expand(len(dimensions), len(offsets), -1).clone()
    for row, d in zip(moved, dimensions, strict=True):
        row[:, d] += offsets * spread[d]
    return moved
