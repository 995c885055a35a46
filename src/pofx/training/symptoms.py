"""symptoms: what the losses that a run records say of how it trains, each with its cures.

Thresholds are such that a sound run hears nothing: a rise or a fall counts only where it is well
beyond the noise of the loss and a good part of what has been learned. GANs have no loss that could
say any of this, and what an energy's contrast does is no sign: there the validation loss alone is
heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from pofx.objective import Symptom

_SURE = 3.0
"""Standard errors by which a loss must differ."""
_RISEN = 2.0
"""The same of a rise, which several looks must agree on, each of the same examples."""
_PART = 0.02
"""The share of what has been learned that a rise must undo."""
_LAST = 3
"""Looks that must agree."""
_FALLING, _STEEP = 0.12, 0.25
"""The share of all that was learned that came in the last third of the training, from which on it
clearly falls, and is far from flat. A straight line has 1/3.
"""
_STRAIGHT = 0.7
"""How steep the last third of a straight fall is, to the first."""
_EPOCHS = 3
"""Below which too short a training explains a straight fall."""
_LEAPS = 3
"""How often a loss leaps up that does not by accident."""
_FEWEST = 6
"""Looks that a curve is told from."""


Curve = Sequence[tuple[float, float]]
"""Effort and loss."""


class Look(NamedTuple):
    """What is known of a run at a step.

    Args:
        step: of training.
        progress: the share of the budget that is spent.
        effort: the sum of the learning rates so far.
        train: the mean training loss since the last look; None where it says nothing.
        valid: the validation loss, or None.
        stderr: its standard error.
        stage: of training; see `pofx.objective.Objective.stage`.
        apart: the standard error of how far the validation loss is from the best before it, example
            by example.
    """

    step: int
    progress: float
    effort: float
    train: float | None
    valid: float | None
    stderr: float = 0.0
    stage: int = 0
    apart: float = 0.0


class Seen(NamedTuple):
    """What of a run the symptoms need besides its looks.

    Args:
        epochs: how often each training example has been seen.
        steps: of the budget.
        smaller: the flags that make the model smaller or tie it down, as one reads them aloud.
    """

    epochs: float
    steps: int
    smaller: str = ""


def while_training(
    looks: Sequence[Look], seen: Seen, trained: Callable[[], float | None]
) -> Iterator[Symptom]:
    """What is wrong at the last look.

    Args:
        looks: all so far.
        seen: see `Seen`.
        trained: the loss of training examples, measured as the validation loss is; asked for only
            where that has risen.
    """
    looks = _one_stage(looks)
    if rose(looks):
        loss = trained()
        if loss is not None:
            yield from over_fitting(looks, seen, loss)
    yield from too_high(looks)


def at_the_end(looks: Sequence[Look], seen: Seen) -> Iterator[Symptom]:
    """What is wrong once the budget is spent: at most one thing."""
    looks = _one_stage(looks)
    if seen.epochs < 1:
        yield Symptom(
            "budget too small",
            f"training saw {seen.epochs:.0%} of the examples once; give more --steps or --minutes.",
        )
        return
    curve = _curve(looks)
    if len(curve) < _FEWEST or rose(looks):
        return
    share, gain = _last_third(curve)
    late = [look.apart for look in looks[len(looks) * 2 // 3 :] if look.valid is not None]
    noise = _SURE * max([*late, _wobble(curve)])
    if gain <= noise or share < _FALLING:
        return
    part = f"a share of {share:.0%} of all that was learned came in the last third of the training"
    if _straight(curve) and seen.epochs >= _EPOCHS:
        yield Symptom(
            "learning rate too low",
            "the loss fell in a straight line all the way; raise --lr (3 times is a step), or "
            f"train for more --steps than {seen.steps}.",
        )
    elif share >= _STEEP:
        yield Symptom(
            "budget too small", f"{part}; train for several times the {seen.steps} --steps."
        )
    else:
        yield Symptom(
            "under-training", f"{part}; the loss still falls: train for more --steps than "
            f"{seen.steps}."
        )  # fmt: skip


def rose(looks: Sequence[Look]) -> bool:
    """Whether the validation loss has risen for good above its best: by more than its noise, and by
    a good part of what it had fallen.
    """
    known = [(look.valid, look.apart) for look in looks if look.valid is not None]
    if len(known) < _LAST + 2:
        return False
    best = min(valid for valid, _ in known)
    least = _PART * max(known[0][0] - best, 0.0)
    return all(valid > best + max(least, _RISEN * apart) for valid, apart in known[-_LAST:])


def over_fitting(looks: Sequence[Look], seen: Seen, trained: float) -> Iterator[Symptom]:
    """A validation loss that rose while the loss of training examples is below its best."""
    best = min((look for look in looks if look.valid is not None), key=_valid)
    now = _valid(looks[-1])
    if trained < min(_valid(best), now - _SURE * looks[-1].stderr):
        yield Symptom(
            "over-fitting",
            f"the validation loss rose to {now:.4g} from {_valid(best):.4g} at step {best.step}, "
            f"while it is {trained:.4g} on training examples; the cures are more data"
            f"{seen.smaller}, or no more --steps than about {best.step}.",
        )


def too_high(looks: Sequence[Look]) -> Iterator[Symptom]:
    """A loss that leaps up again and again, or has risen above where it began and stays there."""
    curve = _curve(looks)
    if len(curve) < _FEWEST:
        return
    values = [y for _, y in curve]
    noise = [_SURE * look.stderr if look.valid is not None else 0.0 for look in looks]
    wobble = 2 * _SURE * _wobble(curve[: len(curve) // 2] if len(curve) > 11 else curve[:_FEWEST])
    climbed = all(
        y > values[0] + max(e, wobble) for y, e in zip(values[-_LAST:], noise[-_LAST:], strict=True)
    )
    train = [look.train for look in looks if look.train is not None]
    climbed = climbed and bool(train) and min(train[-_LAST:]) > train[0]
    leaps = _leaps(values, noise, wobble)
    if climbed or leaps >= _LEAPS:
        seen = (
            f"the loss is {values[-1]:.4g} and was {values[0]:.4g} at step {looks[0].step}"
            if climbed
            else f"the loss leapt up {leaps} times, by more than half of what it had fallen"
        )
        cures = "lower --lr (a third is a step), or clip gradients (--clip 1)."
        yield Symptom("learning rate too high", f"{seen}; {cures}")


def _leaps(values: Sequence[float], noise: Sequence[float], wobble: float) -> int:
    """How often the loss has leapt from one look to the next by half of what it had fallen."""
    found, best = 0, values[0]
    for before, now, stderr in zip(values, values[1:], noise[1:], strict=False):
        best = min(best, before)
        fall, certain = values[0] - best, max(stderr, wobble)
        found += now > before + max(0.5 * fall, certain) and fall > certain
    return found


def _valid(look: Look) -> float:
    assert look.valid is not None
    return look.valid


def _one_stage(looks: Sequence[Look]) -> list[Look]:
    """The looks of the last stage, which alone can be compared."""
    return [look for look in looks if look.stage == looks[-1].stage]


def _curve(looks: Sequence[Look]) -> list[tuple[float, float]]:
    """Effort and loss: on validation data where there is one, else on training data."""
    if any(look.valid is not None for look in looks):
        return [(look.effort, look.valid) for look in looks if look.valid is not None]
    return [(look.effort, look.train) for look in looks if look.train is not None]


def _at(curve: Curve, share: float) -> float:
    """The loss once a share of the effort is spent, a mean over the looks nearby."""
    start, end = curve[0][0], curve[-1][0]
    wanted = start + share * (end - start)
    near = [y for x, y in curve if abs(x - wanted) <= 0.04 * (end - start)]
    return fmean(near) if near else min(curve, key=lambda point: abs(point[0] - wanted))[1]


def _last_third(curve: Curve) -> tuple[float, float]:
    """The fall in the last third of the training, as a share of the whole and in itself."""
    end = _at(curve, 1.0)
    gain, whole = _at(curve, 2 / 3) - end, _at(curve, 0.05) - end
    return (gain / whole if whole > 0 else 0.0), gain


def _straight(curve: Curve) -> bool:
    first, last = (_at(curve, a) - _at(curve, b) for a, b in ((0.0, 1 / 3), (2 / 3, 1.0)))
    return last > _STRAIGHT * first > 0


def _wobble(curve: Curve) -> float:
    """The usual change from one look to the next, up or down, less the trend."""
    triples = zip(curve, curve[1:], curve[2:], strict=False)
    steps = [abs(c - 2 * b + a) for (_, a), (_, b), (_, c) in triples]
    return sorted(steps)[len(steps) // 2] / 6**0.5 if steps else 0.0
