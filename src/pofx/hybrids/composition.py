r"""composition: scores add, so models can be multiplied and conditioned after they are trained.

.. math:: p(x) \propto \prod_i p_i(x)^{w_i}
    &\quad\Rightarrow\quad \nabla \log p = \sum_i w_i \nabla \log p_i \\
    p(x | c) \propto p(x)\, p(c | x)^w
    &\quad\Rightarrow\quad \nabla \log p(x | c) = \nabla \log p(x) + w \nabla \log p(c | x)

The wrapped models know nothing of one another; whatever takes a `Score` takes the result: energies
for Langevin dynamics, MALA and HMC, and denoisers for Langevin dynamics at one level of noise. What
solvers of diffusion take is a guess of the clean data, which a score does not give where no signal
is left; there the same two sums are of guesses (`pofx.diffusion.guidance`).

References:
    Training products of experts by minimizing contrastive divergence (Hinton, 2002), eq. 1.
    Compositional visual generation with energy based models (Du et al., 2020), section 3.
    https://arxiv.org/abs/2004.06030
    Score-based generative modeling through SDEs (Song et al., 2021), eq. 14: a classifier of noisy
    data. https://arxiv.org/abs/2011.13456
    Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC (Du
    et al., 2023), section 3.2. https://arxiv.org/abs/2302.11552

Note:
    At t = 0 the sum is the product's own score. At later times the noisy version of a product is
    not the product of noisy versions: there the sum leads the right way, and Langevin steps at
    small t, not a solver's path, decide where samples end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pofx.capabilities import Energy, Score
from pofx.errors import UserError
from pofx.functional.gradients import ScoreFunction, out_of_inference, recordable, score_of
from pofx.typing import Cond, Data, PerExample

Classifier = Callable[[Data, PerExample, Cond], PerExample]
"""Log p(c | x_t) of each example at its time: `(x_t, t, cond) -> (n,)`."""


class Product(nn.Module):
    """The product of some models: capability Score.

    Args:
        models: each a `Score` of the same space.
        weights: the power of each; 1 by default. One below 0 keeps away from its model.
    """

    def __init__(self, models: Sequence[Score], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(models)
        if not models or len(self.weights) != len(models):
            raise UserError(
                f"a product takes a model or more and a weight for each, and {len(models)} models "
                f"with {len(self.weights)} weights came."
            )
        for m in models:
            if not isinstance(m, Score):
                raise UserError(
                    f"a product adds scores, and {type(m).__name__} has no method score; give "
                    "models that have one."
                )
        self.models = list(models)
        self.owned = nn.ModuleList(m for m in models if isinstance(m, nn.Module))

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        scores = [w * m.score(x_t, t, cond) for w, m in self._terms()]
        return torch.stack(scores).sum(0)

    def _terms(self) -> list[tuple[float, Score]]:
        return list(zip(self.weights, self.models, strict=True))


class EnergyProduct(Product):
    """The product of models with energies, which add up just so: capability Energy besides."""

    def energy(self, x: Data, cond: Cond | None = None) -> PerExample:
        energies: list[Tensor] = []
        for w, m in self._terms():
            if not isinstance(m, Energy):
                raise UserError(
                    f"a product of energies takes models with one, and {type(m).__name__} has "
                    "none; a Product adds scores alone."
                )
            energies.append(w * m.energy(x, cond))
        return torch.stack(energies).sum(0)


class Conditioned(nn.Module):
    """A model led by a classifier: capability Score, given a class.

    Args:
        model: a `Score`, asked without a class.
        log_prob: the classifier, differentiable in x_t.
        scale: 1 is Bayes' rule; above 1 exaggerates the class.
    """

    conditional = True

    def __init__(self, model: Score, log_prob: Classifier, scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.log_prob, self.scale = model, log_prob, scale

    def score(self, x_t: Data, t: PerExample, cond: Cond | None = None) -> Data:
        score = self.model.score(x_t, t)
        if cond is None:
            return score
        return score + self.scale * self._slope(x_t, t, cond)

    @out_of_inference
    def _slope(self, x_t: Data, t: PerExample, cond: Cond) -> Data:
        t, cond = recordable(t), recordable(cond)
        return score_of(lambda x: -self.log_prob(x, t, cond))(x_t)


def score_at(model: Score, t: float = 0.0, cond: Cond | None = None) -> ScoreFunction:
    """A model's score at one time, as samplers of `pofx.mcmc` take it.

    >>> class Normal:
    ...     def score(self, x_t, t, cond=None): return -x_t / (1 + t[:, None])
    >>> score_at(Product([Normal(), Normal()]))(torch.ones(1, 2))
    tensor([[-2., -2.]])
    """

    def score(x: Data) -> Data:
        times = torch.full(x.shape[:1], t, dtype=x.dtype, device=x.device)
        return model.score(x, times, cond)

    return score
