"""Check: does a model mean what its methods' names promise?

`check_model` is to a model what an estimator check is to scikit-learn: it tests each capability
that the model has by its meaning. A model that passes can be evaluated, compared, resumed and
served like any of ours; it need not subclass anything.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pofx.capabilities import (
    Bound,
    Completes,
    Density,
    Energy,
    EnergyBound,
    Estimate,
    Latent,
    Samples,
    Score,
)
from pofx.errors import UserError
from pofx.evaluation.calls import call, device_of, dtype_of, takes_cond
from pofx.functional.draw import evaluating
from pofx.functional.random import noise, seeded
from pofx.functional.reductions import sum_event
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, Support
from pofx.typing import Cond, Data

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


@dataclass(frozen=True)
class Case:
    """A model with examples to ask it about."""

    model: Any
    spec: DataSpec
    x: Data
    cond: Cond | None
    seed: int

    def samples(self, n: int, *, first: int = 0, model: Any = None, labels: bool = True) -> Data:
        """Samples `first .. first + n`, of every class in turn, by keyed noise."""
        method = (self.model if model is None else model).sample
        if self.cond is not None and labels and takes_cond(method):
            cond = torch.arange(first, first + n) % self.spec.classes
            with _keyed(self.seed, n, first):
                return method(n, cond=cond.to(self.cond.device))
        with _keyed(self.seed, n, first):
            return method(n)

    def ask(self, method: Callable[..., Tensor], x: Data | None = None) -> Tensor:
        """A method's answer about `x`, or about all the examples, by keyed noise."""
        x = self.x if x is None else x
        cond = None if self.cond is None else self.cond[:1].expand(len(x))
        with _keyed(self.seed, len(x)):
            return call(method, x, cond=cond)


def check_model(model: object, spec: DataSpec, *, x: Data | None = None, seed: int = 0) -> Checked:
    """Checks that a model's methods mean what they promise.

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

    >>> class Normal(nn.Module):
    ...     def log_prob(self, x): return -(x**2).sum(1) / 2 - 0.9189385
    >>> check_model(Normal(), DataSpec((1,)))
    ('per_example', 'integral', 'state_dict')
    """
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
            f"energy, but has none; "
            f"see pofx.capabilities for what each promises.",
        )
    return tuple(ran)


def _run(name: str, check: Callable[[Case], Iterator[str]], case: Case) -> None:
    """Raises the first fault that a check finds; a model that fails within it is a fault too."""
    who = type(case.model).__name__
    try:
        fault = next(check(case), None)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
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
    x = _random_examples(spec, 64, seed) if x is None else x[:64]
    cond = None if cond is None else cond[: len(x)]
    return Case(model, spec, x.to(device, dtype_of(model)), cond, seed)


def _own_examples(case: Case) -> Data | None:
    """The model's samples, unless they are faulty, which a check will say."""
    try:
        drawn = case.samples(64)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return None
    return None if any(_sample_faults(drawn, 64, case.spec)) else drawn


def _random_examples(spec: DataSpec, n: int, seed: int) -> Data:
    with noise(seed, n):
        u = torch.rand(n, *spec.shape)
        if isinstance(spec.support, Mixed):
            columns = zip(u.unbind(1), spec.support.columns, strict=True)
            return torch.stack([_random_values(c, s) for c, s in columns], 1)
        return _random_values(u, spec.support)


def _random_values(u: Tensor, support: Support) -> Tensor:
    if isinstance(support, Real):
        return torch.erfinv(2 * u - 1) * 2**0.5
    if isinstance(support, Interval):
        return 2 * u - 1
    levels = _levels(support)
    return levels[(u * len(levels)).long().clamp(max=len(levels) - 1)]


def _levels(support: Support) -> Tensor:
    """Every value that an element may take, in order."""
    assert isinstance(support, Bytes | Binary | Categorical)
    k = torch.arange(support.levels, dtype=torch.get_default_dtype())
    return k * (2 / (support.levels - 1)) - 1 if isinstance(support, Bytes) else k


