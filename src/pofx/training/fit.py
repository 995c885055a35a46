"""fit: the training loop with the usual trimmings: a run folder, checkpoints, a log and sample
grids.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pofx import catalogue
from pofx.capabilities import Fits, Samples
from pofx.data.batches import batches
from pofx.data.dataset import Dataset
from pofx.data.limits import DataError, printable
from pofx.data.source import load
from pofx.data.whole import written
from pofx.data.write import write
from pofx.errors import UserError
from pofx.functional.draw import draw
from pofx.functional.random import streams_of
from pofx.objective import Symptom
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.training import checkpoint, entries, footprint, restored
from pofx.training.asked import (
    a_path,
    check_budget,
    check_counts,
    checked_options,
    options_of_data,
    plain,
)
from pofx.training.claim import beside, claimed, disk, owned
from pofx.training.conclusion import conclusion, fitted, smaller_by
from pofx.training.distributed import World, local_device, world
from pofx.training.folder import Job, RunError, new_folder, read, versions
from pofx.training.log import Log
from pofx.training.loop import Budget, NonFinite, Options, Step, Training, train, under
from pofx.training.signals import Stop, stopping
from pofx.training.symptoms import Seen, at_the_end, while_training
from pofx.training.threads import limited_threads, suitable_threads
from pofx.training.watch import Best, Watch

_SAVE_SECONDS = 120.0
_LOG_SECONDS = 1.0
_TEXTS = 16
_PICTURES, _PATIENCE = 0.1, 10.0
"""Of the time of training, which a picture of samples may take, and the seconds that it always may.
"""
_SIGNALS = 128
"""More than there are."""


class Interrupted(UserError):
    """Training was asked to stop; everything is saved, or nothing was done yet."""

    def __init__(self, folder: Path, step: int, signal: int, who: str = "") -> None:
        self.signal = signal
        saved = f"stopped at step {step}, and saved; go on"
        done = saved if step else "stopped before it was fitted; start again"
        super().__init__(f"{who}{done} with `pofx resume {folder}`.")


def fit(
    recipe: str,
    data: str | Path | np.ndarray | Tensor | Dataset = "digits",
    *,
    out: str | Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    options: Options = Options(),  # noqa: B008, frozen
    device: str = "auto",
    threads: int | None = None,
    save_every: int | None = None,
    sample_every: int | None = None,
    keep: str = "best",
    data_options: Mapping[str, Any] | None = None,
    command: str = "",
    quiet: bool = False,
    **arguments: Any,
) -> Path:
    """Trains a recipe on data, in a new run folder.

    Args:
        recipe: its name, such as `vae`.
        data: whatever `pofx.data.load` takes.
        out: the run folder; the first free `runs/<recipe>-<data>` by default.
        steps: the budget; the recipe's own by default.
        minutes: the budget in minutes of training, instead of `steps`.
        options: see `Options`.
        device: `auto`, `cpu`, `cuda` or a torch device.
        threads: CPU threads; None takes one for a model so small that more only get in its way.
        save_every: steps between checkpoints; two minutes by default.
        sample_every: steps between sample grids; a tenth of the budget by default.
        keep: the weights to sample from: the `best` on validation data, where there is a loss on
            them, or the `last`.
        data_options: more arguments of `pofx.data.load`.
        command: recorded in `run.json`.
        quiet: shows nothing.
        arguments: the recipe's own.

    Returns:
        The run folder.

    Raises:
        UserError: anything that the user can mend.
        Interrupted: a signal arrived, and the run is saved.
    """
    entry = catalogue.describe(recipe)
    check_budget(steps, minutes)
    check_counts(save_every=save_every, sample_every=sample_every, threads=threads)
    device, options = str(device), checked_options(options)
    steps, arguments = plain(steps), {k: plain(v) for k, v in arguments.items()}
    entries.check_given({"keep": keep, "device": device, "command": command}, entries.JOB)
    if steps is not None and any(p.name == "steps" for p in entry.parameters):
        arguments["steps"] = steps
    name = str(data) if isinstance(data, str | Path) else getattr(data, "name", None) or "array"

    def choose() -> Path:
        return new_folder(out, recipe, name)

    def prepared(dataset: Dataset) -> tuple[Dataset, Job]:
        dataset = footprint.checked(
            recipe, dataset, arguments, device=_device(device), accumulate=options.accumulate
        )
        return dataset, Job(
            recipe=recipe,
            arguments=catalogue.settings(recipe, dataset.spec, **arguments),
            source=dict(dataset.source),
            spec=dataset.spec.to_json(),
            schema=dataset.schema.to_json(),
            fingerprint=dataset.fingerprint,
            options=asdict(options),
            steps=steps,
            minutes=minutes,
            device=device,
            threads=threads,
            save_every=save_every,
            sample_every=sample_every,
            keep=keep,
            command=command,
            versions=versions(),
        )

    choose()  # what is not free is refused before data are read
    given = {"seed": options.seed, **options_of_data(data_options)}
    kept = isinstance(data, np.ndarray | Tensor)
    made = None if kept else prepared(load(data, **given))
    with (
        world(_device(device)) as here,
        claimed(choose, again=out is None, here=here, spare=Interrupted) as folder,
    ):
        if made is None:
            made = prepared(load(_keep_array(data, folder, here), **given))  # type: ignore[arg-type]
        dataset, job = made
        return _run(folder, job, dataset, quiet=quiet)


def resume(
    folder: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    quiet: bool = False,
) -> Path:
    """Goes on with a run from its newest sound checkpoint, exactly as if it had never stopped.

    Args:
        folder: the run.
        steps: a new budget, to train for longer.
        minutes: a new budget in minutes.
        quiet: shows nothing.

    Raises:
        UserError: no such run, data that has changed, no checkpoint that verifies.
    """
    folder = a_path(folder)
    check_budget(steps, minutes)
    job, dataset = _prepared(folder)
    with world(_device(job.device)) as here, owned(folder) if here.leads else nullcontext():
        if read(folder) != job:  # who held it until now has changed its budget
            job, dataset = _prepared(folder)
        if steps is not None or minutes is not None:
            job = replace(job, steps=steps, minutes=minutes)
        return _run(folder, job, dataset, quiet=quiet)


def _prepared(folder: Path) -> tuple[Job, Dataset]:
    """A run's job and data, which are as they were."""
    job = read(folder)
    source = dict(job.source)
    with streams_of(job.format):
        dataset = load(source.pop("source"), **source)
    if dataset.fingerprint != job.fingerprint:
        raise RunError(
            f"the data of '{folder}' has changed since it was trained "
            f"({job.source.get('source')}): "
            "restore it, or train a new run."
        )
    with _own_random_state(torch.device("cpu")):
        catalogue.build(job.recipe, dataset.spec, **job.settings)
    return job, dataset


