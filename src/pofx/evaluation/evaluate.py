"""Evaluate: all that can be said of a model, beside what real examples and noise would score.

Frechet distance, precision, recall and the rest depend on the features, on the counts and on luck.
So each comes with the name of its features, with the counts, with an interval, with a floor and
with a ceiling. The floor puts real examples in the samples' place: as many from the validation
split, then the training split, as there are samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pofx.capabilities import (
    Energy,
    Fits,
    FlowLikelihood,
    ImportanceBound,
    Latent,
    Samples,
    Walks,
)
from pofx.data.source import Source, load
from pofx.errors import UserError, did_you_mean
from pofx.evaluation import collapse
from pofx.evaluation.arguments import check_key, check_whole
from pofx.evaluation.blocks import Stop, blocks
from pofx.evaluation.bootstrap import bootstrap
from pofx.evaluation.calls import draw_examples, takes_cond
from pofx.evaluation.chains import judge_chains
from pofx.evaluation.classifier import Examples, Labelled
from pofx.evaluation.energies import energy_gap
from pofx.evaluation.features import Embedding, Features, build_features, flat
from pofx.evaluation.frechet import frechet_distance
from pofx.evaluation.inception_score import inception_score
from pofx.evaluation.inversion import inversion_error, warn_of_inversion
from pofx.evaluation.kernel import kernel_distance
from pofx.evaluation.latent import reconstruction_error
from pofx.evaluation.likelihood import (
    Scored,
    bits_per_dim,
    comparable,
    scored,
    warn_of_constant,
    warn_of_worst,
)
from pofx.evaluation.memorization import Memorization, memorization
from pofx.evaluation.noise_ceiling import uniform_like
from pofx.evaluation.posterior import codes, warn_of_collapse
from pofx.evaluation.precision_recall import PrecisionRecall, precision_recall
from pofx.evaluation.report import Measured, Report
from pofx.evaluation.text import copied, text_likelihood
from pofx.evaluation.two_sample import energy_distance, sliced_wasserstein
from pofx.evaluation.yardstick import Yardstick, fitted
from pofx.functional.random import seeded, stream
from pofx.spec import DataSpec
from pofx.typing import Cond, Data

_HELD = 500
"""Examples on either side whose likelihoods tell over-fitting."""
_RECONSTRUCTED = 500
"""Examples whose reconstructions are judged."""
_FEW = 200
"""Examples whose likelihood is taken where it needs hundreds of evaluations of each."""
_AXES = 16
"""Elements up to which the trace of a flow is taken whole, and not from random directions."""
_DIRECTIONS = 4


class DatasetLike(Labelled, Protocol):
    """A named data set with three splits."""

    @property
    def name(self) -> str: ...
    @property
    def valid(self) -> Examples: ...


class Mixture(NamedTuple):
    """A mixture that a model is held against, whether it knows the class, and what to do about a
    model that is worse.
    """

    model: Any
    conditional: bool
    cure: str


class Plan(NamedTuple):
    """What every part of an evaluation needs to know."""

    dataset: DatasetLike
    split: str
    seed: int
    stop: Stop | None
    mixture: Mixture | None = None

    @property
    def spec(self) -> DataSpec:
        """The data's spec."""
        return self.dataset.spec

    def rows(self, split: str, n: int) -> tuple[Data, Cond | None]:
        """`n` rows of a split, chosen by the seed."""
        part: Examples = getattr(self.dataset, split)
        generator = torch.Generator().manual_seed(stream("rows", self.seed))
        index = torch.randperm(len(part), generator=generator)[:n]
        x, cond = part.values(index)
        return x.float(), cond


@dataclass(frozen=True)
class Sets:
    """The embeddings of real examples, and of three sets to hold against them."""

    real: Embedding
    fake: Embedding
    reference: Embedding
    noise: Embedding


