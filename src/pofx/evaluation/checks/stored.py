"""Stored: codes, completions, and whether the weights are all that a model is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pofx.capabilities import Samples
from pofx.errors import UserError
from pofx.evaluation.calls import call
from pofx.evaluation.checks.case import Case, per_example_methods
from pofx.evaluation.checks.samples import sample_faults
from pofx.typing import Cond, Data


def check_latent(case: Case) -> Iterator[str]:
    """Codes are decoded to whole examples."""

    def there_and_back(x: Data, cond: Cond | None = None) -> Data:
        return call(case.model.decode, call(case.model.encode, x, cond=cond), cond=cond)

    back = case.ask(there_and_back)
    if back.shape != case.x.shape:
        yield (
            f"decode(encode(x)) should have x's shape {tuple(case.x.shape)}, but has "
            f"{tuple(back.shape)}; let decode return whole examples."
        )


def check_complete(case: Case) -> Iterator[str]:
    """Of nothing, of the first half where the model can go on from it, and of everything."""
    size, (first, *rest) = case.spec.size, case.spec.shape
    place = torch.arange(size).view(*rest, first).movedim(-1, 0)  # an image's colours come together
    for count in (0, size // 2, size):
        known = (place < count).to(case.x.device)

        def complete(x: Data, cond: Cond | None = None, known: Tensor = known) -> Data:
            return call(case.model.complete, x, known, cond=cond)

        try:
            done = case.ask(complete, torch.where(known, case.x[:6], float("nan")))
        except UserError:
            if count in (0, size):
                raise
            continue
        yield from sample_faults(done, 6, case.spec)
        if not torch.equal(done[:, known], case.x[:6, known]):
            yield (
                f"complete should give back what is known, but changes it where {count} of {size} "
                "elements are; draw only the others."
            )


def check_state_dict(case: Case) -> Iterator[str]:
    """A copy with the same weights answers the same."""
    other = copy.deepcopy(case.model)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(case.model.state_dict())
    if not torch.equal(_answer(case, case.model), _answer(case, other)):
        yield (
            "a copy with the same state_dict should answer the same, but does not; register every "
            "tensor that matters as a parameter or a persistent buffer."
        )


def _answer(case: Case, model: Any) -> Tensor:
    if isinstance(model, Samples):
        return case.first_samples(6) if model is case.model else case.samples(6, model=model)
    names = per_example_methods(case)
    return case.ask(getattr(model, next(iter(names)))) if names else torch.empty(0)