def _keep_array(array: np.ndarray | Tensor, folder: Path, here: World) -> Path:
    """An array has no path to load it from again, so the run keeps a copy."""
    path = beside(folder) / "array.npy"
    values = array.numpy(force=True) if isinstance(array, Tensor) else array
    if here.leads:
        with written(path) as file:
            np.save(file, values, allow_pickle=False)
    here.barrier()
    return path


@dataclass
class _Run:
    """What the parts of one run share."""

    folder: Path
    job: Job
    dataset: Dataset
    recipe: Recipe
    device: torch.device
    world: World
    log: Log
    stop: Stop
    undrawn: bool = False

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def budget(self) -> Budget:
        if self.job.minutes is not None:
            return Budget(minutes=self.job.minutes)
        return Budget(steps=self.recipe.steps if self.job.steps is None else self.job.steps)


def _run(folder: Path, job: Job, dataset: Dataset, *, quiet: bool) -> Path:
    device = _device(job.device)
    streams = streams_of(job.format)
    own = _own_random_state(device)
    with world(device) as here, stopping() as stop, own, streams, disk(folder):
        torch.manual_seed(job.options.get("seed", 0))
        recipe = catalogue.build(job.recipe, DataSpec.from_json(job.spec), **job.settings)
        if job.format == 1:
            recipe = replace(recipe, warmup_share=None)
        job = replace(job, threads=job.threads or suitable_threads(recipe))
        with limited_threads(job.threads):
            if here.leads:
                job.write(folder)
            log = Log(folder / "metrics.jsonl" if here.leads else None, quiet=quiet)
            for note in dataset.notes:
                log.say(note)
            with log:
                run = _Run(folder, job, dataset, recipe, device, here, log, stop)
                if recipe.objective is None:
                    _fit_at_once(run)
                else:
                    _train(run)
    return folder