def evaluate(
    model: object,
    dataset: DatasetLike | Source,
    *,
    n: int | None = None,
    features: str | None = None,
    split: str = "test",
    seed: int = 0,
    weights: str | Path | None = None,
    samples: int = 500,
    flow: bool = False,
    cache: bool = True,
    stop: Stop | None = None,
) -> Report:
    """Evaluates a model by what it can do: its likelihood, its samples, or both. Distances between
    samples say little of a text: where its likelihood is known they are left out, unless `features`
    are named. Beside both stands what `gmm` scores, fitted to some training examples; except of
    texts and of very large examples, and except its samples in the features of Inception.

    Args:
        model: anything with a capability that can be measured.
        dataset: what it is held against: a data set, or whatever `pofx.data.load` takes. An array
            is taken as it stands, and standardized only where the model's own `spec` says that it
            learned from standardized values.
        n: real examples, and as many samples; by default all of the split up to 10,000.
        features: `raw`, `pca`, `classifier` or `inception`; by default what suits the data.
        split: the split that serves as real examples.
        seed: of every random draw.
        weights: the .safetensors file of Inception-v3.
        samples: importance samples for each example, of a model that bounds its likelihood so.
        flow: whether the likelihood is taken by the probability flow, of at most 200 examples:
            dearer than a diffusion model's own bound, and usually higher.
        cache: whether the classifier may be read from and written to the cache folder.
        stop: polled throughout.

    Raises:
        UserError: the model can do nothing that is measured, or an argument does not suit the data.
        Stopped: `stop` became true.
    """
    start = time.perf_counter()
    _check_arguments(n, seed, samples)
    dataset = _loaded(model, dataset)
    plan = Plan(dataset, _known_split(split, dataset), seed, stop)
    x, cond = plan.rows(split, _count(n, split, dataset))
    if flow:
        found, stated_of = _flow_likelihood(model, x, cond, plan)
    else:
        found, stated_of = _likelihood(model, x, cond, plan, samples)
    stated = None if found is None else found.likelihood
    if not isinstance(model, Samples | Latent) and stated is None:
        raise UserError(
            "A model must sample, encode or say something of its likelihood to be evaluated, but "
            "this one does none of it; give it a method such as sample, log_prob or elbo."
        )
    report = Report(
        data=dataset.name,
        split=split,
        seed=seed,
        likelihood=stated,
        bits_per_dim=None if stated is None else bits_per_dim(stated, plan.spec),
        features={},
        counts={"real": len(x), "fake": 0, "reference": 0, "likelihood": stated_of},
        metrics={},
        memorization=None,
        warnings=(
            *(() if found is None else _warn_of_likelihood(found, stated_of)),
            *_warn_of_over_fitting(model, plan),
        ),
        seconds=0.0,
    )
    tokens = getattr(getattr(dataset, "schema", None), "tokens", None)
    if tokens is not None and stated is not None:
        part = getattr(dataset, split)
        told = text_likelihood(model, stated, x[:stated_of], part, tokens, stop=stop)
        report = replace(report, text=told)
        if isinstance(model, Samples):
            report = _judge_text(report, model, x, plan)
    if tokens is None and (found is not None or isinstance(model, Samples)):
        plan = plan._replace(mixture=_mixture(model, found, report, plan))
    if found is not None:
        report = _hold_likelihood(report, found, x[:stated_of], cond, plan)
    if isinstance(model, Samples) and (report.text is None or features is not None):
        feature = build_features(features, dataset, weights=weights, cache=cache, stop=stop)
        report = _judge_samples(report, model, feature, x, plan, cache)
    report = _judge_codes(report, model, x, cond, plan)
    return replace(report, seconds=time.perf_counter() - start)


def _check_arguments(n: int | None, seed: int, samples: int) -> None:
    if n is not None:
        check_whole("n", n, least=2)
    check_key(seed)
    check_whole("samples", samples, least=1)


def _loaded(model: object, source: DatasetLike | Source) -> DatasetLike:
    """A data set, of whatever stands for one."""
    if all(hasattr(source, name) for name in ("name", "spec", "train", "valid", "test")):
        return source  # type: ignore[return-value]
    if not isinstance(source, np.ndarray | Tensor):
        return load(source)  # type: ignore[arg-type]
    raw = load(source, standardize=False)
    own = getattr(model, "spec", raw.spec)
    scaled = load(source) if own != raw.spec else raw
    return scaled if scaled.spec == own else raw


def _warn_of_likelihood(found: Scored, n: int) -> Iterator[str]:
    yield from warn_of_constant(found.likelihood)
    yield from warn_of_worst(found.likelihood, n)


def _mixture(model: object, found: Scored | None, report: Report, plan: Plan) -> Mixture | None:
    """The yardstick, which knows the class where the model's likelihood does."""
    conditional = found is not None and found.given_class
    fit = fitted(
        model, plan.spec, len(plan.dataset.train), lambda n: plan.rows("train", n),
        conditional=conditional, seed=plan.seed, stop=plan.stop,
    )  # fmt: skip
    cure = collapse.cure_of_worse(at_once=isinstance(model, Fits), over_fitted=_over_fitted(report))
    return None if fit is None else Mixture(fit, conditional, cure)


