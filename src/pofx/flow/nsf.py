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

from typing import Annotated

import torch

from pofx.flow.autoregressive import Autoregressive
from pofx.flow.bijection import Bijection, Chain
from pofx.flow.conditioner import vector_couplings
from pofx.flow.elementwise import Spline
from pofx.flow.flow import DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.flow.linear import LU, shuffle
from pofx.flow.permutation import Permutation
from pofx.parameters import Conditional, Count, Hidden, Positive, Training, Whole, between
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    autoregressive: bool = False,
    layers: Count = 4,
    bins: Annotated[int, between(2, 500)] = 8,
    bound: Positive = 5.0,
    hidden: Hidden = (64, 64),
    mixed: Whole = 256,
    conditional: Conditional = False,
    training: Training = Training(
        lr=3e-3,
        batch_size=1024,
        steps=8_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A neural spline flow of couplings, or of autoregressive layers.

    Args:
        autoregressive: every element sees all before it; samples take one step for each element.
        layers: matrices; each is followed by a coupling of either half, or by one autoregressive
            layer.
        bins: pieces of a spline.
        bound: splines bend within [-bound, bound] and are the identity outside.
        mixed: the most elements that are mixed by a matrix.
    """
    check_elements(spec)
    size, map = spec.size, Spline(bins, bound)
    parts: list[Bijection] = []
    for _ in range(layers):
        if size <= mixed:
            parts.append(LU(shuffle(size)))
        else:
            parts.append(Permutation(torch.randperm(size).tolist(), kept=True))
        if autoregressive or size < 2:
            parts.append(Autoregressive(torch.arange(size), map, hidden, cond=spec.cond))
        else:
            parts.append(vector_couplings(size, 2, hidden, map, spec.cond))
    model = vector_flow(Chain(parts), spec)
    return trained(model, MaximumLikelihood(model), training)