def _device(name: str) -> torch.device:
    try:
        device = local_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError, ZeroDivisionError) as error:
        raise RunError(f"--device {name} is not there; use auto or cpu.") from error
    return device


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Leaves the caller's random state as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _fit_at_once(run: _Run) -> None:
    """Fits a model that needs no loop."""
    if (run.folder / "model.safetensors").exists():
        run.log.say(f"{run.folder} is already complete.")
        return
    assert isinstance(run.recipe.model, Fits)
    model = run.recipe.model.to(run.device)
    start = time.monotonic()
    try:
        x, cond = run.dataset.train.whole(run.dataset.name)
    except DataError as error:
        raise RecipeError(str(error)) from error
    run.stop.at_once = True  # a fit does not poll, and has nothing to save before its end
    try:
        if run.stop():
            raise KeyboardInterrupt
        model.fit(x.to(run.device), None if cond is None else cond.to(run.device))
    except KeyboardInterrupt:
        raise Interrupted(run.folder, 0, run.stop.signal or signal.SIGINT) from None
    finally:
        run.stop.at_once = False
    if run.world.leads:
        run.log.metrics(1, 1.0, {"seconds": time.monotonic() - start})
        _export(run, model.state_dict(), 1)
        _draw(run, model, 1)
        for line in fitted(run.folder, model):
            run.log.say(line)


def _train(run: _Run) -> None:
    options = Options(**run.job.loop_options)
    share = run.recipe.batch_size // run.world.size
    if not share:
        raise RecipeError(
            f"--batch-size must be at least 1 for each of {run.world.size} processes (got "
            f"{run.recipe.batch_size}): raise it, or start fewer."
        )
    if options.accumulate > share:
        raise RecipeError(
            f"--accumulate {options.accumulate} divides a batch of {share} into too many parts; "
            "lower it, or raise --batch-size."
        )
    training = Training(run.recipe, device=run.device, options=options, world=run.world)
    watch = Watch(
        training, run.dataset, run.budget,
        keep=run.job.keep == "best", leads=run.world.leads, stop=run.stop,
    )  # fmt: skip
    _restore(run, training, watch)
    start, started = training.step, run.budget.progress(training.step, training.elapsed)
    if started >= 1:
        run.log.say(f"{run.folder} is already complete at step {start}; --steps makes it longer.")
        if run.world.leads and not _picture(run, start).exists():  # a kill came before the last
            _draw(run, training.sampled, start)
        return
    rollbacks = 0
    while True:
        try:
            _train_on(run, training, watch)
            break
        except NonFinite as error:
            rollbacks += 1
            if options.on_nonfinite != "rollback" or rollbacks > 2:
                raise
            run.log.say(f"{error} Rolling back with half the learning rate.")
            scale = training.lr_scale / 2
            _restore(run, training, watch)
            training.lr_scale = scale


def _train_on(run: _Run, training: Training, watch: Watch) -> None:
    """Trains to the end of the budget, to a signal, or to an error; saves in each case what is
    sound.
    """
    progress = _Progress(run, training, watch)
    data = batches(
        run.dataset.train, run.recipe.batch_size, seed=training.options.seed, step=training.step,
        rank=run.world.rank, world=run.world.size, device=run.device,
    )  # fmt: skip
    with closing(data):  # type: ignore[type-var]
        if training.step:
            progress.look()  # which a signal may have cut short
        for step in watch.first_step_counted(train(training, data, run.budget)):
            progress.after(step)
            if (asked := int(run.world.max(_asked(run)))) > 0:
                progress.save(final=True)
                rank, number = divmod(asked, _SIGNALS)
                who = "" if run.world.size == 1 else f"rank {rank - 1} was asked to stop: "
                raise Interrupted(run.folder, step.number, number, who)
    progress.save(final=True)
    progress.sample()
    if run.world.leads:
        for line in conclusion(run.folder, watch, run.log.said, run.job.keep):
            run.log.say(line)


def _asked(run: _Run) -> float:
    """Which process was asked to stop, and by which signal, as one number; 0 where none was."""
    return 0.0 if run.stop.signal is None else _SIGNALS * (run.world.rank + 1) + run.stop.signal