def _over_fitted(report: Report) -> bool:
    return any(w.startswith("Over-fitting") for w in report.warnings)


def _hold_likelihood(
    report: Report, found: Scored, x: Data, cond: Cond | None, plan: Plan
) -> Report:
    """The model's likelihood of `x` beside the mixture's."""
    if plan.mixture is None:
        return report
    mixture, conditional, cure = plan.mixture
    label = cond[: len(x)] if conditional and cond is not None else None
    own = scored(mixture, x, label, plan.spec, seed=plan.seed, stop=plan.stop)
    if own is None or not own.values.isfinite().all():
        return report
    words = collapse.warn_of_worse_likelihood(found, own, plan.spec, cure)
    return replace(
        report,
        yardstick=Yardstick(own.likelihood.nats, own.likelihood.kind),
        warnings=(*report.warnings, *words),
    )


def _hold_samples(
    report: Report, real: Tensor, labels: Cond | None, feature: Features, plan: Plan
) -> Report:
    """The distance of the model's samples from real features beside that of the mixture's."""
    # One more pass through Inception takes minutes, of which a mixture is not worth one.
    if plan.mixture is None or feature.name == "inception":
        return report
    mixture, conditional, cure = plan.mixture
    n, cond = report.counts["fake"], None
    if conditional and labels is not None:  # in the shares that real examples have
        cond = labels[torch.arange(n) % len(labels)]
    fake = draw_examples(
        mixture, n, cond=cond, seed=stream("yardstick", plan.seed), stop=plan.stop
    ).float()
    distance = frechet_distance(real, feature(fake, stop=plan.stop).features, plan.stop)
    if not math.isfinite(distance):
        return report
    words = collapse.warn_of_worse_samples(report.metrics["frechet"], distance, plan.spec, cure)
    return replace(
        report,
        yardstick=replace(report.yardstick or Yardstick(), frechet=distance),
        warnings=(*report.warnings, *words),
    )


def _judge_codes(report: Report, model: object, x: Data, cond: Cond | None, plan: Plan) -> Report:
    """What codes carry, and how far examples come back from them."""
    metrics: dict[str, float | None] = {}
    warnings: list[str] = []
    found = codes(model, x, cond, seed=plan.seed, stop=plan.stop)
    if found is not None:
        metrics["kl"] = float(found.kl.sum())
        metrics["active_units"] = found.active
        metrics["mutual_information"] = found.information
        warnings += warn_of_collapse(found)
    error = inversion_error(model, x, cond, stop=plan.stop)
    if error is None:
        rows = slice(min(len(x), _RECONSTRUCTED))
        label = None if cond is None else cond[rows]
        metrics["reconstruction_error"] = reconstruction_error(
            model, x[rows], label, plan.spec, seed=plan.seed, stop=plan.stop
        )
    else:
        metrics["inversion_error"] = error
        warnings += warn_of_inversion(error)
    measured = {name: Measured(value) for name, value in metrics.items() if value is not None}
    return replace(
        report,
        metrics=report.metrics | measured,
        warnings=(*report.warnings, *warnings),
    )


def depends_on_class(model: Samples, spec: DataSpec) -> bool:
    """Whether samples of one noise change with the class."""
    if spec.classes < 2 or not takes_cond(model.sample):
        return False
    drawn = []
    for label in (0, 1):
        with seeded(0):
            drawn.append(draw_examples(model, 4, cond=torch.full((4,), label)))
    return not torch.equal(*drawn)


def _known_split(split: str, dataset: DatasetLike) -> str:
    known = ("train", "valid", "test")
    if not isinstance(split, str) or split not in known:
        raise UserError(
            f"A split is train, valid or test, not {split!r}; {did_you_mean(str(split), known)}"
        )
    if len(getattr(dataset, split)) < 2:
        raise UserError(
            f"The {split} split of {dataset.name} should hold at least two examples, but holds "
            f"{len(getattr(dataset, split))}; choose another split or give more data."
        )
    return split


def _count(n: int | None, split: str, dataset: DatasetLike) -> int:
    return min(10_000 if n is None else n, len(getattr(dataset, split)))