class _keyed:
    """Keyed noise, over a global stream that starts at the same state."""

    def __init__(self, seed: int, n: int, first: int = 0) -> None:
        self.seed, self.mode = seed, noise(seed, n, first=first)

    def __enter__(self) -> None:
        torch.manual_seed(self.seed)
        self.mode.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self.mode.__exit__(*exc)


# Each check yields a sentence for every fault that it finds.


def _check_samples(case: Case) -> Iterator[str]:
    yield from _sample_faults(case.samples(64), 64, case.spec)


def _sample_faults(drawn: Data, n: int, spec: DataSpec) -> Iterator[str]:
    if tuple(drawn.shape) != (n, *spec.shape):
        yield (
            f"sample({n}) should have shape {(n, *spec.shape)}, but has {tuple(drawn.shape)}; "
            f"return whole examples."
        )
        return
    if not drawn.is_floating_point():
        yield f"samples should be floating, but are {drawn.dtype}; convert indices to floats."
        return
    if not drawn.isfinite().all():
        bad = int((~drawn.flatten(1).isfinite().all(1)).sum())
        yield (
            f"samples should be finite, but {bad} of {n} are not; look for an overflow or a "
            f"division by zero."
        )
    elif not _in_support(drawn, spec):
        low, high = float(drawn.min()), float(drawn.max())
        yield (
            f"samples should lie in the support {_name(spec)}, but range over [{low:.4g}, "
            f"{high:.4g}] and hold "
            f"other values; end sample with functional.dequantize.quantize or harden."
        )


def _name(spec: DataSpec) -> str:
    return repr(spec.support) if not isinstance(spec.support, Mixed) else "of every column"


def _in_support(x: Data, spec: DataSpec) -> bool:
    if not isinstance(spec.support, Mixed):
        return _within(x, spec.support)
    return all(_within(c, s) for c, s in zip(x.unbind(1), spec.support.columns, strict=True))


def _within(x: Tensor, support: Support) -> bool:
    if isinstance(support, Real):
        return True
    if isinstance(support, Interval):
        return bool((x.abs() <= 1).all())
    levels = _levels(support).to(x)
    nearest = (x[..., None] - levels).abs().amin(-1) if len(levels) <= 16 else _to_grid(x, levels)
    return bool((nearest <= 1e-5).all())


def _to_grid(x: Tensor, levels: Tensor) -> Tensor:
    """Distance to the nearest of evenly spaced levels."""
    k = ((x - levels[0]) / (levels[1] - levels[0])).round().clamp(0, len(levels) - 1).long()
    return (x - levels[k]).abs()


def _check_seed(case: Case) -> Iterator[str]:
    if not torch.equal(case.samples(6), case.samples(6)):
        yield (
            "the same seed should give the same samples, but gave others; draw noise with torch's "
            "own functions and "
            "keep no random state."
        )


def _check_split(case: Case) -> Iterator[str]:
    whole = case.samples(6)
    parts = torch.cat([case.samples(4), case.samples(2, first=4)])
    apart = (whole - parts).abs()
    if case.spec.support.discrete:
        wrong = float((apart > 1e-4).double().mean())
        differs = wrong > 0.02
    else:
        differs = not torch.allclose(whole, parts, rtol=1e-4, atol=1e-4)
    if differs:
        yield (
            f"six samples should be the same drawn as 6 or as 4 and 2, but differ by up to "
            f"{float(apart.max()):.3g}; "
            f"draw noise by torch.randn and its kin with the example as the first axis, and let no "
            f"layer such as "
            f"batch normalisation mix examples."
        )


def _check_cond(case: Case) -> Iterator[str]:
    for words, drawn in (("with", case.samples(6)), ("without", case.samples(6, labels=False))):
        if len(drawn) != 6:
            drew = len(drawn)
            yield f"sample(6) {words} classes should draw 6 examples, but drew {drew}; mend it."


def _per_example_methods(case: Case) -> dict[str, Callable[..., Tensor]]:
    kinds: dict[str, type] = {
        "log_prob": Density,
        "elbo": Bound,
        "log_prob_estimate": Estimate,
        "energy": Energy,
        "energy_bound": EnergyBound,
    }
    return {n: getattr(case.model, n) for n, kind in kinds.items() if isinstance(case.model, kind)}