class _Progress:
    """What happens now and then: a line of metrics, a checkpoint, a grid of samples."""

    def __init__(self, run: _Run, training: Training, watch: Watch) -> None:
        self.run, self.training, self.watch = run, training, watch
        self.logged = self.saved = time.monotonic()
        self.examples = 0
        self.saved_step = training.step
        self.drawing = 0.0
        self.sampled = int(10 * self.spent)

    @property
    def spent(self) -> float:
        return self.run.budget.progress(self.training.step, self.training.elapsed)

    def after(self, step: Step) -> None:
        self.examples += self.run.recipe.batch_size
        self.watch.take(step)
        self.look()
        now = time.monotonic()
        if now - self.logged >= _LOG_SECONDS or step.number == 1 or self.spent >= 1:
            self.metrics(step, now)
        if self._due(step.number, self.run.job.save_every, now - self.saved >= _SAVE_SECONDS):
            self.save()
        if self._due(step.number, self.run.job.sample_every, int(10 * self.spent) > self.sampled):
            self.sampled = int(10 * self.spent)
            if self.spent < 1 and (self.run.job.sample_every or self._pictures_are_cheap):
                self.sample()

    @property
    def _pictures_are_cheap(self) -> bool:
        """Whether one more, as long as the last, leaves training its share."""
        return self.drawing <= _PICTURES * self.training.elapsed

    def _due(self, step: int, every: int | None, otherwise: bool) -> bool:
        return step % every == 0 if every else self.run.world.any(otherwise)

    def look(self) -> None:
        """Looks at validation data, if it is time to."""
        if not self.watch.is_due or (seen := self.watch.look()) is None:
            return
        self.run.log.look(seen, self.spent, self.watch.kind)
        if self.run.job.format > 1:
            self._say(while_training(self.watch.looks, self._seen, self.watch.trained))
            if self.spent >= 1:
                self._say(at_the_end(self.watch.looks, self._seen))

    def _say(self, symptoms: Iterable[Symptom]) -> None:
        for symptom in symptoms:
            self.run.log.symptom(self.training.step, symptom)

    @property
    def _seen(self) -> Seen:
        step, watch = self.training.step, self.watch
        return Seen(step / watch.epoch, step, smaller_by(self.run.job.recipe))

    def metrics(self, step: Step, now: float) -> None:
        rates = {"examples_per_second": self.examples / max(now - self.logged, 1e-9)}
        rates["lr"] = next(iter(self.training.optimizers.values())).param_groups[0]["lr"]
        values = {k: float(v) for k, v in step.metrics.items()}
        self.run.log.metrics(
            step.number, self.spent, {**values, **rates, "seconds": self.training.elapsed}
        )
        self._say(self.training.objective.symptoms(values))
        self.logged, self.examples = now, 0

    def save(self, *, final: bool = False) -> None:
        """Saves; a disk that refuses is reported, and ends training only at the very end."""
        if self.training.step == self.saved_step:
            return
        self.saved = time.monotonic()
        try:
            _save(self.run, self.training, self.watch)
            self.saved_step = self.training.step
        except checkpoint.CheckpointError as error:
            if final or not isinstance(error.__cause__, OSError):
                raise
            self.run.log.say(f"{error} Training goes on.")

    def sample(self) -> None:
        start = time.monotonic()
        if self.run.world.leads:
            patience = max(_PATIENCE, _PICTURES * self.training.elapsed)
            _draw(self.run, self.training.sampled, self.training.step, patience)
        self.drawing = time.monotonic() - start


def _save(run: _Run, training: Training, watch: Watch) -> None:
    tensors, numbers = training.state()
    files = {"state": tensors} if run.world.leads else {}
    if run.world.size > 1:
        own = {f"objective.{k}": v for k, v in training.objective.named_buffers()}
        files[f"rank{run.world.rank}"] = {k: v for k, v in own.items() if k in tensors}
    best, seen = watch.state()
    if best and run.world.leads:
        files["best"] = best
    # what resumes from here has recorded all of this step
    numbers |= {"watch": seen, "metrics": run.log.position()}
    path = checkpoint.save(
        run.checkpoints, training.step, files, numbers,
        wait=run.world.barrier, leads=run.world.leads,
    )  # fmt: skip
    if not run.world.leads:
        return
    checkpoint.prune(run.checkpoints, {path})
    _export(run, *watch.kept())


