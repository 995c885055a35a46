r"""coupling: which noise goes with which example, by optimal transport within a batch.

.. math:: \min_\pi \sum_i \|x_0^{(i)} - \epsilon^{(\pi(i))}\|^2
          \quad \text{over the permutations } \pi

References:
    Improving and generalizing flow-based generative models with minibatch optimal transport (Tong
    et al., 2024), algorithm 3. https://arxiv.org/abs/2302.00482
    Multisample flow matching: straightening flows with minibatch couplings (Pooladian et al.,
    2023), section 4.1. https://arxiv.org/abs/2304.14772
"""

from __future__ import annotations

import torch
from torch import Tensor

from pofx.typing import Cond


@torch.no_grad()
def optimal(x0: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
    """The noise in the order of its examples; it is exchanged within a class only, so that each
    class still has normal noise.

    >>> x0, eps = torch.tensor([[1.0], [-1.0]]), torch.tensor([[-2.0], [3.0]])
    >>> optimal(x0, eps).tolist()
    [[3.0], [-2.0]]
    """
    from scipy.optimize import linear_sum_assignment  # which scikit-learn brings; slow to import

    agreement = x0.flatten(1).double() @ eps.flatten(1).double().T
    if cond is not None:
        apart = cond[:, None] != cond
        agreement -= apart * (2 * len(x0) * agreement.abs().max() + 1)
    _, order = linear_sum_assignment(agreement.cpu().numpy(), maximize=True)
    return eps[torch.from_numpy(order).to(eps.device)]