def _likelihood(
    model: object, x: Data, cond: Cond | None, plan: Plan, samples: int
) -> tuple[Scored | None, int]:
    """The model's likelihood, and of how many examples it is the mean."""
    # Hundreds of draws for each example: a thousand examples say enough.
    most = min(len(x), 1000) if isinstance(model, ImportanceBound) else len(x)
    part = None if cond is None else cond[:most]
    found = scored(
        model, x[:most], part, plan.spec, samples=samples, seed=plan.seed, stop=plan.stop
    )
    return found, most if found is not None else 0


def _warn_of_over_fitting(model: object, plan: Plan) -> Iterator[str]:
    """Training examples held against others; nothing where training examples are what is asked."""
    if plan.split == "train" or not len(plan.dataset.train):
        return
    said = []
    for split in ("train", plan.split):
        x, cond = plan.rows(split, _HELD)
        said.append(comparable(model, x, cond, plan.spec, seed=plan.seed, stop=plan.stop))
    train, held_out = said
    if train is not None and held_out is not None:
        yield from collapse.warn_of_over_fitting(train, held_out)


def _flow_likelihood(
    model: object, x: Data, cond: Cond | None, plan: Plan
) -> tuple[Scored | None, int]:
    if not isinstance(model, FlowLikelihood):
        raise UserError(
            "a likelihood by the probability flow is of a diffusion model, and this model has "
            "none; leave the flow out."
        )
    by_flow = model.by_flow(directions=None if plan.spec.size <= _AXES else _DIRECTIONS)
    x, cond = x[:_FEW], None if cond is None else cond[:_FEW]
    return scored(by_flow, x, cond, plan.spec, seed=plan.seed, stop=plan.stop), len(x)


def _judge_samples(
    report: Report,
    model: Samples,
    feature: Features,
    x: Data,
    plan: Plan,
    cache: bool,
) -> Report:
    reference, labels = _reference(len(x), plan)
    # Samples of the reference's own classes: the floor and they differ from x by the same luck.
    cond = labels if depends_on_class(model, plan.spec) else None
    fake = _draw(model, len(x) if cond is None else len(cond), cond, plan)
    finite = fake.flatten(1).isfinite().all(1)
    warnings = list(_warn_of_non_finite(finite))
    fake = fake[finite]
    cond = None if cond is None else cond[finite]
    if len(fake) <= 5:
        return replace(report, warnings=(*report.warnings, *warnings, "Too few samples to judge."))
    sets = Sets(
        *(feature(t, stop=plan.stop) for t in (x, fake, reference, uniform_like(x, plan.spec)))
    )
    metrics = dict(_metrics(sets, plan))
    if not plan.spec.is_image:
        metrics |= _vector_metrics(x, fake, reference, plan)
    if cond is not None:
        metrics["class_agreement"] = _class_agreement(fake, cond, feature, plan, cache)
    if isinstance(model, Walks):
        found, words = judge_chains(model, seed=plan.seed, stop=plan.stop)
        metrics |= found
        warnings += words
    if isinstance(model, Energy):
        gap, words = energy_gap(model, x, fake, reference, stop=plan.stop)
        metrics["energy_gap"] = gap
        warnings += words
    remembered = _memorization(fake, x, plan) if plan.split != "train" else None
    warnings += collapse.warn_of_metrics(metrics, _over_fitted(report))
    warnings += collapse.warn_of_duplicates(sets.real.features, sets.fake.features, plan.stop)
    if (
        sets.real.logits is not None
        and sets.fake.logits is not None
        and feature.accuracy is not None
    ):
        warnings += collapse.warn_of_classes(
            sets.real.logits, sets.fake.logits, plan.spec.class_names
        )
    if remembered is not None:
        warnings += collapse.warn_of_memorization(remembered)
    width = sets.real.features.shape[1]
    described = {"name": feature.name, "detail": feature.detail, "width": width}
    report = replace(
        report,
        features=described | ({} if feature.accuracy is None else {"accuracy": feature.accuracy}),
        counts=report.counts | {"fake": len(fake), "reference": len(reference)},
        metrics=metrics,
        memorization=remembered,
        warnings=(*report.warnings, *warnings),
        samples=fake,
    )
    return _hold_samples(report, sets.real.features, labels, feature, plan)


def _judge_text(report: Report, model: Samples, x: Data, plan: Plan, most: int = 500) -> Report:
    """How much of the training text samples repeat, beside how much real examples do."""
    fake, train = _draw(model, min(most, len(x)), None, plan), plan.dataset.train
    metrics = {"copied": Measured(copied(fake, train), floor=copied(x, train))}  # type: ignore[arg-type]
    return replace(
        report, metrics=metrics, samples=fake, counts=report.counts | {"fake": len(fake)}
    )


