r"""ffjord: FFJORD: free-form continuous dynamics for scalable reversible generative models (Grathwohl et al., 2019).

Good for: smooth densities in few dimensions; slow to train.

Data flow along a learned velocity, from t = 0 to noise at t = 1, and a density changes by the trace
of the velocity's Jacobian:

.. math:: z = x + \int_0^1 v(x_t, t) dt, \qquad
    \log p(x) = \log \mathcal{N}(z; 0, I) + \int_0^1 \mathrm{tr} \frac{\partial v}{\partial x_t} dt

Up to `exact` elements the trace is exact. Above, it is estimated along one random direction, and so
is the log-likelihood.

References:
    FFJORD: free-form continuous dynamics for scalable reversible generative models (Grathwohl et
    al., 2019), eq. 3-8, algorithm 1.
    https://arxiv.org/abs/1810.01367

Note:
    Equal steps of Runge and Kutta's fourth order, through which gradients go, where the paper has
    adaptive steps and the adjoint equation: an example then never depends on its neighbours. A scale
    for each element comes first, where the paper has normalisation by batches. An image is served
    as a vector.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from pofx.flow.bijection import Chain
from pofx.flow.continuous import Continuous, Velocity
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.flow.linear import Diagonal
from pofx.nn.defaults import batch_of, decay_of
from pofx.recipe import Adam, Recipe
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    hidden: tuple[int, ...] = (64, 64),
    solver_steps: int = 8,
    exact: int = 8,
    conditional: bool = False,
    lr: float = 5e-3,
    batch_size: int | None = None,
    steps: int = 5_000,
) -> Recipe:
    """A continuous flow.

    Args:
        spec: what the data is.
        hidden: widths of the hidden layers of the velocity.
        solver_steps: steps from data to noise, four evaluations of the velocity each.
        exact: up to so many elements the trace, and so the density, is exact.
        conditional: condition the velocity on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 256, or all of fewer than 1,000 where any
            column is of bits or categories.
        steps: optimizer steps.
    """
    batch_size = batch_of(256, spec) if batch_size is None else batch_size
    check_arguments("ffjord", spec, conditional, hidden=hidden, solver_steps=solver_steps)
    velocity = Velocity(spec.size, hidden, spec.classes if conditional else 0)
    few = spec.size <= exact
    bijection = Chain([Diagonal(spec.size), Continuous(velocity, solver_steps, exact=few)])
    model = vector_flow(bijection, spec, conditional=conditional, exact=few)
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
