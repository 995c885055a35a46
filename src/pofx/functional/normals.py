r"""normals: noise for a loop that draws numbers of one shape again and again.

Where a step costs little else, drawing its noise is what it costs. On a processor most of a normal
number's price in torch is its Mersenne twister; a quicker generator of bits and the transform of
Box and Muller over a whole block take three quarters of the time.

References:
    A note on the generation of random normal deviates (Box and Muller, 1958).
    https://doi.org/10.1214/aoms/1177706645
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import has_torch_function

_BLOCK = 1 << 16
"""Numbers drawn at a time: they fit a core's cache, and the price of a call is shared by many."""
_FEWEST = 1 << 12
"""Fewer numbers a call than this are torch's: little is to be gained."""


class Normals:
    """Standard normal noise like a tensor, anew at every call.

    Single precision on a processor comes from a generator of its own, seeded from torch's, so that
    `torch.manual_seed` fixes it; all other noise is torch's own, and so is all in a context that
    overrides torch's draws, as `noise` does.

    >>> _ = torch.manual_seed(0)
    >>> normals = Normals(torch.empty(5000, 2))
    >>> z = normals()
    >>> z.shape, abs(float(z.mean())) < 0.04, abs(float(z.std()) - 1) < 0.03
    (torch.Size([5000, 2]), True, True)
    """

    def __init__(self, like: Tensor) -> None:
        n = like.numel()
        self._quick = like.device.type == "cpu" and like.dtype == torch.float32 and n >= _FEWEST
        parts = max(1, _BLOCK // n) if self._quick else 1
        self._block = torch.empty(parts * n + parts * n % 2, dtype=like.dtype, device=like.device)
        self._parts = self._block[: parts * n].view(parts, *like.shape).unbind()
        self._ready = iter(self._parts[:0])
        self._bits: np.random.SFC64 | None = None

    def __call__(self) -> Tensor:
        """The noise, which later calls overwrite."""
        if not self._quick or has_torch_function(self._parts[:1]):
            return self._parts[0].normal_()
        z = next(self._ready, None)
        if z is None:
            self._refill()
            z = next(self._ready)
        return z

    def _refill(self) -> None:
        bits = self._bits = self._bits or np.random.SFC64(int(torch.randint(1 << 62, ())))
        for block in self._block.split(_BLOCK):
            box_muller(bits.random_raw(len(block) // 2), block.numpy())
        self._ready = iter(self._parts)


def box_muller(words: NDArray[np.uint64], out: NDArray[np.float32]) -> None:
    r"""Turns random bits into standard normal numbers, two by the word:
    :math:`\sqrt{-2 \ln u} \cos \theta` and :math:`\sqrt{-2 \ln u} \sin \theta`.

    Args:
        words: 64 random bits each, `(n,)`, overwritten; half of them tell u, in steps of 2^-31, and
            half the angle.
        out: is filled, `(2n,)`. No number is beyond 6.67.
    """
    n, uniform = len(words), words.view(np.float32)
    uniform[:] = words.view(np.int32)
    uniform *= np.float32(2**-31)  # in [-1, 1]
    radius, angle = uniform[:n], uniform[n:]
    np.abs(radius, out=radius)
    radius += np.float32(2**-32)  # 0 has no logarithm
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(math.pi)
    np.multiply(radius, np.cos(angle, out=out[:n]), out=out[:n])
    np.multiply(radius, np.sin(angle, out=out[n:]), out=out[n:])
