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
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.nn.defaults import batch_of, decay_of
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: int = 4,
    hidden: tuple[int, ...] = (64, 64),
    bound: float = 3.0,
    conditional: bool = False,
    lr: float = 1e-3,
    batch_size: int | None = None,
    steps: int = 5_000,
) -> Recipe:
    """An inverse autoregressive flow.

    Args:
        spec: what the data is; vectors and tables.
        layers: autoregressive layers.
        hidden: widths of the hidden layers of each network.
        bound: largest log-scale of one layer, nats.
        conditional: condition every layer on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 256, or all of fewer than 1,000 where any
            column is of bits or categories.
        steps: optimizer steps.
    """
    batch_size = batch_of(256, spec) if batch_size is None else batch_size
    check_arguments("iaf", spec, conditional, bound=bound, hidden=hidden, layers=layers)
    if len(spec.shape) > 1:
        raise RecipeError(
            "iaf finds a density one element after the other and serves vectors and tables, but "
            f"examples of shape {spec.shape} came; use maf or nsf."
        )
    classes = spec.classes if conditional else 0
    each = to_and_fro(spec.size, layers, Affine(bound), hidden, classes)
    model = vector_flow(Chain([Inverse(layer) for layer in each]), spec, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr, weight_decay=decay_of(spec, lr))},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm, as in realnvp
    )
