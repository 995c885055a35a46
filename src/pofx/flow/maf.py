r"""maf: Masked autoregressive flow for density estimation (Papamakarios et al., 2017).

Good for: densities of tables and vectors; slow to sample.

Every element is shifted and scaled by what a masked network makes of the elements before it, and
the next layer takes them in the opposite order:

.. math:: z_d = x_d e^{s_d} + t_d, \qquad (s_d, t_d) = \mathrm{net}_d(x_{<d}), \qquad
    \log|\det| = \sum_d s_d

A density costs one pass, and a sample one step for each element.

References:
    Masked autoregressive flow for density estimation (Papamakarios et al., 2017), eq. 2-5, sections
    3.1 and 3.4.
    https://arxiv.org/abs/1705.07057

Note:
    The network gives the inverse's shift and scale, x = (z - t) exp(-s); log-scales are bounded.
    No batch normalisation between layers, because an example's density would then depend on its
    neighbours. An image is served as a vector.
"""

from __future__ import annotations

from pofx.flow.autoregressive import to_and_fro
from pofx.flow.bijection import Chain
from pofx.flow.elementwise import Affine
from pofx.flow.flow import BATCH, DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.parameters import Bound, Conditional, Count, Hidden, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 5,
    hidden: Hidden = (128, 128),
    bound: Bound = 3.0,
    conditional: Conditional = False,
    training: Training = Training(
        lr=1e-3,
        batch_size=BATCH,
        steps=10_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A masked autoregressive flow.

    Args:
        layers: autoregressive layers; 5 or 10 in the paper's tables.
    """
    check_elements(spec, hidden)
    parts = to_and_fro(spec.size, layers, Affine(bound), hidden, spec.cond)
    model = vector_flow(Chain(parts), spec)
    return trained(model, MaximumLikelihood(model), training)
