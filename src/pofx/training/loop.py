"""loop: the one training loop.

An objective says which gradient, the loop says when. Everything that is the same for every family
happens here, once: gradients reach the player that moves and nobody else, micro-batches accumulate
exactly, processes average, norms are clipped, what is not finite is never applied, learning rates
follow their schedule and weights are averaged.

Noise is counter-based: step s of process r always starts from the same seed, so a resumed run needs
no saved random state, and nothing that happens between steps can disturb it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.errors import UserError
from pofx.functional.random import former, noise, stream
from pofx.objective import Objective, Update
from pofx.recipe import Recipe
from pofx.training.distributed import World
from pofx.training.ema import EMA
from pofx.training.entries import OPTIONS, check_given
from pofx.training.flat import Flat
from pofx.training.learning_rate import factor
from pofx.training.memory import keep_freed


class NonFinite(UserError):
    """A loss or a gradient is NaN or infinite; it has not been applied."""

    def __init__(self, player: str, metric: str, step: int) -> None:
        self.player, self.metric, self.step = player, metric, step
        super().__init__(
            f"the {metric} of player '{player}' became NaN or infinite at step {step}, and was "
            "not applied; "
            "lower the learning rate (--lr), clip gradients (--clip) or train with --on-nonfinite "
            "skip."
        )


@dataclass(frozen=True)
class Options:
    """How to run the loop, which no recipe decides.

    Args:
        seed: fixes the weights at the start, the order of the data and all noise.
        accumulate: micro-batches in a step; gradients are those of the whole batch.
        precision: `bfloat16` computes under autocast; weights stay float32.
        on_nonfinite: `stop`, or `skip` the update (three in a row stop).
        keyed_noise: noise belongs to the example, so that a step is the same for any number of
            processes and any accumulation; a little slower.

    Raises:
        EntryError: one is of another type, or out of its range.
    """

    seed: int = 0
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    keyed_noise: bool = False

    def __post_init__(self) -> None:
        check_given(vars(self), OPTIONS)


@dataclass
class Step:
    """What the loop yields after each step: its number (from 1) and what to log, still on the
    device.
    """

    number: int
    metrics: dict[str, Tensor | float] = field(default_factory=dict)


class Training:
    """A recipe in the middle of being trained: everything that a checkpoint must hold.

    Args:
        recipe: must have an objective.
        device: where to train.
        options: see `Options`.
        world: which process this is.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        device: torch.device | str = "cpu",
        options: Options = Options(),
        world: World = World(),  # noqa: B008, frozen
    ) -> None:
        assert recipe.objective is not None
        keep_freed()
        self.recipe, self.options, self.world = recipe, options, world
        self.device = torch.device(device)
        self.model = recipe.model.to(self.device)
        self.objective: Objective = recipe.objective.to(self.device).train()
        self.players = {name: Flat(m) for name, m in self.objective.players.items()}
        self.optimizers = {
            name: recipe.optimizers[name].build([flat.parameter])
            for name, flat in self.players.items()
        }
        self.ema = EMA(self.model, recipe.ema) if recipe.ema else None
        homes = [n for n, module in self.objective.named_modules() if module is self.model]
        assert homes, "an objective owns every module that training needs, the model too"
        self.home = f"objective.{homes[0]}."
        self.step = 0
        self.elapsed = 0.0
        self.lr_scale = 1.0
        self.skipped = 0

    @property
    def sampled(self) -> nn.Module:
        """The model to sample from: the averaged one, where the recipe averages."""
        return self.ema.synchronised() if self.ema else self.model

    def train_step(self, batch: Batch) -> dict[str, Tensor | float]:
        """Takes one step on a batch and returns its metrics."""
        self._set_learning_rates(batch.progress)
        metrics = self._updates(batch)
        self.step += 1
        if self.ema:
            self.ema.update(self.step)
        return metrics

    def _updates(self, batch: Batch) -> dict[str, Tensor | float]:
        seed = step_seed(self.options.seed, self.step, self.world.rank)
        _seed_everything(seed, self.device)
        parts = batch.chunk(self.options.accumulate)
        streams = [self.objective.updates(part) for part in parts]
        modes = self._modes([len(part) for part in parts])
        weights = [len(part) / len(batch) for part in parts]
        metrics: dict[str, Tensor | float] = {}
        try:
            while (name := self._accumulate(streams, modes, weights, metrics)) is not None:
                self._apply(name, metrics)
        except NonFinite:
            self.skipped += 1
            if self.options.on_nonfinite != "skip" or self.skipped > 3:
                raise
            metrics["skipped"] = float(self.skipped)
            return metrics
        self.skipped = 0
        self.objective.after_step()
        return metrics

    def _modes(self, sizes: list[int]) -> list[AbstractContextManager[Any]]:
        if not self.options.keyed_noise:
            return [nullcontext()] * len(sizes)
        seed = step_seed(self.options.seed, self.step, 0)
        start = self.world.rank * sum(sizes)
        return [
            noise(seed, n, use="train", first=start + sum(sizes[:i])) for i, n in enumerate(sizes)
        ]

    def _accumulate(
        self,
        streams: list[Iterator[Update]],
        modes: list[AbstractContextManager[Any]],
        weights: list[float],
        metrics: dict[str, Tensor | float],
    ) -> str | None:
        """Advances every micro-batch by one update, in lockstep; the name of the player whose
        gradient is ready.
        """
        name = None
        for updates, mode, weight in zip(streams, modes, weights, strict=True):
            with mode, self._autocast():
                update = next(updates, None)
            if update is None:
                return None
            name, first = update.player, name is None
            player = self.players[name]
            grads = torch.autograd.grad(
                update.loss.mul(weight), player.parameters, materialize_grads=True
            )
            player.receive(grads, first=first)
            log = {f"loss/{name}" if len(self.players) > 1 else "loss": update.loss}
            for key, value in {**log, **update.metrics}.items():
                part = value.detach() * weight
                metrics[key] = metrics[key] + part if updates is not streams[0] else part
        return name

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _apply(self, name: str, metrics: dict[str, Tensor | float]) -> None:
        several = len(self.players) > 1
        loss = metrics[f"loss/{name}" if several else "loss"]
        player = self.players[name]
        if self.world.size > 1:
            self.world.mean_(player.grad)
        norm = player.norm()
        values = torch.stack([torch.as_tensor(loss), norm]).tolist()
        finite = [math.isfinite(value) for value in values]
        if not all(finite) if self.world.size == 1 else self.world.any(not all(finite)):
            raise NonFinite(name, "gradient" if finite[0] else "loss", self.step + 1)
        clip = self.recipe.clip
        if clip and values[1] > clip:
            player.grad.mul_(clip / values[1])
        player.step(self.optimizers[name])
        metrics[f"grad_norm/{name}" if several else "grad_norm"] = norm

    def _set_learning_rates(self, progress: float) -> None:
        recipe = self.recipe
        rise = factor(
            self.step, progress, warmup=recipe.warmup, share=recipe.warmup_share,
            decay=recipe.decay,
        )  # fmt: skip
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.optimizers[name].lr * rise * self.lr_scale

    @property
    def weights(self) -> str:
        """How the names of the weights to sample from begin, among the tensors of the state."""
        return "ema." if self.ema else self.home

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every tensor that a resume needs, by name, and every number."""
        tensors = {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        if self.ema:
            tensors |= {f"ema.{k}": v for k, v in self.ema.synchronised().state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for key, value in optimizer.state[self.players[name].parameter].items():
                tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
        numbers = {"step": self.step, "elapsed": self.elapsed, "lr_scale": self.lr_scale}
        return tensors, {**numbers, "skipped": self.skipped}

    def load_state(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Puts back what `state` returned."""
        self.objective.load_state_dict(under(tensors, "objective."))
        if self.ema:
            self.ema.model.load_state_dict(under(tensors, "ema."))
        for name, optimizer in self.optimizers.items():
            state = under(tensors, f"optimizer.{name}.")
            parameter = self.players[name].parameter
            optimizer.state[parameter] = {
                k: v.clone() if k == "step" else v.to(self.device, copy=True)
                for k, v in state.items()
            }
        self.step, self.elapsed = numbers["step"], numbers["elapsed"]
        self.lr_scale, self.skipped = numbers["lr_scale"], numbers["skipped"]


@dataclass(frozen=True)
class Budget:
    """When to end: after `steps`, or after `minutes` of training, whichever is given."""

    steps: int | None = None
    minutes: float | None = None

    def progress(self, step: int, elapsed: float) -> float:
        """The share that is spent, 1 or more when training must end."""
        if self.minutes is not None:
            return elapsed / (60 * self.minutes) if self.minutes else 1.0
        assert self.steps is not None
        return step / self.steps if self.steps else 1.0


def train(training: Training, data: Iterator[Batch], budget: Budget) -> Iterator[Step]:
    """Trains until the budget is spent; the caller's `for` loop sees every step and may leave."""
    while True:
        progress = training.world.max(budget.progress(training.step, training.elapsed))
        if progress >= 1:
            return
        start = time.monotonic()
        metrics = training.train_step(replace(next(data), progress=progress))
        training.elapsed += time.monotonic() - start
        yield Step(training.step, metrics)


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of one step's noise in one process.

    >>> len({step_seed(s, t, r) for s in range(5) for t in range(50) for r in range(4)})
    1000
    """
    if not former():
        return stream("step", seed, step, rank)
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return (x ^ (x >> 31)) >> 1


def _seed_everything(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, by what follows it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
