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

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pofx.evaluation.blocks import Stop
from pofx.evaluation.memorization import Memorization
from pofx.evaluation.precision_recall import neighbour_distance
from pofx.evaluation.report import Measured

_CURE = (
    "for an adversarial model the cures are a gradient penalty on real data (R1), judging several "
    "samples at once (packing) and an earlier checkpoint, for others more steps or weaker guidance."
)

_FEWEST = 20
"""Examples of a kind below which distances between them tell nothing of copies."""


def warn_of_metrics(metrics: Mapping[str, Measured]) -> Iterator[str]:
    """Mode collapse, and samples no better than noise, read from metrics and their floors; nothing
    is said of noise where real examples are no better.
    """
    for name in ("recall", "coverage"):
        m = metrics.get(name)
        if m is not None and m.floor is not None and m.value < 0.5 * m.floor:
            yield _few_modes(name, m, metrics.get("precision"))
            break
    frechet = metrics.get("frechet")
    if frechet is not None and (frechet.floor or 0) < (frechet.ceiling or 0) <= frechet.value:
        yield (
            f"No better than noise: the Frechet distance is {frechet.value:.4g} and that of "
            f"uniform noise is {frechet.ceiling:.4g}; train longer, or check that the data is what "
            "the model expects."
        )


def _few_modes(name: str, m: Measured, precision: Measured | None) -> str:
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
        f"train longer or enlarge the model."
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
