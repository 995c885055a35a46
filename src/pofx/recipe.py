"""Recipe: everything that one model needs to be trained; what every leaf's `recipe()` returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import nn

from pofx.errors import RecipeError as RecipeError
from pofx.objective import Objective
from pofx.parameters import GradientDescent, Training


def check_share(**values: float) -> None:
    """Refuses what is no share of the training budget.

    >>> check_share(kl_warmup=500)
    Traceback (most recent call last):
    pofx.errors.RecipeError: kl_warmup must be a share from 0 to 1 (got 500): give 0.1 for a tenth \
of the budget.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise RecipeError(
                f"{name} must be a share from 0 to 1 (got {value:g}): give 0.1 for a tenth of the "
                "budget."
            )


class Former(NamedTuple):
    """An argument that counted optimizer steps in runs of format 1, and is a share of the budget
    now. A leaf has them by name in `FORMER`.

    Args:
        now: what it is called.
        default: its steps where none were given; None for half of the budget.
    """

    now: str
    default: int | None


@dataclass(frozen=True)
class Adam:
    """AdamW, fused into one kernel (Loshchilov and Hutter, 2019); Adam when `weight_decay` is 0.

    Raises:
        RecipeError: a beta outside of [0, 1), or a negative weight decay.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for number, beta in enumerate(self.betas, 1):
            if not 0 <= beta < 1:
                raise RecipeError(f"beta{number} must be at least 0 and below 1 (got {beta}).")
        if self.weight_decay < 0:
            raise RecipeError(f"weight_decay must be at least 0 (got {self.weight_decay}).")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.AdamW(
            parameters, self.lr, self.betas, self.eps, self.weight_decay, fused=True
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        # a player is one flat tensor, for which the fused kernel takes twice as long
        return torch.optim.SGD(
            parameters, self.lr, self.momentum, weight_decay=self.weight_decay, foreach=False
        )


@dataclass(frozen=True)
class Recipe:
    """A model with the way to train it.

    Args:
        model: what remains: it is sampled, evaluated and saved.
        objective: how it is trained; None for a model that fits itself in closed form (capability
            `Fits`).
        optimizers: one for each of the objective's players.
        batch_size: examples in a step, over all processes.
        steps: optimizer steps, the default budget.
        warmup: steps over which the learning rate rises linearly from 0.
        warmup_share: of the budget, after which it has risen even if these steps are not taken
            yet; None waits for them.
        decay: how the learning rate falls to 0 over the budget.
        clip: largest norm of a player's gradient, or None.
        ema: half-life, in steps, of the moving average of the model's weights that is sampled from;
            0 or None for none.

    Raises:
        RecipeError: a negative half-life.
    """

    model: nn.Module
    objective: Objective | None = None
    optimizers: Mapping[str, Adam | SGD] = field(default_factory=dict)
    batch_size: int = 128
    steps: int = 10_000
    warmup: int = 0
    warmup_share: float | None = 0.1
    decay: Literal["constant", "cosine", "linear"] = "constant"
    clip: float | None = None
    ema: float | None = None

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        how = "fitted at once"
        if self.objective is not None:
            how = f"{self.steps:,} steps of {self.batch_size:,} examples"
        return f"Recipe({type(self.model).__name__} of {count:,} parameters, {how})"

    def __post_init__(self) -> None:
        if self.ema is not None and self.ema < 0:
            raise RecipeError(
                f"--ema is a half-life of at least 0 steps, and {self.ema} came; 0 averages "
                "nothing."
            )


def trained(model: nn.Module, objective: Objective, training: Training | GradientDescent) -> Recipe:
    """Returns the recipe that trains all players of an objective alike.

    Args:
        model: what remains.
        objective: how it is trained; what plain gradient descent decays is its own affair.
        training: by AdamW, or by plain gradient descent.
    """
    if isinstance(training, GradientDescent):
        return Recipe(
            model=model,
            objective=objective,
            optimizers=dict.fromkeys(objective.players, SGD(training.lr)),
            batch_size=training.batch_size,
            steps=training.steps,
            decay=training.decay,
        )
    betas = training.beta1, training.beta2
    adam = Adam(training.lr, betas, weight_decay=training.weight_decay)
    return Recipe(
        model=model,
        objective=objective,
        optimizers=dict.fromkeys(objective.players, adam),
        batch_size=training.batch_size,
        steps=training.steps,
        warmup=training.warmup,
        decay=training.decay,
        clip=training.clip,
        ema=training.ema,
    )