def _check_per_example(case: Case) -> Iterator[str]:
    for name, method in _per_example_methods(case).items():
        value = case.ask(method)
        if tuple(value.shape) != (len(case.x),):
            yield (
                f"{name} of {len(case.x)} examples should have shape ({len(case.x)},), but has "
                f"{tuple(value.shape)}; "
                f"sum over each example's own axes and not over the batch."
            )
            return
        if value.isnan().any():
            yield (
                f"{name} should be a number for every example, but is NaN for "
                f"{int(value.isnan().sum())}; mend it."
            )
            return
        few = case.ask(method, case.x[:3])
        if not torch.allclose(value[:3], few, rtol=1e-3, atol=1e-3):
            yield (
                f"{name} of an example should not depend on its batch, but moves by up to "
                f"{float((value[:3] - few).abs().max()):.3g}; let no layer mix examples."
            )


def _space(case: Case) -> int:
    """How many examples a discrete space holds; 0 where it is not discrete."""
    if not case.spec.support.discrete or case.spec.size > 12:
        return 0
    return int(torch.tensor([len(_levels(s)) for s in case.spec.columns]).double().prod())


def _check_sum(case: Case) -> Iterator[str]:
    columns = [_levels(s).tolist() for s in case.spec.columns]
    x = torch.tensor(list(itertools.product(*columns)), dtype=case.x.dtype, device=case.x.device)
    total = float(_probability(case, x.reshape(-1, *case.spec.shape)).sum())
    if abs(total - 1) > 1e-3:
        yield (
            f"exp(log_prob) should sum to 1 over all {len(x)} examples, but sums to {total:.4g}; "
            f"normalise it, or call "
            f"it energy or elbo."
        )


def _probability(case: Case, x: Data) -> Tensor:
    parts = [case.ask(case.model.log_prob, part) for part in x.split(4096)]
    return torch.cat(parts).double().exp()


def _check_integral(case: Case) -> Iterator[str]:
    nearest = float("inf")
    for low, high, points in _boxes(case):
        total = _integral(case, low, high, points)
        nearest = min(nearest, total, key=lambda v: abs(v - 1))
        if abs(nearest - 1) <= 2e-2:
            return
    yield (
        f"exp(log_prob) should integrate to 1, but on a grid it gives {nearest:.4g}; check the "
        f"normaliser and the "
        f"Jacobian, or call it energy or elbo."
    )


