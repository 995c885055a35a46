"""Every recipe of the catalogue on every kind of data that it serves, small."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pofx import catalogue
from pofx.batch import Batch
from pofx.functional.dequantize import values
from pofx.recipe import Recipe, RecipeError
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real, class_spec

SPECS = {
    "vector": DataSpec((2,), Real()),
    "table": DataSpec((4,), Mixed((Real(), Categorical(3), Binary(), Real()))),
    "bits": DataSpec((12,), Binary()),
    "categories": DataSpec((5,), Categorical(3)),
    "grey": DataSpec((1, 8, 8), Bytes(17), cond=class_spec(3)),
    "colour": DataSpec((4, 7, 10), Bytes(256)),
    "interval": DataSpec((1, 8, 8), Interval()),
    "bitmap": DataSpec((1, 8, 8), Binary()),
}

SMALL = {
    "hidden": {"int": 16, "ints": (16, 16)},
    "channels": {"int": 8, "ints": (8, 16)},
    "latent": {"int": 4},
    "layers": {"int": 2},
    "blocks": {"int": 1},
    "width": {"int": 16},
    "heads": {"int": 1},
    "k": {"int": 2},
    "batch_size": {"int": 24},
    "steps": {"int": 12},
    "temperatures": {"int": 50},
    "sweeps": {"int": 10},
    "sampling_steps": {"int": 5},
    "solver_steps": {"int": 3},
    "first_part": {"float": 1.0},
    "critic_steps": {"int": 2},
    "points": {"int": 50},
}


def small(name: str) -> dict:
    """Arguments that make a recipe tiny; a test may not wait for the paper's size."""
    arguments = {}
    for p in catalogue.describe(name).parameters:
        if p.name in SMALL and p.type in SMALL[p.name]:
            value = SMALL[p.name][p.type]
            keep_length = p.type == "ints" and isinstance(p.default, tuple)
            arguments[p.name] = value[:1] * len(p.default) if keep_length else value
    return arguments


def examples(spec: DataSpec, n: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Random examples of a spec."""
    g = torch.Generator().manual_seed(seed)

    def one(support, shape):
        if isinstance(support, Real):
            return torch.randn(shape, generator=g) * 0.5 + 0.3
        if isinstance(support, Interval):
            return torch.rand(shape, generator=g) * 1.6 - 0.8
        # the lower of two draws: independent fair bits would leave a model nothing to learn
        pair = torch.randint(0, support.levels, (2, *shape), generator=g)
        return values(pair.amin(0), support)

    if isinstance(spec.support, Mixed):
        x = torch.stack([one(c, (n,)) for c in spec.support.columns], 1)
    else:
        x = one(spec.support, (n, *spec.shape))
    cond = torch.randint(0, spec.classes, (n,), generator=g) if spec.classes else None
    return x.float(), cond


def stream(spec: DataSpec, size: int, first: int = 0) -> Iterator[Batch]:
    """Batch number i is always the same."""
    while True:
        yield Batch(*examples(spec, size, seed=first))
        first += 1


def build(name: str, kind: str, **arguments) -> Recipe:
    torch.manual_seed(0)
    return catalogue.build(name, SPECS[kind], **{**small(name), **arguments})


def serves(name: str, kind: str) -> bool:
    try:
        build(name, kind)
    except RecipeError:
        return False
    return True


NAMES = list(catalogue.entries())
CASES = [(name, kind) for name in NAMES for kind in SPECS if serves(name, kind)]
LOOPED = [(name, kind) for name, kind in CASES if build(name, kind).objective is not None]
FITTED = [case for case in CASES if case not in LOOPED]
"""The cheapest case of each recipe, for tests that start processes."""
ONE_EACH = list({name: (name, kind) for name, kind in reversed(CASES)}.values())
