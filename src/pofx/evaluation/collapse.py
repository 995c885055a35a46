"""Signs of failure in samples, each a sentence with the cure that the literature names.

References:
    Which training methods for GANs do actually converge? (Mescheder et al., 2018), for the gradient
    penalty R1. https://arxiv.org/abs/1801.04406
    PacGAN: the power of two samples in generative adversarial networks (Lin et al., 2018).
    https://arxiv.org/abs/1712.04086
    Training generative adversarial networks with limited data (Karras et al., 2020), for
    augmentation and overfitting. https://arxiv.org/abs/2006.06676
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pofx.evaluation.blocks import Stop
from pofx.evaluation.likelihood import Scored
from pofx.evaluation.memorization import Memorization
from pofx.evaluation.precision_recall import neighbour_distance
from pofx.evaluation.report import Measured
from pofx.evaluation.yardstick import NAME, title
from pofx.spec import DataSpec

_CURE = (
    "for an adversarial model the cures are a gradient penalty on real data (R1), judging several "
    "samples at once (packing) and an earlier checkpoint, for others more steps or weaker guidance."
)

_FEWEST = 20
"""Examples of a kind below which distances between them tell nothing of copies."""


_APART, _SURE = 0.5, 4.0
"""How much worse the likelihood of held-out examples is in an over-fitted model: standard
deviations between training examples, and standard errors of the difference.
"""
_WORSE = "Worse than a mixture"
_SLIGHT = 1e-3
"""Nats for each element below which it is no matter which of two likelihoods is the lower."""
_OVER_FITTED = "more data, a smaller model (--hidden), --weight-decay, or fewer --steps"


def warn_of_over_fitting(train: Tensor, held_out: Tensor) -> Iterator[str]:
    """A likelihood that is far higher on training examples than on others.

    Args:
        train: what the likelihood says of training examples, nats `(n,)`.
        held_out: of examples that were not trained on, `(m,)`.
    """
    train, held_out = train.double(), held_out.double()
    if min(len(train), len(held_out)) < _FEWEST:
        return
    gap = float(train.mean() - held_out.mean())
    error = float((train.var() / len(train) + held_out.var() / len(held_out)).sqrt())
    if gap > max(_SURE * error, _APART * float(train.std())):
        yield (
            f"Over-fitting: log p(x) is {held_out.mean():.4g} nats on held-out examples and "
            f"{train.mean():.4g} on training examples; the cures are {_OVER_FITTED}."
        )


def cure_of_worse(*, at_once: bool, over_fitted: bool) -> str:
    """What to do about a model that is worse than a mixture, beside taking the mixture; nothing of
    what is fitted at once.
    """
    if at_once:
        return ""
    return f"the cures are {_OVER_FITTED}" if over_fitted else "train longer"


def warn_of_worse_likelihood(
    model: Scored, mixture: Scored, spec: DataSpec, cure: str
) -> Iterator[str]:
    """A likelihood, exact or a bound, below a mixture's of the same examples by more than twice the
    error of the mean difference.

    Args:
        model: its values `(n,)`.
        mixture: those of the mixture, of the same examples in the same order.
        spec: of the examples.
        cure: from `cure_of_worse`.
    """
    stated = model.likelihood
    if stated.kind == "estimate" or len(model.values) < 2:
        return
    lost = mixture.values - model.values
    error = math.hypot(float(lost.std()) / math.sqrt(len(lost)), model.shared_stderr)
    # An example that cannot be, with a log p(x) of -inf, leaves no doubt and no error.
    error = error if lost.isfinite().all() else 0.0
    if float(lost.mean()) > max(2 * error, _SLIGHT * spec.size):
        bound = stated.kind == "bound"
        what = ("the bound of " if bound else "") + "log p(x)"
        own = mixture.likelihood.nats
        yield (
            f"{_WORSE}: {what} is {stated.nats:.3f} nats, and {title(spec)}, fitted in a second, "
            f"has {own:.3f}; {_or_take(cure)}"
            + (", unless it is the bound that is loose." if bound else ".")
        )


def warn_of_worse_samples(
    frechet: Measured, mixture: float, spec: DataSpec, cure: str
) -> Iterator[str]:
    """A Frechet distance whose whole interval lies above that of a mixture's samples; arguments as
    for `warn_of_worse_likelihood`.
    """
    if frechet.low is not None and frechet.high is not None and frechet.low > mixture:
        yield (
            f"{_WORSE}: the Frechet distance is {frechet.value:.4g}, from {frechet.low:.4g} to "
            f"{frechet.high:.4g}, and that of {title(spec)}, fitted in a second, is "
            f"{mixture:.4g}; {_or_take(cure)}."
        )


def _or_take(cure: str) -> str:
    return f"{cure}, or take {NAME}" if cure else f"take {NAME}"


def warn_of_metrics(metrics: Mapping[str, Measured], over_fitted: bool = False) -> Iterator[str]:
    """Mode collapse, and samples no better than noise, read from metrics and their floors; nothing
    is said of noise where real examples are no better.

    Args:
        metrics: by name.
        over_fitted: whether more training or a larger model is no cure.
    """
    for name in ("recall", "coverage"):
        m = metrics.get(name)
        if m is not None and m.floor is not None and m.value < 0.5 * m.floor:
            yield _few_modes(name, m, metrics.get("precision"), over_fitted)
            break
    frechet = metrics.get("frechet")
    if frechet is not None and (frechet.floor or 0) < (frechet.ceiling or 0) <= frechet.value:
        yield (
            f"No better than noise: the Frechet distance is {frechet.value:.4g} and that of "
            f"uniform noise is {frechet.ceiling:.4g}; "
            + (f"the cures are {_OVER_FITTED}" if over_fitted else "train longer")
            + ", or check that the data is what the model expects."
        )


def _few_modes(name: str, m: Measured, precision: Measured | None, over_fitted: bool) -> str:
    figures = f"{name} is {m.value:.2f} where real examples reach {m.floor:.2f}"
    # Few samples near enough to the data also lower coverage; only faithful ones speak of collapse.
    least = 0.8 if name == "coverage" else 0.5
    if precision is not None and precision.value >= least * (precision.floor or 1.0):
        return (
            f"Mode collapse: samples look right but {figures}, so much of the data is never drawn; "
            f"{_CURE}"
        )
    return (
        f"Much of the data has no sample near it: {figures}, and samples are not yet right either; "
        + (
            f"the cures are {_OVER_FITTED}."
            if over_fitted
            else "train longer or enlarge the model."
        )
    )


def warn_of_duplicates(real: Tensor, fake: Tensor, stop: Stop | None = None) -> Iterator[str]:
    """Samples that nearly equal one another, more often than real ones do; features `(n, d)`."""
    centre = real.mean(0)
    spacing_real = neighbour_distance(real - centre, 1, stop=stop)
    spacing_fake = neighbour_distance(fake - centre, 1, stop=stop)
    near = 1e-4 * spacing_real.median()
    alike = float((spacing_fake <= near).double().mean())
    expected = float((spacing_real <= near).double().mean())
    if alike > 0.05 + 2 * expected:
        yield (
            f"Repeated samples: {alike:.0%} of the samples have a twin among the samples "
            f"({expected:.0%} of real examples have one); {_CURE}"
        )


def warn_of_classes(real: Tensor, fake: Tensor, names: tuple[str, ...]) -> Iterator[str]:
    """Classes all but missing among samples, by a classifier; logits `(n, classes)`."""
    shares = [torch.bincount(t.argmax(1), minlength=t.shape[1]) / len(t) for t in (real, fake)]
    expected = shares[0] * len(fake)
    missing = ((shares[1] < 0.1 * shares[0]) & (expected >= 10)).nonzero()[:, 0].tolist()
    if missing:
        words = ", ".join(names[k] if k < len(names) else str(k) for k in missing)
        yield f"Missing classes: the classifier finds hardly a sample of {words}; {_CURE}"


def warn_of_memorization(m: Memorization) -> Iterator[str]:
    """Samples that are copies of training examples."""
    samples, held_out, _ = m.counts
    copied, expected = m.copies / samples, m.real_copies / max(held_out, 1)
    if copied > 0.01 + 2 * expected:
        yield (
            f"Memorised: {m.copies} of {samples} samples equal a training example; stop earlier, "
            "use a smaller model, or augment the data."
        )
    elif m.ratio < 0.5 and m.close > 0.25 and min(m.counts) >= _FEWEST:
        yield (
            f"Memorised: samples are {m.ratio:.2f} times as far from training examples as new real "
            "examples are; stop earlier, use a smaller model, or augment the data."
        )