def _boxes(case: Case) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Ever finer or wider grids over where the density is."""
    d = case.spec.size
    coarse, fine = (1001, 20_001) if d == 1 else (200, 600)
    if all(isinstance(s, Interval) for s in case.spec.columns):
        one = torch.ones(d, dtype=torch.float64)
        yield from ((-one, one, points) for points in (coarse, fine))
        return
    x = case.samples(2000) if isinstance(case.model, Samples) else case.x
    x = x.detach().double().cpu().flatten(1)
    low, high = x.amin(0), x.amax(0)
    pad = (high - low).clamp(min=1e-3)
    bounded = torch.tensor([isinstance(s, Interval) for s in case.spec.columns])
    for share, points in ((0.5, coarse), (0.5, fine), (3.0, fine)):
        yield (
            torch.where(bounded, -1.0, low - share * pad),
            torch.where(bounded, 1.0, high + share * pad),
            points,
        )


def _integral(case: Case, low: Tensor, high: Tensor, points: int) -> float:
    """The midpoint rule."""
    width = (high - low) / points
    middles = torch.arange(points, dtype=torch.float64) + 0.5
    axes = [a + middles * w for a, w in zip(low, width, strict=True)]
    x = torch.cartesian_prod(*axes).reshape(-1, *case.spec.shape).to(case.x)
    return float(_probability(case, x).sum() * width.prod())


def _check_bound(case: Case) -> Iterator[str]:
    draws = torch.stack([_draw_elbo(case, i) for i in range(16)]).double()
    gap = draws.mean(0) - case.ask(case.model.log_prob).double()
    error = float(draws.var(0).mean() / (16 * len(case.x))) ** 0.5
    if float(gap.mean()) > 1e-3 + 5 * error:
        yield (
            f"elbo should be at most log_prob on average, but is {float(gap.mean()):.4g} nats "
            f"above it; one of them "
            f"is wrong."
        )


def _draw_elbo(case: Case, draw: int) -> Tensor:
    with noise(case.seed + draw, len(case.x)):
        return call(
            case.model.elbo,
            case.x,
            cond=None if case.cond is None else case.cond[:1].expand(len(case.x)),
        )


def _check_score(case: Case) -> Iterator[str]:
    x = case.x.detach().clone().requires_grad_()
    known = case.model.log_prob if isinstance(case.model, Density) else case.model.energy
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(case.ask(known, x).sum(), x)
    expected = slope if isinstance(case.model, Density) else -slope
    t = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    given = case.ask(lambda x, **cond: call(case.model.score, x, t, **{"cond": None, **cond}))
    if given.shape != expected.shape:
        yield (
            f"score should have x's shape {tuple(x.shape)}, but has {tuple(given.shape)}; return a "
            f"gradient."
        )
        return
    error = sum_event((given - expected) ** 2).sum().sqrt() / expected.norm().clamp(min=1e-6)
    if error > 0.05:
        yield (
            f"score at t = 0 should be the gradient of log p, but is off by {float(error):.3g} of "
            f"its length; look for "
            f"a wrong sign or scale."
        )


def _check_latent(case: Case) -> Iterator[str]:
    def there_and_back(x: Data, cond: Cond | None = None) -> Data:
        return call(case.model.decode, call(case.model.encode, x, cond=cond), cond=cond)

    back = case.ask(there_and_back)
    if back.shape != case.x.shape:
        yield (
            f"decode(encode(x)) should have x's shape {tuple(case.x.shape)}, but has "
            f"{tuple(back.shape)}; let decode "
            f"return whole examples."
        )


def _check_complete(case: Case) -> Iterator[str]:
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
        yield from _sample_faults(done, 6, case.spec)
        if not torch.equal(done[:, known], case.x[:6, known]):
            yield (
                f"complete should give back what is known, but changes it where {count} of {size} "
                f"elements are; draw only the others."
            )


def _check_state_dict(case: Case) -> Iterator[str]:
    other = copy.deepcopy(case.model)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(case.model.state_dict())
    if not torch.equal(_answer(case, case.model), _answer(case, other)):
        yield (
            "a copy with the same state_dict should answer the same, but does not; register every "
            "tensor that "
            "matters as a parameter or a persistent buffer."
        )


def _answer(case: Case, model: Any) -> Tensor:
    if isinstance(model, Samples):
        return case.samples(6, model=model)
    names = _per_example_methods(case)
    return case.ask(getattr(model, next(iter(names)))) if names else torch.empty(0)


def _samples(case: Case) -> bool:
    return isinstance(case.model, Samples)


_CHECKS: tuple[tuple[str, Callable[[Case], bool], Callable[[Case], Iterator[str]]], ...] = (
    (
        "cond",
        lambda c: _samples(c) and c.cond is not None and takes_cond(c.model.sample),
        _check_cond,
    ),
    ("sample_shape_and_support", _samples, _check_samples),
    ("seed", _samples, _check_seed),
    ("split", _samples, _check_split),
    ("per_example", lambda c: bool(_per_example_methods(c)), _check_per_example),
    ("sum", lambda c: isinstance(c.model, Density) and 0 < _space(c) <= 4096, _check_sum),
    (
        "integral",
        lambda c: (
            isinstance(c.model, Density)
            and c.spec.size <= 2
            and all(isinstance(s, Real | Interval) for s in c.spec.columns)
        ),
        _check_integral,
    ),
    ("bound", lambda c: isinstance(c.model, Density) and isinstance(c.model, Bound), _check_bound),
    (
        "score",
        lambda c: (
            isinstance(c.model, Score)
            and isinstance(c.model, Density | Energy)
            and not any(s.discrete for s in c.spec.columns)
        ),
        _check_score,
    ),
    ("latent", lambda c: isinstance(c.model, Latent), _check_latent),
    ("complete", lambda c: isinstance(c.model, Completes), _check_complete),
    ("state_dict", lambda c: isinstance(c.model, nn.Module), _check_state_dict),
)
