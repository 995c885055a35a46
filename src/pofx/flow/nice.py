r"""nice: NICE: non-linear independent components estimation (Dinh et al., 2014).

Good for: the simplest flow; a first look at how flows work.

Couplings that only add, so that volumes are kept, and one last scale for each element:

.. math:: b \leftarrow b + t(a), \qquad z = h \odot e^s, \qquad \log|\det| = \sum_d s_d

References:
    NICE: non-linear independent components estimation (Dinh et al., 2014), eq. 3-5, sections 3.2
    and 3.3.
    https://arxiv.org/abs/1410.8516

Note:
    The latent is normal, where the paper also tries logistic ones. Halves are contiguous, where the
    paper's are the odd and the even elements. An image is served as a vector.
"""

from __future__ import annotations

from pofx.flow.bijection import Chain
from pofx.flow.conditioner import vector_couplings
from pofx.flow.elementwise import Shift
from pofx.flow.flow import BATCH, DECAY, MaximumLikelihood, check_elements, vector_flow
from pofx.flow.linear import Diagonal
from pofx.parameters import Conditional, Count, Hidden, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: Count = 4,
    hidden: Hidden = (256, 256),
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
    """Additive couplings, and a scale for each element.

    Args:
        layers: couplings; 4, as in section 5.1.
    """
    check_elements(spec, halves=True)
    couplings = vector_couplings(spec.size, layers, hidden, Shift(), spec.cond)
    model = vector_flow(Chain([couplings, Diagonal(spec.size)]), spec)
    return trained(model, MaximumLikelihood(model), training)
