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
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.nn.defaults import batch_of, decay_of
from pofx.recipe import Adam, Recipe, check_at_least
from pofx.spec import DataSpec


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    layers: int = 5,
    hidden: tuple[int, ...] = (128, 128),
    bound: float = 3.0,
    conditional: bool = False,
    lr: float = 1e-3,
    weight_decay: float | None = None,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """A masked autoregressive flow.

    Args:
        spec: what the data is.
        layers: autoregressive layers; 5 or 10 in the paper's tables.
        hidden: widths of the hidden layers of each network.
        bound: largest log-scale of one layer, nats.
        conditional: condition every layer on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        weight_decay: of AdamW; 1 helps where rows are few. By default 0, or, with bits or
            categories, 12,000 over the number of examples where those are fewer than 1,000.
        batch_size: examples in a step; by default 256, or all of fewer than 1,000 where any
            column is of bits or categories.
        steps: optimizer steps.
    """
    batch_size = batch_of(256, spec) if batch_size is None else batch_size
    check_arguments("maf", spec, conditional, bound=bound, hidden=hidden, layers=layers)
    check_at_least("maf", 0, weight_decay=weight_decay)
    weight_decay = decay_of(spec, lr) if weight_decay is None else weight_decay
    classes = spec.classes if conditional else 0
    parts = to_and_fro(spec.size, layers, Affine(bound), hidden, classes)
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
