"""Samples: are they examples, and do they hang on the seed alone?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pofx.evaluation.checks.case import Case, levels
from pofx.spec import DataSpec, Interval, Mixed, Real, Support
from pofx.typing import Data


def check_samples(case: Case) -> Iterator[str]:
    """Shape, type, finiteness and support."""
    yield from sample_faults(case.first_samples(64), 64, case.spec)


def sample_faults(drawn: Data, n: int, spec: DataSpec) -> Iterator[str]:
    """What is wrong with `n` examples that a model made."""
    if tuple(drawn.shape) != (n, *spec.shape):
        yield (
            f"sample({n}) should have shape {(n, *spec.shape)}, but has {tuple(drawn.shape)}; "
            "return whole examples."
        )
        return
    if not drawn.is_floating_point():
        yield f"samples should be floating, but are {drawn.dtype}; convert indices to floats."
        return
    if not drawn.isfinite().all():
        bad = int((~drawn.flatten(1).isfinite().all(1)).sum())
        yield (
            f"samples should be finite, but {bad} of {n} are not; look for an overflow or a "
            "division by zero."
        )
    elif not _in_support(drawn, spec):
        low, high = float(drawn.min()), float(drawn.max())
        yield (
            f"samples should lie in the support {_name(spec)}, but range over [{low:.4g}, "
            f"{high:.4g}] and hold other values; end sample with functional.dequantize.quantize "
            "or harden."
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
    known = levels(support).to(x)
    nearest = (x[..., None] - known).abs().amin(-1) if len(known) <= 16 else _to_grid(x, known)
    return bool((nearest <= 1e-5).all())


def _to_grid(x: Tensor, known: Tensor) -> Tensor:
    """Distance to the nearest of evenly spaced levels."""
    k = ((x - known[0]) / (known[1] - known[0])).round().clamp(0, len(known) - 1).long()
    return (x - known[k]).abs()


def check_seed(case: Case) -> Iterator[str]:
    """The same noise and the same global stream give the same samples."""
    if not torch.equal(case.first_samples(6), case.samples(6)):
        yield (
            "the same seed should give the same samples, but gave others; draw noise with torch's "
            "own functions and keep no random state."
        )


def check_split(case: Case) -> Iterator[str]:
    """A sample does not depend on those that are drawn beside it."""
    whole = case.first_samples(6)
    parts = torch.cat([case.samples(4), case.samples(2, first=4)])
    if _differ(whole, parts, case.spec):
        yield (
            "six samples should be the same drawn as 6 or as 4 and 2, but differ by up to "
            f"{float((whole - parts).abs().max()):.3g}; draw noise by torch.randn and its kin with "
            "the example as the first axis, and let no layer such as batch normalisation mix "
            "examples."
        )


def check_stream(case: Case) -> Iterator[str]:
    """A sample does not depend on the global stream, where dropout draws from."""
    one, other = case.first_samples(6), case.samples(6, stream=1)
    if _differ(one, other, case.spec):
        yield (
            "samples should depend on the noise of their rows alone, but change with torch's "
            "global seed; put dropout in evaluation mode and draw by torch.randn and its kin."
        )


def _differ(a: Data, b: Data, spec: DataSpec) -> bool:
    """More than rounding explains; a discrete value next to a threshold may fall either way."""
    if spec.support.discrete:
        return float(((a - b).abs() > 1e-4).double().mean()) > 0.02
    return not torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def check_cond(case: Case) -> Iterator[str]:
    """As many examples with classes as without."""
    without = case.samples(6, labels=False)
    for words, drawn in (("with", case.first_samples(6)), ("without", without)):
        if len(drawn) != 6:
            yield f"sample(6) {words} classes should draw 6 examples, but drew {len(drawn)}."
