"""Classes: does a model heed the class where its flag `conditional` says so, and only there?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pofx.capabilities import Bound, Density, Samples
from pofx.evaluation.checks.case import Case

_SHAKE = 0.1
"""Standard deviation of what is added to parameters: layers that start at zero hide the class."""


def makes_a_claim(case: Case) -> bool:
    """Whether the model says that it heeds the class, or that it does not."""
    return case.spec.classes >= 2 and isinstance(getattr(case.model, "conditional", None), bool)


def check_conditional(case: Case) -> Iterator[str]:
    """Answers change with the class, all else equal, if and only if `conditional` is true."""
    claimed, shaken = case.model.conditional, None
    for name, answer in _answers(case):
        heeded = _changes(case, case.model, answer)
        if not heeded and isinstance(case.model, nn.Module):
            shaken = _shaken(case) if shaken is None else shaken
            heeded = _changes(case, shaken, answer)
        if claimed and not heeded:
            yield (
                f"conditional is True, so {name} should change with the class, but does not; use "
                "cond, or set conditional to False."
            )
        if heeded and not claimed:
            yield (
                f"conditional is False, so {name} should be the same for every class, but changes "
                "with it; set conditional to True, or ignore cond."
            )


Answer = Callable[[Any, int], Tensor]


def _answers(case: Case) -> Iterator[tuple[str, Answer]]:
    """What a model says of a class, by the method's name."""
    if isinstance(case.model, Samples):
        yield "sample", lambda model, k: case.samples(4, model=model, cond=torch.full((4,), k))
    for name, kind in (("log_prob", Density), ("elbo", Bound)):
        if isinstance(case.model, kind):
            yield name, _asking(case, name)


def _asking(case: Case, name: str) -> Answer:
    return lambda model, k: case.ask(getattr(model, name), case.x[:8], label=k)


def _changes(case: Case, model: Any, answer: Answer) -> bool:
    first, *others = (answer(model, k) for k in range(min(case.spec.classes, 3)))
    return not all(torch.allclose(first, o, 1e-6, 1e-7, equal_nan=True) for o in others)


def _shaken(case: Case) -> nn.Module:
    model, generator = copy.deepcopy(case.model), case.generator(0)
    for p in model.parameters():
        if p.is_floating_point():
            p += _SHAKE * torch.randn(p.shape, generator=generator).to(p)
    return model
