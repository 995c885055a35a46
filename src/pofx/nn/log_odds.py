r"""log_odds: log-odds of each element for itself, which a network's outputs are added to.

.. math:: \mathrm{parameters}_d = \log \frac{n_d + 1/2}{n + 1 - n_d - 1/2} + f_d(x_{<d})

for a bit that was 1 in n_d of n examples, and likewise for each value of a category. A network f
that is decayed to nothing then leaves independent elements, and not fair coins: where examples are
few that is most of what they say.

References:
    The estimation of probabilities from counts, each a half more: An invariant form for the prior
    probability in estimation problems (Jeffreys, 1946).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from pofx.functional.dequantize import indices
from pofx.functional.processes import sum_over_processes
from pofx.nn.defaults import few_frequencies
from pofx.spec import Binary, Categorical, DataSpec, Simple
from pofx.typing import Data

_FOR_EACH = 20
"""Examples for each level, with which frequencies cost an element a fortieth of a nat at most."""


class LogOdds(nn.Module):
    """Shares of the values of bits and categories, over all examples that were trained on.

    Args:
        spec: of the data.
        outputs: parameters of each element; they stand side by side, and those of elements that
            are neither bits nor categories get nothing.

    >>> log_odds = LogOdds(DataSpec((1,), Binary()), [1])
    >>> log_odds.see(torch.tensor([[1.0], [1.0], [0.0]]))
    >>> log_odds.settle()
    >>> log_odds().sigmoid()
    tensor([0.6250])
    """

    total: Tensor
    seen: Tensor
    fresh: Tensor

    def __init__(self, spec: DataSpec, outputs: Sequence[int]) -> None:
        super().__init__()
        places = [slice(a, b) for a, b in pairwise(accumulate(outputs, initial=0))]
        self.width = sum(outputs)
        self.supports = []
        for g, (support, elements, columns) in enumerate(_groups(spec.columns, places)):
            self.supports.append(support)
            self.register_buffer(f"elements_{g}", torch.tensor(elements), persistent=False)
            self.register_buffer(f"columns_{g}", torch.tensor(columns), persistent=False)
        self.register_buffer("total", torch.zeros(self.width))
        self.register_buffer("seen", torch.zeros(()))
        fresh = torch.zeros(self.width + 1)  # of this step, and how many examples it had
        self.register_buffer("fresh", fresh, persistent=False)

    def _alike(self) -> Iterator[tuple[Binary | Categorical, Tensor, Tensor]]:
        """Each kind of bits and categories, its elements and the places of their parameters."""
        for g, support in enumerate(self.supports):
            yield support, self.get_buffer(f"elements_{g}"), self.get_buffer(f"columns_{g}")

    def forward(self) -> Tensor:
        """What to add to the parameters of all elements, `(sum(outputs),)`."""
        out = torch.zeros_like(self.total)
        for support, _, columns in self._alike():
            n = self.total[columns] + 0.5
            rest = self.seen + 1 - n if isinstance(support, Binary) else self.seen + 0.5
            out[columns] = torch.where(self.seen > 0, n.log() - rest.log(), 0.0)
        return out

    @torch.no_grad()
    def see(self, x: Data) -> None:
        """Counts the examples of a micro-batch; `settle` takes them up."""
        values = x.flatten(1)
        for support, elements, columns in self._alike():
            k = indices(values[:, elements], support)
            hot = k if isinstance(support, Binary) else nn.functional.one_hot(k, support.levels)
            self.fresh[columns] += hot.sum(0).flatten().to(self.fresh)
        self.fresh[-1] += len(x)

    @torch.no_grad()
    def settle(self) -> None:
        """Takes up what a step has seen, in all its micro-batches and processes."""
        fresh = sum_over_processes(self.fresh)
        self.total += fresh[:-1]
        self.seen += fresh[-1]
        self.fresh.zero_()


def cheap(spec: DataSpec) -> bool:
    """Whether examples of bits or categories are few, and yet twenty or more for each level: the
    frequencies of places, in which texts do not differ, then cost them next to nothing.
    """
    levels = max(c.levels for c in spec.columns)
    return few_frequencies(spec) and (spec.count or 0) >= _FOR_EACH * levels


def of_tokens(spec: DataSpec) -> LogOdds | None:
    """Those of examples as tokens, `size * levels` numbers; None unless they are `cheap`.

    >>> [of_tokens(DataSpec((3,), Categorical(5), count=n)) is None for n in (99, 400, 60_000)]
    [True, False, True]
    """
    if not cheap(spec):
        return None
    levels = max(c.levels for c in spec.columns)
    as_tokens = DataSpec((spec.size,), Categorical(levels))
    return LogOdds(as_tokens, [levels] * spec.size)


def _groups(
    columns: Sequence[Simple], places: Sequence[slice]
) -> list[tuple[Binary | Categorical, list[int], list[int]]]:
    """Each kind of bits and categories, with its elements and the places of their parameters."""
    found = []
    for support in dict.fromkeys(columns):
        if isinstance(support, Binary | Categorical):
            elements = [i for i, s in enumerate(columns) if s == support]
            own = [i for e in elements for i in range(places[e].start, places[e].stop)]
            found.append((support, elements, own))
    return found
