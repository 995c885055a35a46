r"""nsf: Neural spline flows (Durkan et al., 2019).

Good for: densities of tables and vectors, quick to sample as well.

Every element goes through a monotone spline of rational quadratics, whose knots and slopes a
network makes of the other half of an example, or of the elements before; between such layers a
matrix mixes all elements:

.. math:: z = \mathrm{spline}(x; \theta), \quad \theta = \mathrm{net}(x_{\mathrm{other}}), \qquad
    x \leftarrow P L U x

References:
    Neural spline flows (Durkan et al., 2019), eq. 4-8, sections 3.1, 3.2 and 5.1.
    https://arxiv.org/abs/1906.04032

Note:
    Networks are fully connected without residual blocks, batch normalisation and dropout. An image
    is served as a vector. Where an example has more elements than `mixed`, they are shuffled
    between layers and not mixed.
"""

from __future__ import annotations

import torch

from pofx.flow.autoregressive import Autoregressive
from pofx.flow.bijection import Bijection, Chain
from pofx.flow.conditioner import vector_couplings
from pofx.flow.elementwise import Spline
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.flow.linear import LU, shuffle
from pofx.flow.permutation import Permutation
from pofx.nn.defaults import decay_of
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    autoregressive: bool = False,
    layers: int = 4,
    bins: int = 8,
    bound: float = 5.0,
    hidden: tuple[int, ...] = (64, 64),
    mixed: int = 256,
    conditional: bool = False,
    lr: float = 3e-3,
    weight_decay: float | None = None,
    batch_size: int = 1024,
    steps: int = 8_000,
) -> Recipe:
    """A neural spline flow of couplings, or of autoregressive layers.

    Args:
        spec: what the data is.
        autoregressive: every element sees all before it; samples take one step for each element.
        layers: matrices; each is followed by a coupling of either half, or by one autoregressive
            layer.
        bins: pieces of a spline.
        bound: splines bend within [-bound, bound] and are the identity outside.
        hidden: widths of the hidden layers of each network.
        mixed: the most elements that are mixed by a matrix.
        conditional: condition every spline on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        weight_decay: of AdamW; 1 helps where rows are few. By default 0, or, with bits or
            categories, 12,000 over the number of examples where those are fewer than 1,000.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    check_arguments("nsf", spec, conditional, layers=layers)
    check_at_least("nsf", 0, weight_decay=weight_decay)
    weight_decay = decay_of(spec, lr) if weight_decay is None else weight_decay
    if not 2 <= bins <= 500:
        raise RecipeError(f"nsf: --bins is between 2 and 500, and {bins} came.")
    if not bound > 0:
        raise RecipeError(f"nsf: --bound is a positive number, and {bound} came.")
    size, map = spec.size, Spline(bins, bound)
    classes = spec.classes if conditional else 0
    parts: list[Bijection] = []
    for _ in range(layers):
        if size <= mixed:
            parts.append(LU(shuffle(size)))
        else:
            parts.append(Permutation(torch.randperm(size).tolist(), kept=True))
        if autoregressive:
            parts.append(Autoregressive(torch.arange(size), map, hidden, classes=classes))
        else:
            parts.append(vector_couplings(size, 2, hidden, map, classes))
    model = vector_flow(Chain(parts), spec, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, weight_decay=weight_decay)},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm, as in realnvp
    )
