"""Check: does a model mean what its methods' names promise?

`check_model` is to a model what an estimator check is to scikit-learn: it tests each capability
that the model has by its meaning. A model that passes can be evaluated, compared, resumed and
served like any of ours; it need not subclass anything.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pofx.capabilities import (
    Bound,
    Completes,
    Density,
    Energy,
    ImportanceBound,
    Latent,
    Samples,
    Score,
)
from pofx.errors import UserError
from pofx.evaluation.arguments import check_examples, check_key, check_spec
from pofx.evaluation.calls import device_of, dtype_of, takes_cond
from pofx.evaluation.checks.bounds import check_bound, check_importance
from pofx.evaluation.checks.case import Case, Check, per_example_methods, random_examples
from pofx.evaluation.checks.classes import check_conditional, makes_a_claim
from pofx.evaluation.checks.density import (
    check_normalizer,
    check_per_example,
    check_random,
    check_shape,
    check_sum,
    has_samples_of_its_own,
    space,
)
from pofx.evaluation.checks.energy import (
    check_constant,
    check_rises,
    check_score,
    has_energies_of_samples,
)
from pofx.evaluation.checks.integral import check_integral
from pofx.evaluation.checks.samples import (
    check_cond,
    check_samples,
    check_seed,
    check_split,
    check_stream,
    sample_faults,
)
from pofx.evaluation.checks.stored import check_complete, check_latent, check_state_dict
from pofx.functional.draw import evaluating
from pofx.functional.random import seeded
from pofx.spec import DataSpec, Interval, Real
from pofx.typing import Data

Checked = tuple[str, ...]
"""The names of the checks that ran."""


class ModelCheckError(UserError):
    """A model does not mean what its methods promise.

    Args:
        check: name of the property that fails.
        sentence: what was expected, what came and what to do.
    """

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(sentence)
        self.check = check


def check_model(model: object, spec: DataSpec, *, x: Data | None = None, seed: int = 0) -> Checked:
    """Checks that a model's methods mean what they promise.

    What is told from random draws is refused only on evidence that a right model gives less than
    once in a million seeds; where there is not enough of it, the check passes.

    Args:
        model: anything with one of the capabilities; an `nn.Module` is put in evaluation mode
            meanwhile.
        spec: what the examples are.
        x: some real examples, `(n, *spec.shape)`; by default the model's own samples, or random
            ones.
        seed: of every random draw.

    Returns:
        The names of the checks that ran: those that the model's capabilities call for.

    Raises:
        ModelCheckError: one sentence for the first property that fails.
        UserError: the spec, the examples or the seed are none.

    >>> class Normal(nn.Module):
    ...     def log_prob(self, x): return -(x**2).sum(1) / 2 - 0.9189385
    >>> check_model(Normal(), DataSpec((1,)))
    ('per_example', 'random', 'integral', 'state_dict')
    """
    check_spec(spec)
    check_key(seed)
    if x is not None:
        check_examples(x, spec, least=3)
    ran = []
    with evaluating(model), seeded(seed), torch.no_grad():
        case = _case(model, spec, x, seed)
        for name, applies, check in _CHECKS:
            if applies(case):
                _run(name, check, case)
                ran.append(name)
    if not ran:
        raise ModelCheckError(
            "capabilities",
            f"{type(model).__name__} should have a method such as sample, log_prob, elbo or "
            "energy, but has none; see pofx.capabilities for what each promises.",
        )
    return tuple(ran)


_FAILURES = (RuntimeError, TypeError, ValueError, IndexError, AttributeError)


def _run(name: str, check: Check, case: Case) -> None:
    """Raises the first fault that a check finds; a model that fails within it is a fault too."""
    who = type(case.model).__name__
    try:
        fault = next(check(case), None)
    except _FAILURES as error:
        what = f"the check {name} should run through, but the model raised {error!r}; mend it."
        raise ModelCheckError(name, f"{who}: {what}") from error
    if fault is not None:
        raise ModelCheckError(name, f"{who}: {fault}")


def _case(model: object, spec: DataSpec, x: Data | None, seed: int) -> Case:
    device = device_of(model)
    cond = torch.arange(64, device=device) % spec.classes if spec.classes else None
    case = Case(model, spec, torch.empty(0), cond, seed)
    if x is None and isinstance(model, Samples):
        x = _own_examples(case)
    x = random_examples(spec, 64, seed) if x is None else x[:64]
    cond = None if cond is None else cond[: len(x)]
    return Case(model, spec, x.to(device, dtype_of(model)), cond, seed, case.drawn)


def _own_examples(case: Case) -> Data | None:
    """The model's samples, unless they are faulty, which a check will say."""
    try:
        drawn = case.first_samples(64)
    except _FAILURES:
        return None
    return None if any(sample_faults(drawn, 64, case.spec)) else drawn


def _samples(case: Case) -> bool:
    return isinstance(case.model, Samples)


def _density(case: Case) -> bool:
    return isinstance(case.model, Density)


def _continuous(case: Case) -> bool:
    return all(isinstance(s, Real | Interval) for s in case.spec.columns)


_CHECKS: tuple[tuple[str, Callable[[Case], bool], Check], ...] = (
    (
        "cond",
        lambda c: _samples(c) and c.cond is not None and takes_cond(c.model.sample),
        check_cond,
    ),
    ("sample_shape_and_support", _samples, check_samples),
    ("seed", _samples, check_seed),
    ("split", _samples, check_split),
    ("stream", _samples, check_stream),
    ("per_example", lambda c: bool(per_example_methods(c)), check_per_example),
    ("random", lambda c: bool(per_example_methods(c)), check_random),
    ("conditional", makes_a_claim, check_conditional),
    ("sum", lambda c: _density(c) and 0 < space(c) <= 4096, check_sum),
    ("constant", lambda c: _density(c) and isinstance(c.model, Energy), check_constant),
    (
        "integral",
        lambda c: _density(c) and c.spec.size <= 2 and _continuous(c),
        check_integral,
    ),
    ("bound", lambda c: _density(c) and isinstance(c.model, Bound), check_bound),
    ("importance", lambda c: isinstance(c.model, ImportanceBound), check_importance),
    (
        "score",
        lambda c: (
            isinstance(c.model, Score)
            and isinstance(c.model, Density | Energy)
            and not any(s.discrete for s in c.spec.columns)
        ),
        check_score,
    ),
    ("rises", has_energies_of_samples, check_rises),
    ("latent", lambda c: isinstance(c.model, Latent), check_latent),
    ("complete", lambda c: isinstance(c.model, Completes), check_complete),
    ("state_dict", lambda c: isinstance(c.model, nn.Module), check_state_dict),
    ("shape", has_samples_of_its_own, check_shape),
    ("normalizer", has_samples_of_its_own, check_normalizer),
)
