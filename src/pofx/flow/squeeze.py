r"""squeeze: between space and channels, and the multi-scale architecture.

A squeeze turns each 2 x 2 block of pixels into four channels. Its channels come in the order of a
checkerboard's colours: first the two pixels of the block's diagonal, then the two off it. So a
coupling between the two halves of the *channels* of a squeezed image is a coupling between the two
colours of the *pixels*, and the conditioner works on the half-sized image, without the half of its
output that a mask would throw away.

References:
    Density estimation using Real NVP (Dinh et al., 2017), sections 3.4 to 3.6, figure 3, eq. 13-16.
    https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pofx.flow.bijection import Bijection, Chain, Flatten
from pofx.flow.permutation import Permutation
from pofx.typing import Cond, PerExample

_DIAGONAL_FIRST = (0, 3, 1, 2)


class Squeeze(Bijection):
    """Space to depth: `(n, c, 2 h, 2 w) -> (n, 4 c, h, w)`; the first 2 c channels hold one colour
    of a checkerboard.

    >>> Squeeze()(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]))[0].flatten()
    tensor([0., 3., 1., 2.])
    """

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(3, 5, 0, 1, 2, 4).flatten(0, 1)
        z = torch.cat([blocks[i] for i in _DIAGONAL_FIRST], 1)
        return z, x.new_zeros(n)

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        n, c, h, w = z.shape
        by_position = dict(zip(_DIAGONAL_FIRST, z.chunk(4, 1), strict=True))
        blocks = torch.stack([by_position[i] for i in range(4)], -1).unflatten(-1, (2, 2))
        return blocks.permute(0, 1, 2, 4, 3, 5).reshape(n, c // 4, 2 * h, 2 * w)


def colours_to_rows(channels: int) -> Permutation:
    """Reorders a squeezed image so that its halves are the even and the odd rows instead of a
    checkerboard's colours.

    Args:
        channels: of the squeezed image, a multiple of 4.
    """
    blocks = torch.arange(channels).chunk(4)
    return Permutation(torch.cat([blocks[0], blocks[2], blocks[1], blocks[3]]).tolist())


class MultiScale(Bijection):
    """One scale, after which half of the channels are done and the other half goes on to the next,
    coarser one.

    The latent is a vector: what this scale has factored out, then what the rest gives.

    Args:
        scale: the bijection of this scale, between images of one shape.
        rest: of the remaining half of the channels, to a vector.
        shape: event shape of what `scale` puts out, with an even number of channels.
    """

    def __init__(self, scale: Bijection, rest: Bijection, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.scale, self.rest = scale, rest
        self.done = (shape[0] // 2, *shape[1:])

    def forward(self, x: Tensor, cond: Cond | None = None) -> tuple[Tensor, PerExample]:
        h, ladj = self.scale(x, cond)
        done, going = h.chunk(2, 1)
        z, ladj_rest = self.rest(going, cond)
        return torch.cat([done.flatten(1), z], 1), ladj + ladj_rest

    def inverse(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        c, h, w = self.done
        done, rest = z[:, : c * h * w], z[:, c * h * w :]
        going = self.rest.inverse(rest, cond)
        return self.scale.inverse(torch.cat([done.reshape(-1, c, h, w), going], 1), cond)


def multi_scale(
    shape: tuple[int, int, int], steps: Callable[[int], Iterable[Bijection]], scales: int
) -> Bijection:
    """The same steps at every scale, each on half as large a picture; its latent is a vector.

    It ends after `scales` scales, or where a side is odd or below 4.

    Args:
        shape: of an image, with even sides.
        steps: of a scale, given the channels of its squeezed image.
        scales: at most so many.
    """
    c, h, w = 4 * shape[0], shape[1] // 2, shape[2] // 2
    here = [Squeeze(), *steps(c)]
    if scales == 1 or h % 2 or w % 2 or min(h, w) < 4:
        return Chain([*here, Flatten((c, h, w))])
    rest = multi_scale((c // 2, h, w), steps, scales - 1)
    return MultiScale(Chain(here), rest, (c, h, w))