def _draw(model: Samples, n: int, cond: Cond | None, plan: Plan) -> Data:
    fake = draw_examples(model, n, seed=plan.seed, cond=cond, stop=plan.stop)
    if fake.shape[1:] != plan.spec.shape:
        raise UserError(
            f"Samples should have the data's shape {plan.spec.shape}, but have "
            f"{tuple(fake.shape[1:])}; evaluate the model on the data that it was trained on."
        )
    return fake.float()


def _warn_of_non_finite(finite: Tensor) -> Iterator[str]:
    bad = int((~finite).sum())
    if bad:
        yield (
            f"{bad} of {len(finite)} samples hold NaN or infinity and were left out; lower the "
            "learning rate or clip the gradients."
        )


def _reference(n: int, plan: Plan) -> tuple[Data, Cond | None]:
    """Other real examples: of the validation split, then of the training split."""
    parts: list[Data] = []
    labels: list[Cond] = []
    for split in ("valid", "train", "test"):
        missing = n - sum(map(len, parts))
        if split != plan.split and missing > 0 and len(getattr(plan.dataset, split)):
            x, cond = plan.rows(split, missing)
            parts.append(x)
            labels += [] if cond is None else [cond]
    return torch.cat(parts), torch.cat(labels) if labels else None


def _metrics(sets: Sets, plan: Plan) -> Iterator[tuple[str, Measured]]:
    real, fake, reference, noise = (
        s.features for s in (sets.real, sets.fake, sets.reference, sets.noise)
    )
    resamples = 50 if real.shape[1] <= 256 else 20
    value, low, high = bootstrap(
        frechet_distance, real, fake, resamples=resamples, seed=plan.seed, stop=plan.stop
    )
    floor, ceiling = (frechet_distance(real, t, plan.stop) for t in (reference, noise))
    yield "frechet", Measured(value, max(low, 0.0), high, floor=floor, ceiling=ceiling)
    kernel = kernel_distance(real, fake, plan.stop)
    floor = kernel_distance(real, reference, plan.stop).value
    yield "kid", Measured(kernel.value, stderr=kernel.stderr, floor=floor)
    if sets.fake.logits is not None and sets.real.logits is not None:
        scores = (inception_score(t).value for t in (sets.fake.logits, sets.real.logits))
        yield "inception_score", Measured(next(scores), floor=next(scores))
    # The set that stands in for the samples has their count, or the figures would not be
    # comparable.
    k = min(5, len(real) - 1, len(fake) - 1, len(reference) - 1)
    found = precision_recall(real, fake, k=k, stop=plan.stop)
    best = precision_recall(real, reference, k=k, stop=plan.stop)
    for name in PrecisionRecall._fields:
        yield name, Measured(getattr(found, name), floor=getattr(best, name))


def _vector_metrics(
    real: Tensor, fake: Tensor, reference: Tensor, plan: Plan
) -> dict[str, Measured]:
    real, fake, reference = (flat(t[:4000], plan.spec) for t in (real, fake, reference))
    return {
        "energy_distance": Measured(
            energy_distance(real, fake, plan.stop),
            floor=energy_distance(real, reference, plan.stop),
        ),
        "sliced_wasserstein": Measured(
            sliced_wasserstein(real, fake), floor=sliced_wasserstein(real, reference)
        ),
    }


def _class_agreement(
    fake: Data, cond: Cond, feature: Features, plan: Plan, cache: bool
) -> Measured:
    """The share of samples classed as was asked; the floor is the classifier's accuracy."""
    if feature.name != "classifier":
        feature = build_features("classifier", plan.dataset, cache=cache, stop=plan.stop)
    logits = feature(fake, stop=plan.stop).logits
    assert logits is not None
    agreement = float((logits.argmax(1) == cond.cpu()).double().mean())
    return Measured(agreement, floor=feature.accuracy)


def _memorization(fake: Data, held_out: Data, plan: Plan, most: int = 2000) -> Memorization:
    train = plan.dataset.train

    def chunks() -> Iterator[Tensor]:
        for rows in blocks(len(train), 4096, plan.stop):
            x, _ = train.values(torch.arange(rows.start, rows.stop))
            yield flat(x.float(), plan.spec)

    fake, held_out = (flat(t[:most], plan.spec) for t in (fake, held_out))
    return memorization(fake, held_out, chunks(), stop=plan.stop)