def _warn(run: _Run, text: str) -> None:
    """Says what even a quiet run may not keep to itself."""
    if run.log.console.quiet and run.world.leads:
        sys.stderr.write(f"{printable(text)}\n")
    else:
        run.log.say(text)


def _restore(run: _Run, training: Training, watch: Watch) -> None:
    """Loads the newest sound checkpoint, if there is one."""
    most = restored.most(training)
    path = checkpoint.newest(run.checkpoints, lambda text: _warn(run, text), most)
    if path is None:
        if checkpoint.checkpoints(run.checkpoints):
            raise checkpoint.CheckpointError(
                f"no checkpoint in {run.checkpoints} verifies; move the folder away to train from "
                "the start."
            )
        run.log.truncate(0)
        watch.restart()
        return
    files, numbers = checkpoint.load(path, most)
    tensors = files.get("state", {}) | files.get(f"rank{run.world.rank}", {})
    try:
        restored.check_state(training, tensors, numbers, int(path.name))
        if run.world.leads and "watch" in numbers:
            restored.check_watch(training, files.get("best", {}), numbers["watch"])
        training.load_state({k: v.to(run.device) for k, v in tensors.items()}, numbers)
    except (RuntimeError, KeyError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"{path} does not fit recipe '{run.job.recipe}' with the arguments in "
            f"{run.folder / 'run.json'} ({error}); restore that file, or train a new run."
        ) from error
    run.log.truncate(min(numbers["metrics"], run.log.position()))
    if run.world.leads:
        if "watch" in numbers:
            watch.load_state(files.get("best", {}), numbers["watch"])
        else:
            _remember(run, training, watch)
        checkpoint.prune(run.checkpoints, {path})
        _export(run, *watch.kept())


def _remember(run: _Run, training: Training, watch: Watch) -> None:
    """The best weights of a run of format 1, which kept them as the checkpoint that they are of."""
    watch.restart()
    watch.due = training.step + 1
    path = checkpoint.best(run.checkpoints)
    if path is not None and run.job.keep == "best":
        files, numbers = checkpoint.load(path)
        weights = under(files["state"], training.weights)
        watch.best = Best(numbers["step"], numbers["valid"], training.objective.stage, weights)


def _export(run: _Run, weights: dict[str, Tensor], step: int) -> None:
    metadata = {"recipe": run.job.recipe, "step": str(step)}
    checkpoint.save_model(run.folder / "model.safetensors", weights, metadata)


def _picture(run: _Run, step: int) -> Path:
    """Where the samples of a step are."""
    return run.folder / "samples" / f"{step:06d}{run.dataset.schema.suffix}"


def _draw(run: _Run, model: nn.Module, step: int, patience: float = math.inf) -> None:
    """A grid of samples with fixed noise, so that pictures of two steps can be compared; fewer
    where drawing takes longer than `patience`, seconds.
    """
    if not isinstance(model, Samples):
        return
    spec, text = run.dataset.spec, run.dataset.schema.tokens is not None
    n = 64 if spec.is_image else _TEXTS if text else 2000 if spec.shape == (2,) else 100
    cond = (
        torch.arange(n, device=run.device) % spec.classes
        if getattr(model, "conditional", False)
        else None
    )
    late, parts = time.monotonic() + patience, count()
    x = draw(
        model, n, seed=run.job.options.get("seed", 0), cond=cond, use="picture",
        batch=max(4, n // 16),  # a long chain is left where it is asked to stop
        stop=lambda: run.stop() or (next(parts) > 0 and time.monotonic() > late),
    )  # fmt: skip
    if run.stop() or not len(x) or not bool(x.isfinite().all()):
        return
    path = _picture(run, step)
    if len(x) < n:
        run.log.say(f"{path} holds {len(x)} of {n} samples, which take long to draw.")
    try:
        write(x, run.dataset.schema, path)
    except DataError as error:
        if not run.undrawn:
            cause = error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) else str(error)
            run.log.say(f"{path} cannot be written ({reason}): the run goes on without it.")
        run.undrawn = True
