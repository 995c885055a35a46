"""format_1: what runs of format 1 meant by the numbers in their `run.json`.

Schedules were counted in optimizer steps; now they follow the share of the budget that is spent. A
run keeps its `run.json` as it was, and the steps become shares whenever it is opened, of the budget
that it has by then: so it also keeps its schedules when it is made longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pofx.recipe import Former

_BUDGET = 10_000
"""The budget of these recipes, where a run names none."""


def shares(
    counted: Mapping[str, Former], arguments: Mapping[str, Any], steps: int | None
) -> dict[str, Any]:
    """The keyword arguments of a recipe, with shares of the budget in place of steps.

    Args:
        counted: which of them counted steps.
        arguments: as `run.json` of format 1 holds them.
        steps: the run's budget; None where it is the recipe's own, or in minutes.

    >>> shares({"kl_warmup": Former("kl_warmup", 500)}, {"latent": 2}, 2000)
    {'latent': 2, 'kl_warmup': 0.25}
    >>> parts = {"first_steps": Former("first_part", None)}
    >>> shares(parts, {"first_steps": None, "steps": 30}, 60)
    {'steps': 30, 'first_part': 0.25}
    """
    found = {k: v for k, v in arguments.items() if k not in counted}
    own = arguments.get("steps", _BUDGET)
    for name, (now, default) in counted.items():
        count = arguments.get(name, default)
        count = (own + 1) // 2 if count is None else count
        found[now] = min(count / (steps or own), 1.0)  # a part that outlasts the budget is cut
    return found
