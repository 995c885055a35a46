r"""iaf: Improved variational inference with inverse autoregressive flow (Kingma et al., 2016).

Good for: a flow of vectors and tables that is quick to sample; slow densities.

The autoregressive layers of `maf`, the other way round: every element of x is a shift and a scale
of the same element of z, set by the elements of z before it,

.. math:: x_d = z_d e^{s_d} + t_d, \qquad (s_d, t_d) = \mathrm{net}_d(z_{<d}), \qquad
    \log|\det| = -\sum_d s_d

A sample costs one pass, and a density one step for each element.

References:
    Improved variational inference with inverse autoregressive flow (Kingma et al., 2016), eq. 10-12
    and algorithm 1.
    https://arxiv.org/abs/1606.04934

Note:
    The paper's flow is the posterior of a VAE, of which only densities of its own samples are
    asked. Here it is a density of data, trained by maximum likelihood; gradients go through the
    inverse by the implicit function theorem (`pofx.flow.autoregressive.Inverse`). Log-scales are
    bounded. Images have too many elements for that.
"""

from __future__ import annotations

from pofx.flow.autoregressive import Inverse, to_and_fro
from pofx.flow.bijection import Chain
from pofx.flow.elementwise import Affine
from pofx.flow.flow import BATCH, DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.parameters import Bound, Conditional, Count, Hidden, Training
from pofx.recipe import Recipe, RecipeError, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 4,
    hidden: Hidden = (64, 64),
    bound: Bound = 3.0,
    conditional: Conditional = False,
    training: Training = Training(
        lr=1e-3,
        batch_size=BATCH,
        steps=5_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """An inverse autoregressive flow.

    Args:
        spec: what the data is; vectors and tables.
        layers: autoregressive layers.
    """
    check_elements(spec, hidden)
    if len(spec.shape) > 1:
        raise RecipeError(
            f"examples must be vectors or rows of a table (got shape {spec.shape}), as the density "
            "is found one element after the other: use maf or nsf."
        )
    each = to_and_fro(spec.size, layers, Affine(bound), hidden, spec.cond)
    model = vector_flow(Chain([Inverse(layer) for layer in each]), spec)
    return trained(model, MaximumLikelihood(model), training)
