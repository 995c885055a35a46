"""processes: statistics of a whole batch, when several processes hold a share of it each."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, the same in each; `x` itself when there is one.

    >>> import torch
    >>> sum_over_processes(torch.ones(2))
    tensor([1., 1.])
    """
    if not (dist.is_available() and dist.is_initialized()):
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x
