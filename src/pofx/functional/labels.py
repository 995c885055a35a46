r"""labels: conditions that nobody knows, or that are withheld.

Of classes, every one is as likely as another: :math:`p(x) = \frac{1}{K} \sum_y p(x | y)`, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.errors import UserError
from pofx.functional.reductions import expand_like
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


def marginal(log_prob: Callable[[Data, Cond], PerExample], x: Data, classes: int) -> PerExample:
    """Log p(x) of the equal mixture of `classes` conditional models, nats; `log_prob(x, cond)`
    knows each.

    >>> marginal(lambda x, y: x[:, 0] * 0 - 2.0, torch.zeros(3, 1), 5)
    tensor([-2., -2., -2.])
    """
    each = [log_prob(x, torch.full((x.shape[0],), y, device=x.device)) for y in range(classes)]
    return torch.stack(each).logsumexp(0) - math.log(classes)


def any_class(n: int, classes: int, device: torch.device) -> Tensor:
    """A label for each of `n` examples, drawn evenly."""
    return (torch.rand(n, device=device) * classes).long().clamp(max=classes - 1)


def check_given(cond: Cond | None, spec: DataSpec) -> None:
    """Refuses that a condition which is no class is left out: nobody knows how to average over it.

    Args:
        cond: what was given.
        spec: of the data.
    """
    if cond is None and spec.cond is not None and not spec.classes:
        raise UserError(
            "the condition must be given (got none): the model was trained with every condition "
            "told, and says nothing without one."
        )


def absent(cond: Cond) -> Cond:
    """As many conditions of the same kind that are not given: -1 in indices, NaN in numbers.

    >>> absent(torch.tensor([0, 1])), absent(torch.zeros(1, 2))
    (tensor([-1, -1]), tensor([[nan, nan]]))
    """
    return torch.full_like(cond, math.nan if cond.is_floating_point() else -1)


def withheld(cond: Cond, p: float) -> Cond:
    """Conditions of which each is withheld with probability p.

    >>> withheld(torch.tensor([0, 1]), 1.0)
    tensor([-1, -1])
    """
    chosen = torch.rand(cond.shape[:1], device=cond.device) < p
    return torch.where(expand_like(chosen, cond), absent(cond), cond)
