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
from pofx.flow.flow import MaximumLikelihood, check_arguments, vector_flow
from pofx.flow.linear import Diagonal
from pofx.nn.defaults import batch_of, decay_of
from pofx.recipe import Adam, Recipe
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    layers: int = 4,
    hidden: tuple[int, ...] = (256, 256),
    conditional: bool = False,
    lr: float = 1e-3,
    batch_size: int | None = None,
    steps: int = 10_000,
) -> Recipe:
    """Additive couplings, and a scale for each element.

    Args:
        spec: what the data is.
        layers: couplings; 4, as in section 5.1.
        hidden: widths of the hidden layers of each network.
        conditional: condition every coupling on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step; by default 256, or all of fewer than 1,000 where any
            column is of bits or categories.
        steps: optimizer steps.
    """
    batch_size = batch_of(256, spec) if batch_size is None else batch_size
    check_arguments("nice", spec, conditional, layers=layers)
    classes = spec.classes if conditional else 0
    couplings = vector_couplings(spec.size, layers, hidden, Shift(), classes)
    model = vector_flow(Chain([couplings, Diagonal(spec.size)]), spec, conditional=conditional)
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
