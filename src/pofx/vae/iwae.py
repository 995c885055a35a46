r"""iwae: Importance weighted autoencoders (Burda et al., 2016).

Good for: a VAE with a tighter bound on log p(x).

A VAE trained by the bound of k codes, which rises to log p(x) with k:

.. math:: L_k = -\mathbb{E} \log \frac1k \sum_{i=1}^k w_i, \qquad
    w_i = \frac{p(x, z_i)}{q(z_i | x)}, \quad z_i \sim q(z | x)

The more codes, the less the plain gradient says to q, for its signal falls faster than its noise.
With :math:`\tilde w_i = w_i / \sum_j w_j`, the doubly reparameterised gradient is unbiased too and
keeps the signal, and *sticking the landing* is simpler and biased for k above 1; both vanish where
q is the true posterior:

.. math:: \text{dreg: } \sum_i \tilde w_i^2 \, \frac{\partial \log w_i}{\partial z_i}
    \frac{\partial z_i}{\partial \phi}, \qquad
    \text{stl: } \sum_i \tilde w_i \, \frac{\partial \log w_i}{\partial z_i}
    \frac{\partial z_i}{\partial \phi}

References:
    Importance weighted autoencoders (Burda et al., 2016), eq. 8 and 14. https://arxiv.org/abs/1509.00519
    Doubly reparameterized gradient estimators for Monte Carlo objectives (Tucker et al., 2019),
    eq. 8. https://arxiv.org/abs/1810.04152
    Sticking the landing (Roeder et al., 2017), eq. 4. https://arxiv.org/abs/1703.09194
    Tighter variational bounds are not necessarily better (Rainforth et al., 2018).
    https://arxiv.org/abs/1802.04537
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from pofx.batch import Batch
from pofx.objective import Metrics
from pofx.parameters import Conditional, Count, EncoderSize, KLWarmup, Latent, PixelNoise, Training
from pofx.recipe import Former, Recipe, trained
from pofx.spec import DataSpec
from pofx.vae.elbo import ELBO
from pofx.vae.latent_variable import LatentVariable
from pofx.vae.networks import NETWORK, TRAINING, Networks
from pofx.vae.normal_vae import build

Gradient = Literal["dreg", "stl", "plain"]


class ImportanceWeighted(ELBO):
    """Minimises -L_k, averaged over examples.

    Args:
        model: what is trained.
        k: codes of each example.
        gradient: of the posterior; that of the likelihood and the prior is the same for all three.
        kl_warmup: the share of the training budget over which the weight of log p(z) / q(z | x)
            rises from 0 in log w.
    """

    def __init__(
        self,
        model: LatentVariable,
        k: int = 5,
        gradient: Gradient = "dreg",
        kl_warmup: float = 0.0,
    ) -> None:
        super().__init__(model, kl_warmup=kl_warmup)
        self.k, self.gradient = k, gradient

    @property
    def departs(self) -> bool:
        return True  # the bound of k codes is above that of one

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        model, self.progress = self.model, batch.progress
        stopped = self.gradient != "plain"
        z, log_q = model.posterior(x, cond).draw(self.k, stopped=stopped)
        log_likelihood, divergence = model.weigh(x, cond, z, log_q)
        log_w = log_likelihood - self.weight(batch.progress) * divergence
        bound = log_w.logsumexp(0) - math.log(self.k)
        weights = log_w.detach().softmax(0)
        metrics = {"ess": 1 / weights.square().sum(0).mean(), "kl": divergence.mean()}
        if not stopped:
            return -bound.mean(), metrics
        if self.gradient == "dreg" and z.requires_grad:
            # what flows back through the codes is weighed once more than what does not
            z.register_hook(lambda slope: slope * weights[..., None].to(slope.dtype))
        slope = (weights * log_w).sum(0)
        return -(slope - slope.detach() + bound.detach()).mean(), metrics


FORMER = {"kl_warmup": Former("kl_warmup", 500)}


def recipe(
    spec: DataSpec,
    *,
    k: Count = 5,
    gradient: Gradient = "dreg",
    kl_warmup: KLWarmup = 0.05,
    latent: Latent = 32,
    conditional: Conditional = False,
    pixel_noise: PixelNoise = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A VAE trained by the importance-weighted bound.

    Args:
        k: codes of each example; the cost of the decoder grows with it.
        gradient: of the posterior, doubly reparameterised (dreg), sticking the landing (stl) or
            plain.
    """
    networks = Networks(spec, network, pixel_noise)
    model = build(networks, latent)
    return trained(model, ImportanceWeighted(model, k, gradient, kl_warmup), training)
