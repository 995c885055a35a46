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
from pofx.flow.flow import BATCH, DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.flow.linear import Diagonal
from pofx.parameters import Conditional, Count, Exact, Hidden, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    hidden: Hidden = (64, 64),
    solver_steps: Count = 8,
    exact: Exact = 8,
    conditional: Conditional = False,
    training: Training = Training(
        lr=5e-3,
        batch_size=BATCH,
        steps=5_000,
        weight_decay=DECAY,
        warmup=100,
        clip=1.0,
    ),
) -> Recipe:
    """A continuous flow.

    Args:
        solver_steps: steps from data to noise, four evaluations of the velocity each.
    """
    check_elements(spec, hidden)
    velocity = Velocity(spec.size, hidden, spec.cond)
    few = spec.size <= exact
    bijection = Chain([Diagonal(spec.size), Continuous(velocity, solver_steps, exact=few)])
    model = vector_flow(bijection, spec, exact=few)
    return trained(model, MaximumLikelihood(model), training)
