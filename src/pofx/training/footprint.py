"""footprint: how much memory training takes, before it takes any.

A step is run by shapes alone (`pofx.training.dry_run`). What is alive at its height, with the
weights, gradients, moments and averages that stay from step to step, is what training takes, but
for the programs themselves; a checkpoint copies weights and moments twice while it is written.
Where a model cannot be run so, a step of one example and one of two are taken in earnest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pofx import catalogue
from pofx.batch import Batch
from pofx.capabilities import FitsWithin
from pofx.catalogue import Parameter
from pofx.data.dataset import Dataset, running
from pofx.data.limits import size
from pofx.errors import UserError
from pofx.recipe import SGD, Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.training import memory
from pofx.training.dry_run import META, DryRun, Meter, TooLarge, TooLong, take_step, without_numbers

_NOTED = 2 << 30
"""Bytes from which a run says beforehand what it will take."""
_COPIES = 2
"""Of what a checkpoint holds, while it is written."""
_LIBRARIES, _SLACK = 150 << 20, 1.15
"""Bytes that libraries take at their first use, and how much more than it is asked for the C
library holds: against the peaks of real processes the estimate is within a factor of 1.5 of them.
"""
_CRUDE = 8
"""Numbers for each output of a layer: itself, its gradient, and what lies between layers. With a
margin of four it is above what any recipe of the catalogue takes."""
_PARTS = 10_000
"""Operations that build a model; one of more has more layers than anybody trains."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that training takes.

    Args:
        kept: weights, gradients, moments and averages, from the first step to the last.
        saved: copies while a checkpoint is written.
        fixed: of a step, whatever its batch.
        each: of a step, for each of its examples.

    >>> Footprint(kept=100, saved=10, fixed=5, each=20).of(2)
    145
    """

    kept: int
    saved: int = 0
    fixed: float = 0.0
    each: float = 0.0

    def of(self, batch: int) -> int:
        """With so many examples at a time."""
        return self.kept + max(self.saved, math.ceil(self.fixed + self.each * batch))

    def largest(self, free: int) -> int:
        """The largest batch for which that many bytes are enough; 0 where no batch is so small."""
        left = free - self.kept
        if left < max(self.saved, self.fixed + self.each):
            return 0
        return int((left - self.fixed) / self.each) if self.each else 1


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, and where.

    Args:
        name: of the recipe.
        dataset: to train on.
        arguments: the recipe's.
        device: where.
        accumulate: micro-batches in a step.
    """

    name: str
    dataset: Dataset
    arguments: Mapping[str, Any]
    device: torch.device
    accumulate: int

    @property
    def processes(self) -> int:
        """How many share the machine's memory; a GPU belongs to one."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.device.type == "cpu" else 1

    @property
    def free(self) -> int:
        """Bytes that the examples, weights and activations of one process may have."""
        left = memory.free_bytes(self.device) // self.processes - _LIBRARIES
        return max(0, int(left / _SLACK))

    @property
    def spec(self) -> DataSpec:
        return self.dataset.spec

    def at_a_time(self, recipe: Recipe) -> int:
        """Examples of one micro-batch."""
        parts = self.accumulate * int(os.environ.get("WORLD_SIZE", "1"))
        return -(-recipe.batch_size // parts)

    def built(self, ceiling: float = math.inf) -> Recipe:
        """The recipe, its larger tensors without numbers.

        Raises:
            TooLarge: they would be larger than the ceiling, or than can be said.
        """
        try:
            with torch.random.fork_rng([]), DryRun(ceiling, _PARTS):
                return catalogue.build(self.name, self.spec, **self.arguments)
        except (RuntimeError, OverflowError, TypeError) as error:
            if "overflow" in str(error).lower():
                raise TooLarge from error
            raise
        except TooLong as error:
            raise TooLarge from error

    def footprint(self, *, ceiling: float = math.inf) -> tuple[Recipe, Footprint]:
        """Of the recipe on these data.

        Raises:
            TooLarge: the weights alone pass the ceiling.
        """
        recipe = self.built(ceiling)
        if recipe.objective is None:
            return recipe, _of_fit(recipe, self.dataset)
        kept, saved = _kept(recipe)
        if kept > ceiling:
            raise TooLarge
        n = self.at_a_time(recipe)
        crude = kept + saved + 4 * _CRUDE * n * _outputs(recipe.model, self.spec)
        if crude < ceiling / 4:
            return recipe, Footprint(kept, saved)
        return recipe, self._of_step(recipe, Footprint(kept, saved), n, ceiling)

    def _of_step(self, recipe: Recipe, without: Footprint, n: int, ceiling: float) -> Footprint:
        assert recipe.objective is not None
        try:
            without_numbers(recipe.objective)
            whole = self._height(recipe, n)
            if n == 1 or without.kept + whole <= ceiling:
                return replace(without, fixed=whole)
            return _line(without, self._height(recipe, 1), whole, n)
        except TooLong:
            return without
        except UserError:
            raise
        except Exception:  # what it does depends on numbers: any kind of error may come of it
            return self._in_earnest(without)

    def _height(self, recipe: Recipe, n: int) -> int:
        """Bytes at the height of a step of so many examples, by shapes alone."""
        assert recipe.objective is not None
        x = torch.empty((n, *self.spec.shape), device=META)
        cond = torch.empty(n, dtype=torch.int64, device=META) if self.spec.classes else None
        with torch.random.fork_rng([]), DryRun() as meter:
            take_step(recipe.objective, Batch(x, cond))
        return meter.peak

    def _in_earnest(self, without: Footprint) -> Footprint:
        """By steps of one and of two examples on a CPU."""
        heights = []
        for n in (1, 2):
            with torch.random.fork_rng([]):
                recipe = catalogue.build(self.name, self.spec, **self.arguments)
                assert recipe.objective is not None
                batch = Batch(*self.dataset.train.values(slice(0, n)))
                with Meter() as meter:
                    take_step(recipe.objective, batch)
            heights.append(meter.peak)
        return _line(without, heights[0], heights[1], 2)


def checked(
    name: str,
    dataset: Dataset,
    arguments: Mapping[str, Any],
    *,
    device: torch.device,
    accumulate: int = 1,
) -> Dataset:
    """The data set, with a note where training on it will take much memory.

    Args:
        name: of the recipe.
        dataset: to train on.
        arguments: the recipe's.
        device: where to train.
        accumulate: micro-batches in a step.

    Raises:
        RecipeError: there is not enough, or the recipe refuses the data.
        CatalogueError: it refuses the arguments.
    """
    plan = _Plan(name, dataset, arguments, device, accumulate)
    free = plan.free
    try:
        recipe, footprint = plan.footprint(ceiling=free)
    except TooLarge:
        raise RecipeError(_refusal(plan, free, None)) from None
    needed = footprint.of(plan.at_a_time(recipe))
    if needed > free:
        raise RecipeError(_refusal(plan, free, (recipe, footprint)))
    if needed < _NOTED:
        return dataset
    note = f"training takes about {_with_slack(needed)} of memory; {_with_slack(free)} are free"
    return replace(dataset, notes=(*dataset.notes, note))


def _refusal(plan: _Plan, free: int, found: tuple[Recipe, Footprint] | None) -> str:
    needed = "far more"
    if found is not None:
        needed = f"about {_with_slack(found[1].of(plan.at_a_time(found[0])))}"
    cure = next(_cures(plan, free, found), "choose another recipe, or a machine with more")
    return (
        f"training {plan.name} must fit in the {_with_slack(free)} of memory that are free (it "
        f"takes {needed}): {cure}."
    )


def _with_slack(count: int) -> str:
    return size(int(_SLACK * count) + _LIBRARIES)


def _cures(plan: _Plan, free: int, found: tuple[Recipe, Footprint] | None) -> Iterator[str]:
    """What to do, the mildest first."""
    known = {p.name: p for p in catalogue.describe(plan.name).parameters}
    if found is not None and found[0].objective is not None and "batch_size" in known:
        recipe, footprint = found
        if most := footprint.largest(free):
            parts = -(-recipe.batch_size // most)
            yield f"give --batch-size {most} or less, or --accumulate {parts}"
    given = [p for k, p in known.items() if k in plan.arguments]
    yield from _smaller_arguments(plan, free, given)
    yield from _smaller_data(plan, free)
    yield from _smaller_arguments(plan, free, [p for p in known.values() if p not in given])
    if found is not None and found[0].objective is None:
        yield "give --limit, to fit to fewer examples"


def _smaller_arguments(plan: _Plan, free: int, candidates: list[Parameter]) -> Iterator[str]:
    """Values of one argument under which the rest fits."""
    for p in candidates:
        if p.type not in ("int", "ints") or p.name == "steps":
            continue
        entries = _entries(plan, p)
        if most := _largest(partial(_fits_capped, plan, free, p), max(entries, default=0)):
            word = ",".join(str(min(most, v)) for v in entries)
            yield f"give --{p.name.replace('_', '-')} {word} or less"


def _entries(plan: _Plan, p: Parameter) -> tuple[int, ...]:
    """The whole numbers of an argument."""
    value = catalogue.settings(plan.name, plan.spec, **plan.arguments)[p.name]
    return (value,) if isinstance(value, int) else tuple(value)


def _fits_capped(plan: _Plan, free: int, p: Parameter, most: int) -> bool:
    """Whether the plan fits with no number of that argument above `most`."""
    each = [min(most, v) for v in _entries(plan, p)]
    smaller = each[0] if p.type == "int" else each
    return _fits(replace(plan, arguments={**plan.arguments, p.name: smaller}), free)


def _smaller_data(plan: _Plan, free: int) -> Iterator[str]:
    """Sizes of the examples under which the recipe fits as it is."""
    dataset, spec = plan.dataset, plan.spec

    def of_shape(*shape: int) -> bool:
        smaller = replace(dataset, spec=replace(spec, shape=shape))
        return _fits(replace(plan, dataset=smaller), free)

    if spec.is_image and spec.support.discrete:
        channels, *sides = spec.shape
        if side := _largest(lambda k: of_shape(channels, k, k), max(sides)):
            yield f"give --resize {side - side % 8 or side} or less"
    elif dataset.schema.tokens is not None and (length := _largest(of_shape, spec.shape[0])):
        yield f"give --length {length} or less"
    elif dataset.schema.columns and _fits_with_columns(plan, free):
        yield "leave out columns, those of the most categories first"


def _fits_with_columns(plan: _Plan, free: int) -> bool:
    spec = DataSpec((1,), cond=plan.spec.cond)
    return _fits(replace(plan, dataset=replace(plan.dataset, spec=spec)), free)


def _fits(plan: _Plan, free: int) -> bool:
    try:
        recipe, footprint = plan.footprint(ceiling=free)
        return footprint.of(plan.at_a_time(recipe)) <= free
    except (TooLarge, UserError):
        return False


def _largest(fits: Callable[[int], bool], value: int) -> int:
    """A number below `value` that fits, within a factor of about 1.5 of the largest; 0 if even 1
    does not.

    >>> _largest(lambda k: k <= 100, 10**9)
    90
    """
    if value < 2 or not fits(1):
        return 0
    low, high = 1.0, float(value)
    while high > 1.5 * low and int(high) > int(low) + 1:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(int(middle)) else (low, middle)
    return _rounded(int(low))


def _rounded(value: int) -> int:
    """Down to one digit from 10 on, and to two from 100 on."""
    unit = 10 ** max(0, len(str(value)) - 2) if value >= 100 else 10 if value >= 10 else 1
    return value - value % unit


def _of_fit(recipe: Recipe, dataset: Dataset) -> Footprint:
    """Of a model that is fitted at once, to all examples in single precision."""
    n, x = len(dataset.train), dataset.train.x
    text = running(x)
    stored = n * math.prod(x.shape[1:]) if text is None else len(text)
    model = recipe.model
    work = model.fit_bytes(n, stored) if isinstance(model, FitsWithin) else 0
    return Footprint(_bytes(model) + 4 * stored + work)


def _kept(recipe: Recipe) -> tuple[int, int]:
    """Bytes from step to step, and of the copies that a checkpoint makes."""
    assert recipe.objective is not None
    held, kept = _bytes(recipe.objective), 0
    for name, module in recipe.objective.players.items():
        weights = sum(_size(p) for p in module.parameters() if p.requires_grad)
        optimizer = recipe.optimizers[name]
        moments = bool(optimizer.momentum) if isinstance(optimizer, SGD) else 2
        kept, held = kept + weights, held + moments * weights  # gradients are not saved
    held += _bytes(recipe.model) if recipe.ema else 0
    return held + kept, _COPIES * held


def _outputs(model: nn.Module, spec: DataSpec) -> int:
    """At most so many outputs all layers have, for one example, if none is used twice."""
    return spec.size * sum(max(p.shape) for p in model.parameters() if p.ndim)


def _line(without: Footprint, first: int, last: int, n: int) -> Footprint:
    """The line through the heights of a step of one and of `n` examples."""
    each = max(0.0, (last - first) / (n - 1))
    return replace(without, fixed=max(0.0, first - each), each=each)


def _bytes(module: nn.Module) -> int:
    unlike = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(_size(t) for t in unlike.values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
