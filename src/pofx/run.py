"""run: a trained model with its data, in three lines of Python.

run = pofx.fit("vae", data="digits")
run.sample(64)
run.evaluate()
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pofx.arguments import (
    CALLED,
    CODES,
    LABELS,
    PATH,
    WHOLE,
    checked,
    must_be_examples,
    must_be_options,
    whole_numbers,
)
from pofx.arguments import Unwritten as Unwritten
from pofx.capabilities import Continues, Guidable, Samples
from pofx.data.limits import MEMORY_BYTES, DataError, size
from pofx.data.raw import listed
from pofx.data.source import Source
from pofx.data.under import Examples, under
from pofx.data.whole import written
from pofx.data.write import write
from pofx.errors import did_you_mean
from pofx.evaluation import latent
from pofx.evaluation.anomaly import Anomalies, Scorer, detection, threshold
from pofx.evaluation.anomaly import Kind as AnomalyKind
from pofx.evaluation.arguments import described
from pofx.evaluation.evaluate import Report, evaluate
from pofx.functional.draw import check_finite, draw, evaluating, keyed
from pofx.functional.interpolation import Curve, between, traversal
from pofx.functional.random import noise, streams_of
from pofx.hybrids.two_stage import TwoStage
from pofx.opened import RUN, Classes, Opened
from pofx.spec import Real
from pofx.training import checkpoint
from pofx.training import fit as training
from pofx.training.asked import checked_options
from pofx.training.entries import COUNT, NUMBER, SEED, TEXT, maybe, one_of
from pofx.training.entries import listed as many
from pofx.training.folder import RunError
from pofx.training.loop import Options
from pofx.typing import Data

_BATCH = 256
"""Examples that are completed or edited at a time."""
_NORMAL = 10_000
"""Training examples whose codes the distance of an anomaly is measured from."""


class Run(Opened):
    """A run folder, opened, with all that can be done with its model; made as `Opened` is."""

    @checked(prior=maybe(RUN), worse=maybe(RUN), stop=CALLED)
    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        cond: Classes | None = None,
        batch: int = 256,
        prior: Run | None = None,
        worse: Run | None = None,
        stop: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> Data:
        """Draws new examples, `(n, *event)` in the model's values, on the CPU; the same for any
        `batch`.

        Args:
            n: how many.
            seed: example i of a seed is always the same.
            cond: a class, by number or name, or one for each example.
            batch: how many to draw at a time.
            prior: a run that was trained on this one's codes and draws new ones to decode.
            worse: a run of the same recipe, smaller or trained for less time, which guidance goes
                away from.
            stop: polled between batches.
            options: what the model's own `sample` takes, such as `steps`; a `prompt` as text.

        Raises:
            RunError: the model does not sample, or takes no such class or option.
        """
        if prior is not None and worse is not None:
            raise RunError(
                "samples come from a prior or go away from a worse run, and both came; leave one "
                "out."
            )
        model = self.model if prior is None else self.with_prior(prior)
        if worse is not None:
            model = self._guided_by(worse)
        if not isinstance(model, Samples):
            raise RunError(
                f"recipe '{self.job.recipe}' does not sample; encode its data, train another "
                "recipe on the codes, and give that run as the prior."
            )
        n, batch, seed = whole_numbers(n=n, batch=batch, seed=seed)
        if n < 1 or batch < 1:
            raise RunError(
                f"the number of samples and the batch are at least 1, and {min(n, batch)} came."
            )
        needed = 4 * n * self.spec.size
        if needed > MEMORY_BYTES:
            raise RunError(
                f"{n:,} samples need {size(needed)} of memory, more than {size(MEMORY_BYTES)}; "
                "draw fewer at a time, with another seed each time."
            )
        if prior is None:
            if isinstance(options.get("prompt"), str):
                options["prompt"] = self._tokens(options["prompt"])
            self.check(options)
        elif options:
            raise RunError(f"samples of a prior take no option '{min(options)}'.")
        labels = self.labels(n, cond, model)
        with streams_of(self.job.format):
            return draw(
                model, n, seed=seed, cond=labels, batch=batch, stop=stop, finite=True, **options
            )

    def stream(
        self,
        prompt: str,
        *,
        length: int = 500,
        seed: int = 0,
        cond: int | str | None = None,
        **options: Any,
    ) -> Iterator[str]:
        """The text that follows a prompt, token by token as it is drawn.

        Args:
            prompt: what comes before; may be empty.
            length: how many tokens, which may be more than an example has.
            seed: the same seed, the same text.
            cond: a class, by number or name.
            options: what the model's own `continuation` takes, such as `temperature`.
        """
        length, seed = whole_numbers(length=length, seed=seed)
        model, tokens = self.model, self._tokens(prompt)
        self.check(options)
        assert isinstance(model, Continues)
        assert self.schema.tokens is not None
        going = model.continuation(tokens, self.labels(1, cond), **options)
        with streams_of(self.job.format):
            return self.schema.tokens.stream(keyed(going, length, seed))

    @checked(prior=RUN)
    def with_prior(self, prior: Run) -> TwoStage:
        """This run's decoder behind a run that was trained on its codes.

        Raises:
            RunError: the prior draws no codes of this run's shape.
        """
        shape = tuple(self.encode(limit=1)[0].shape[1:])
        if not isinstance(prior.model, Samples):
            raise RunError(f"'{prior.path}' does not sample, so it is no prior.")
        if prior.spec.shape != shape or not isinstance(prior.spec.support, Real):
            raise RunError(
                f"'{prior.path}' draws vectors of shape {prior.spec.shape}, and the codes of "
                f"'{self.path}' are numbers of shape {shape}; train the prior on those codes."
            )
        mean, std = (torch.tensor(v) for v in (prior.schema.mean, prior.schema.std))
        self.refuse_other_codes(prior)
        return TwoStage(prior.model, self.model, mean, std).to(self.device)  # type: ignore[arg-type]

    def _guided_by(self, worse: Run) -> nn.Module:
        if not isinstance(self.model, Guidable) or not isinstance(worse.model, Guidable):
            raise RunError(
                "guidance away from a worse run is of two diffusions of continuous noise, such as "
                f"ddpm or edm, and the recipes are '{self.job.recipe}' and '{worse.job.recipe}'; "
                "leave the worse run out."
            )
        if self.schema != worse.schema:
            raise RunError(
                f"'{worse.path}' was trained on other data than '{self.path}', or in other units; "
                "train the same recipe on the same data, smaller or for less time."
            )
        return self.model.guided_by(worse.model)

    def complete(
        self,
        x: Data,
        known: Tensor,
        *,
        seed: int = 0,
        cond: Classes | None = None,
        **options: Any,
    ) -> Data:
        """Examples of which a part is known, `(n, *event)`, with the rest drawn anew.

        Args:
            x: examples; what is not known in them is ignored.
            known: which elements are, a bool mask of the event's shape.
            seed: example i of a seed is always the same.
            cond: a class, by number or name, or one for each example.
            options: what the model's own `complete` takes, such as `steps`.

        Raises:
            RunError: the model completes nothing, or takes no such class or option.
        """
        self.must("complete")
        shape = self.spec.shape
        if not isinstance(known, Tensor) or known.dtype != torch.bool or known.shape != shape:
            raise RunError(
                f"what is known is a tensor of bool of shape {shape}, and {described(known)} came; "
                "True is where an example is kept."
            )
        self.check(options, "complete")
        return self._anew("complete", x, seed, cond, known=known.to(self.device), **options)

    def edit(
        self,
        x: Data,
        *,
        seed: int = 0,
        cond: Classes | None = None,
        strength: float = 0.5,
        **options: Any,
    ) -> Data:
        """Examples near given ones, which may be rough, `(n, *event)`.

        Args:
            x: examples.
            seed: example i of a seed is always the same.
            cond: as for `complete`, of the new examples.
            strength: how much of them may change, from 0 to all at 1.
            options: what the model's own `edit` takes, such as `steps`.

        Raises:
            RunError: the model edits nothing, or takes no such class or option.
        """
        self.must("edit")
        self.check(options, "edit")
        return self._anew("edit", x, seed, cond, strength=strength, **options)

    def _anew(self, method: str, x: Data, seed: int, cond: Classes | None, **options: Any) -> Data:
        """What a method makes of examples, on the CPU; the same for any batch."""
        (seed,) = whole_numbers(seed=seed)
        must_be_examples(x, self.spec.shape)
        if not len(x):
            raise RunError(f"to {method} takes at least one example, and none came.")
        read = x[:, known.cpu()] if (known := options.get("known")) is not None else x
        if not read.isfinite().all():
            raise RunError(
                f"examples to {method} are finite where they are read, and some are NaN or "
                "infinite there; leave those out."
            )
        labels = None if cond is None else self.labels(len(x), cond)
        done = []
        for first in range(0, len(x), _BATCH):
            part = x[first : first + _BATCH].to(self.device)
            own = {} if labels is None else {"cond": labels[first : first + _BATCH]}
            with streams_of(self.job.format):
                keyed_by_row = noise(seed, len(part), use=method, first=first)
            with evaluating(self.model), keyed_by_row:
                drawn = getattr(self.model, method)(part, **own, **options).cpu()
                done.append(check_finite(drawn))
        return torch.cat(done)

    @checked(path=PATH, cond=maybe(LABELS))
    def save(
        self,
        x: Data,
        path: str | Path,
        *,
        seed: int = 0,
        metadata: bool = True,
        cond: Tensor | None = None,
        escape_formulas: bool = False,
    ) -> Path:
        """Writes samples as a `.png` grid, a folder of pictures, `.npz`, `.npy` or `.csv`.

        Args:
            x: samples, in the model's values.
            path: its ending says what to write.
            seed: recorded in a picture.
            metadata: whether a picture carries the recipe, the seed and the model's hash.
            cond: the samples' labels.
            escape_formulas: in a `.csv`, whether words that a spreadsheet takes for a formula get
                an apostrophe.

        Raises:
            RunError: the run's own data lie there.
        """
        must_be_examples(x, self.spec.shape)
        if cond is not None and len(cond) != len(x):
            raise RunError(f"cond must be a label for each of {len(x)} (got {len(cond)}): do that.")
        self.spare(path)
        about = {"recipe": self.job.recipe, "seed": str(seed), "model": self.model_hash}
        return write(
            x, self.schema, path, cond=cond, metadata=about if metadata else None,
            escape_formulas=escape_formulas,
        )  # fmt: skip

    @checked(
        prior=maybe(RUN), out=maybe(PATH), n=maybe(WHOLE), features=maybe(TEXT), split=TEXT,
        seed=SEED,
    )  # fmt: skip
    def evaluate(
        self, *, prior: Run | None = None, out: str | Path | None = None, **options: Any
    ) -> Report:
        """Measures the run on its own test data; see `pofx.evaluation.evaluate`. Written to
        `evaluation.json` too.

        Args:
            prior: as for `sample`.
            out: another file to write to.
            options: those of `pofx.evaluation.evaluate`.

        Raises:
            Unwritten: the file cannot be written; the error has the report.
        """
        must_be_options(evaluate, options)
        path = self.path / "evaluation.json" if out is None else Path(out)
        self.spare(path)
        model = self.model if prior is None else self.with_prior(prior)
        report = evaluate(model, self.dataset, **options)
        content = {"recipe": self.job.recipe, "model": self.model_hash, **report.to_json()}
        try:
            with written(path, "w") as file:
                file.write(json.dumps(content, indent=1) + "\n")
        except DataError as error:
            told = f"{error} What was measured is told here; give another --out."
            raise Unwritten(told, report) from error
        return report

    def examples(self, source: Source) -> Examples:
        """New data as the model sees it; `source` is whatever `pofx.data.load` takes.

        Raises:
            DataError: it is of another kind than what the run was trained on.
        """
        return under(source, self.schema, self.job.source)

    @checked(limit=maybe(COUNT), seed=SEED)
    def encode(
        self, source: Source | None = None, *, limit: int | None = None, seed: int = 0
    ) -> tuple[Tensor, tuple[str, ...] | None]:
        """The codes of examples, `(n, *latent)`, and the names of their classes, or None.

        Args:
            source: whatever `pofx.data.load` takes; the run's own training examples by default.
            limit: the first so many.
            seed: of random draws.
        """
        found = self._own_examples("train", limit) if source is None else self.examples(source)
        return self._codes(found, limit, seed), None if not found.labels else found.labels[:limit]

    def _codes(self, found: Examples, limit: int | None, seed: int) -> Tensor:
        cond = None if found.labels is None else self._classes_of(found.labels[:limit])
        return latent.encode(self.model, found.x[:limit], cond, seed=seed)

    def _classes_of(self, labels: Sequence[str]) -> Tensor | None:
        if not getattr(self.model, "conditional", False):
            return None
        return torch.tensor([self._class(label) for label in labels])

    @checked(z=CODES, seed=SEED)
    def decode(
        self, z: Tensor, *, cond: int | str | Sequence[str] | None = None, seed: int = 0
    ) -> Data:
        """The example of each code, `(n, *latent) -> (n, *event)`.

        Args:
            z: the codes.
            cond: the class of all, or the names of the classes of each, which a model that takes no
                class passes over; the classes in turn where a conditional model is told nothing.
            seed: of random draws.

        Raises:
            RunError: codes of another shape.
        """
        shape = self.encode(limit=1)[0].shape[1:]
        if z.shape[1:] != shape:
            raise RunError(
                f"'{self.path}' has codes of shape {tuple(shape)}, and codes of shape "
                f"{tuple(z.shape[1:])} came."
            )
        known = cond if cond is None or isinstance(cond, int | str) else self._classes_of(cond)
        return latent.decode(self.model, z, self.labels(len(z), known), seed=seed)

    @checked(first=WHOLE, last=WHOLE, steps=WHOLE, curve=one_of("spherical", "linear"))
    def interpolate(
        self,
        first: int,
        last: int,
        *,
        steps: int = 10,
        curve: Curve = "spherical",
        source: Source | None = None,
    ) -> Data:
        """Examples along a curve between the codes of two, `(steps, *event)`; each has the class of
        the nearer end.

        Args:
            first: the number of an example, from 0.
            last: of the other.
            steps: how many examples, both ends among them.
            curve: linear, or spherical.
            source: whatever `pofx.data.load` takes; the run's own test examples by default.
        """
        if steps < 2:
            raise RunError(f"an interpolation has at least 2 steps, and {steps} came.")
        a, b = self._pick([first, last], source)
        z = between(a[0], b[0], steps, curve)
        cond = None
        if a[1] is not None and b[1] is not None:
            cond = torch.cat([a[1].expand((steps + 1) // 2), b[1].expand(steps // 2)])
        return latent.decode(self.model, z, cond)

    @checked(example=WHOLE, dimensions=maybe(many(WHOLE)), steps=WHOLE, reach=NUMBER)
    def traverse(
        self,
        example: int = 0,
        *,
        dimensions: Sequence[int] | None = None,
        reach: float = 2.0,
        steps: int = 9,
        source: Source | None = None,
    ) -> Data:
        """An example with one coordinate of its code moved at a time: a block of `steps` examples
        for each coordinate, one after the other.

        Args:
            example: its number, from 0.
            dimensions: which coordinates; by default the ten that vary most.
            reach: how far to move either way, in standard deviations of the training codes.
            steps: examples for each coordinate.
            source: as for `interpolate`.
        """
        if steps < 2 or not reach > 0:
            raise RunError("a traversal has at least 2 steps and a reach above 0.")
        (z, cond), *_ = self._pick([example], source)
        spread = self.encode(limit=2000)[0].flatten(1).std(0)
        largest = spread.argsort(descending=True)[:10].tolist()
        chosen = list(dimensions) if dimensions is not None else largest
        wrong = [d for d in chosen if not 0 <= d < z.numel()]
        if wrong or not chosen:
            raise RunError(
                f"a code has coordinates 0 to {z.numel() - 1}, and {wrong or 'none'} came."
            )
        moved = traversal(z.flatten(), chosen, spread, torch.linspace(-reach, reach, steps))
        codes = moved.reshape(-1, *z.shape)
        return latent.decode(self.model, codes, None if cond is None else cond.expand(len(codes)))

    def _pick(
        self, numbers: Sequence[int], source: Source | None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The code of each numbered example, and its class where the model takes one."""
        found = self._own_examples("test") if source is None else self.examples(source)
        for number in numbers:
            if not 0 <= number < len(found.x):
                raise RunError(
                    f"{found.name} has examples 0 to {len(found.x) - 1}, and {number} came."
                )
        labels = None if found.labels is None else [found.labels[i] for i in numbers]
        cond = None if labels is None else self._classes_of(labels)
        z = latent.encode(self.model, found.x[list(numbers)], cond)
        return [(z[i], None if cond is None else cond[i : i + 1]) for i in range(len(z))]

    @checked(quantile=NUMBER, seed=SEED, stop=CALLED)
    def anomaly(
        self,
        source: Source | None = None,
        *,
        score: AnomalyKind | None = None,
        quantile: float = 0.95,
        normal: Sequence[str] | str | None = None,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Anomalies:
        """Scores each example of a source, the higher the stranger; see
        `pofx.evaluation.anomaly`.

        Args:
            source: whatever `pofx.data.load` takes; the run's own test examples by default.
            score: its kind; the most telling one that the model gives by default.
            quantile: the share of validation examples that stay below the threshold.
            normal: the classes that are no anomalies, where the source has labels; by default those
                that the run was trained on alone, or 0 where labels are 0 and 1. A text is one
                name, or several between commas.
            seed: of random draws.
            stop: polled between batches.
        """
        if not 0 < quantile < 1:
            raise RunError(f"the quantile is a share between 0 and 1, and {quantile} came.")
        held = self.dataset.valid.values()[0]
        known = self.dataset.train.values(slice(_NORMAL))[0]
        scorer = Scorer(
            self.model, self.spec, known, score, seed=seed, given=self.schema.given, stop=stop
        )
        found = self._own_examples("test") if source is None else self.examples(source)
        scores = scorer(found.x)
        anomalous = self._anomalous(found, normal)
        return Anomalies(
            scorer.kind,
            scores,
            threshold(scorer(held), quantile),
            found.labels,
            None if anomalous is None else detection(scores, anomalous),
        )

    def _own_examples(self, split: str, limit: int | None = None) -> Examples:
        x, y = self.dataset.splits[split].values(slice(limit))
        names = self.spec.class_names
        labels = None if y is None or not names else tuple(names[k] for k in y.tolist())
        return Examples(self.dataset.name, x, labels)

    def _anomalous(self, found: Examples, normal: Sequence[str] | str | None) -> Tensor | None:
        if found.labels is None:
            if normal:
                raise RunError(f"{found.name} has no labels, so none of them is normal.")
            return None
        trained = self.job.source.get("classes")
        normal = listed(normal, found.labels) if isinstance(normal, str) else normal
        if not normal and not trained and set(found.labels) != {"0", "1"}:
            return None  # the labels are of kinds, and do not say which of them are strange
        known = set(normal or trained or ["0"])
        unknown = sorted(known - set(found.labels))
        if normal and unknown:
            hint = did_you_mean(unknown[0], sorted(set(found.labels)))
            raise RunError(f"{found.name} has no class '{unknown[0]}'; {hint}")
        return torch.tensor([label not in known for label in found.labels])

    def resume(
        self, *, steps: int | None = None, minutes: float | None = None, quiet: bool = False
    ) -> Run:
        """Goes on training; see `pofx.training.fit.resume`.

        Raises:
            RunError: there are weights and no checkpoint to go on from.
        """
        weighed = (self.path / "model.safetensors").exists()
        # what was fitted at once has no checkpoints, and counts one step
        if weighed and not checkpoint.checkpoints(self.path / "checkpoints") and self.step > 1:
            raise RunError(
                f"'{self.path}' has weights of step {self.step} and no checkpoint to go on from; "
                "restore its checkpoints, or train a new run."
            )
        training.resume(self.path, steps=steps, minutes=minutes, quiet=quiet)
        return Run(self.path, device=str(self.device))


def fit(
    recipe: str,
    data: Any = "digits",
    *,
    seed: int = 0,
    options: Options = Options(),  # noqa: B008, frozen
    **arguments: Any,
) -> Run:
    """Trains a recipe on data and opens the run.

    Args:
        recipe: its name.
        data: a built-in name, a path, an array or a `Dataset`.
        seed: fixes weights, order and noise.
        options: how to run the loop.
        arguments: those of `pofx.training.fit.fit` and of the recipe.
    """
    options = checked_options(options)
    options = replace(options, seed=seed.item() if isinstance(seed, np.generic) else seed)
    device = arguments.get("device", "auto")
    return Run(training.fit(recipe, data, options=options, **arguments), device=device)


def load(path: str | Path, *, device: str = "auto") -> Run:
    """Opens a run folder."""
    return Run(path, device=device)


def resume(path: str | Path, **budget: Any) -> Run:
    """Goes on with a run and opens it."""
    return Run(path).resume(**budget)
