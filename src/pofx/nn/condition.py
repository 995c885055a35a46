"""condition: what an example is conditioned on, as a network sees it.

A condition is described by a spec of its own, as an example is: a class is a single category, a
context a vector of numbers, bits and categories. What is not given is marked in place: -1 in
indices of classes, NaN in vectors, element by element.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.functional.dequantize import relax, relaxed_width
from pofx.recipe import RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond


class ClassCondition(nn.Embedding):
    """One vector for each class, and one for no class at all: `(n,) -> (n, width)`.

    Args:
        classes: how many there are; indices below 0, or equal to this, name none of them.
        width: of the vectors.
        always: whether a class is always given, so that none needs no vector.
    """

    def __init__(self, classes: int, width: int, *, always: bool = False) -> None:
        super().__init__(classes if always else classes + 1, width)
        self.classes = classes

    def forward(self, cond: Cond) -> Tensor:
        return super().forward(torch.where(cond < 0, self.classes, cond))

    def none(self, n: int) -> Tensor:
        """The label that names no class, `n` times."""
        return torch.full((n,), self.classes, dtype=torch.int64, device=self.weight.device)


class VectorInputs(nn.Module):
    """A vector as the inputs of a layer, `(n, d) -> (n, width)`: numbers as they are, bits as -1
    and 1, categories as one-hot vectors of these (`relax`), and then a 1 for each element that is
    given. What is not given is 0 throughout.

    Args:
        cond: the spec of the vector.

    >>> inputs = VectorInputs(DataSpec((2,)))
    >>> inputs(torch.tensor([[0.5, torch.nan]]))
    tensor([[0.5000, 0.0000, 1.0000, 0.0000]])
    """

    element: Tensor

    def __init__(self, cond: DataSpec) -> None:
        super().__init__()
        self.spec = cond
        widths = torch.tensor([relaxed_width(c) for c in cond.columns])
        element = torch.arange(cond.size).repeat_interleave(widths)
        self.register_buffer("element", element, persistent=False)
        self.width = len(element) + cond.size

    def forward(self, cond: Cond) -> Tensor:
        given = ~cond.isnan()
        seen = relax(cond.nan_to_num(0.0), self.spec) * given[:, self.element]
        return torch.cat([seen, given.to(seen)], 1)


class ClassInputs(nn.Module):
    """A class as a one-hot vector, `(n,) -> (n, classes)`; that of no class is 0 throughout.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.width = classes

    def forward(self, cond: Cond) -> Tensor:
        return F.one_hot(cond + 1, self.width + 1)[:, 1:]


class VectorCondition(nn.Module):
    """A small network of a vector: `(n, d) -> (n, width)`.

    Args:
        cond: the spec of the vector.
        width: of what comes out.
    """

    def __init__(self, cond: DataSpec, width: int) -> None:
        super().__init__()
        self.inputs, self.width = VectorInputs(cond), width
        self.net = nn.Sequential(
            nn.Linear(self.inputs.width, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, width)
        )

    def forward(self, cond: Cond) -> Tensor:
        return self.net(self.inputs(cond.to(next(self.parameters()).dtype)))

    def none(self, n: int) -> Tensor:
        """The vector of which nothing is given, `n` times."""
        like = next(self.parameters())
        return like.new_full((n, self.inputs.spec.size), math.nan)


_HIDDEN = 64


def condition(
    cond: DataSpec | None, width: int, *, always: bool = False
) -> ClassCondition | VectorCondition | None:
    """Builds what embeds a condition as a vector; None if there is none.

    Args:
        cond: its spec.
        width: of the vectors.
        always: whether it is always given.

    Raises:
        RecipeError: it is neither a class nor a vector.
    """
    if cond is None:
        return None
    if cond.categories:
        return ClassCondition(cond.categories, width, always=always)
    return VectorCondition(_vector(cond), width)


def shift(cond: DataSpec | None, channels: int) -> ClassCondition | VectorCondition | None:
    """Builds what a condition that is always given adds to features, small at first."""
    embed = condition(cond, channels, always=True)
    if embed is not None:
        last = embed if isinstance(embed, ClassCondition) else embed.net[-1]
        nn.init.normal_(last.weight, std=0.1)  # type: ignore[arg-type]
    return embed


def embedded(
    embed: ClassCondition | VectorCondition | None, cond: Cond | None, like: Tensor
) -> Tensor | None:
    """Returns the embeddings of conditions, or of as many that are not given as `like` is long;
    None if there is nothing that embeds.
    """
    if embed is None:
        return None
    return embed(embed.none(len(like)) if cond is None else cond)


def inputs(cond: DataSpec) -> ClassInputs | VectorInputs:
    """Builds what makes a condition inputs of a layer, without parameters.

    Raises:
        RecipeError: it is neither a class nor a vector.
    """
    if cond.categories:
        return ClassInputs(cond.categories)
    return VectorInputs(_vector(cond))


def _vector(cond: DataSpec) -> DataSpec:
    if len(cond.shape) != 1:
        raise RecipeError(
            f"the condition must be a class or a vector (got shape {cond.shape}): take a recipe "
            "that takes pictures or texts as conditions."
        )
    return cond
