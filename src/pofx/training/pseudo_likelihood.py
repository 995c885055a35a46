r"""pseudo_likelihood: how well an energy of discrete values tells each of them from all the others.

.. math:: \mathrm{PL}(x) = \sum_i \log p(x_i | x_{-i}), \qquad
    p(x_i = v | x_{-i}) \propto e^{-E(x_1, \ldots, v, \ldots, x_d)}

It needs no log Z, and the true distribution has the largest mean. Of many elements a part stands
for all: each example has a part of its own, always the same one.

References:
    Statistical analysis of non-lattice data (Besag, 1975), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pofx.data.dataset import keyed_uniform
from pofx.functional.random import stream
from pofx.spec import Binary, Categorical, DataSpec
from pofx.typing import Data, PerExample

SITES = 32
"""Elements of an example that stand for all."""
_NUMBERS = 1 << 22
"""Of states whose energy is asked for at a time."""


def serves(spec: DataSpec) -> bool:
    """Whether every element is a bit or a category."""
    return all(isinstance(s, Binary | Categorical) for s in spec.columns)


def pseudo_log_prob(
    energy: Callable[[Data], PerExample],
    x: Data,
    spec: DataSpec,
    *,
    first: int = 0,
    sites: int = SITES,
) -> PerExample:
    """The pseudo-log-likelihood of examples, nats `(n,)`: exact up to `sites` elements, else an
    unbiased estimate.

    Args:
        energy: minus log p(x) up to a constant, `(m, *event) -> (m,)`.
        x: examples, `(n, *event)`.
        spec: of bits and categories.
        first: the number of the first example, which keys its part of the elements.
        sites: elements that stand for all.

    >>> x = torch.tensor([[1.0, 0.0]])  # log p(x) = 3 x_1 - log(...): the bits are independent
    >>> pl = pseudo_log_prob(lambda x: -3 * x[:, 0], x, DataSpec((2,), Binary()))
    >>> [round(float(v), 4) for v in (pl, -math.log1p(math.exp(-3)) - math.log(2))]
    [-0.7417, -0.7417]
    """
    n, size = len(x), math.prod(x.shape[1:])
    if size <= sites:
        chosen = torch.arange(size).expand(n, size)
    else:
        rows = np.arange(first, first + n)
        chosen = keyed_uniform(stream("sites", 0), rows, (size,)).argsort(1)[:, :sites]
    here, share = energy(x), max(1, _NUMBERS // (n * size))
    parts = [_conditionals(energy, x, here, part, spec) for part in chosen.split(share, 1)]
    return torch.cat(parts, 1).mean(1) * size


def _conditionals(
    energy: Callable[[Data], PerExample], x: Data, here: PerExample, sites: Tensor, spec: DataSpec
) -> Tensor:
    """Log p(x_i | the others) at some sites of each example, `(n, k)`."""
    sites = sites.to(x.device)
    levels = torch.tensor([s.levels for s in spec.columns], device=x.device)[sites]
    own = x.flatten(1).gather(1, sites)
    others = [-here[:, None].expand(sites.shape)]
    for shift in range(1, int(levels.max())):
        states = x.flatten(1)[:, None].repeat(1, sites.shape[1], 1)
        states.scatter_(2, sites[..., None], ((own + shift) % levels)[..., None])
        found = energy(states.reshape(-1, *x.shape[1:])).view(sites.shape)
        others.append((-found).masked_fill(shift >= levels, -math.inf))
    return -here[:, None] - torch.stack(others).logsumexp(0)
