r"""white_noise: noise for a loop that draws numbers of one shape again and again.

Where a step costs little else, drawing its noise is what it costs. On a processor most of a normal
number's price in torch is its Mersenne twister; a quicker generator of bits and the transform of
Box and Muller over a whole block take two thirds of the time.

References:
    A note on the generation of random normal deviates (Box and Muller, 1958).
    https://doi.org/10.1214/aoms/1177706645
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import has_torch_function

from pofx.functional.products import transformed

_BLOCK = 1 << 17
"""Numbers drawn at a time: they fit a core's cache, and the price of a call is shared by many."""
_FEWEST = 1 << 12
"""Fewer numbers a step than this are torch's: little is to be gained."""


def white_noise(like: Tensor) -> Iterator[Tensor]:
    """Standard normal noise of a tensor's shape, without end, each overwritten by the next.

    After as many steps as a block is worth, single precision on a processor comes from a generator
    of its own, which torch's then seeds. All other noise is torch's own, and so is all in a context
    that overrides torch's draws, as `noise` does, and within transforms of functions.

    >>> _ = torch.manual_seed(0)
    >>> z = white_noise(torch.empty(5000, 2))
    >>> moments = [(float(x.mean()), float(x.std())) for x, _ in zip(z, range(20))]
    >>> all(abs(mean) < 0.05 and abs(std - 1) < 0.05 for mean, std in moments)
    True
    """
    z, n = torch.empty_like(like), like.numel()
    plain = type(z) is Tensor and z.device.type == "cpu" and z.dtype == torch.float32
    if n < _FEWEST or not plain or transformed():
        while True:
            yield z.normal_()
    parts = max(1, _BLOCK // n)
    for _ in range(parts):  # a short walk would leave most of a block
        yield z.normal_()
    block = torch.empty(parts * n + parts * n % 2, dtype=z.dtype)
    ready: Iterator[Tensor] = iter(())
    bits: np.random.SFC64 | None = None
    while True:
        if has_torch_function((z,)):
            yield z.normal_()
            continue
        part = next(ready, None)
        if part is None:
            bits = bits or np.random.SFC64(int(torch.randint(1 << 62, ())))
            for piece in block.split(_BLOCK):
                box_muller(bits.random_raw(len(piece) // 2), piece.numpy())
            ready = iter(block[: parts * n].view(parts, *like.shape).unbind())
        else:
            yield part


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
    radius, angle = uniform[:n], uniform[n:]
    np.abs(radius, out=radius)
    radius *= np.float32(2**-31)
    radius += np.float32(2**-32)  # 0 has no logarithm
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(2**-31 * math.pi)
    np.multiply(radius, np.cos(angle, out=out[:n]), out=out[:n])
    np.multiply(radius, np.sin(angle, out=out[n:]), out=out[n:])
