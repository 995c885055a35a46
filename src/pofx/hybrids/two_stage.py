r"""two_stage: a code space that can be sampled.

An autoencoder has no prior of its own, or one that its codes do not follow. Any model that samples
vectors can be fitted to the codes afterwards,

.. math:: z \sim p_{\text{prior}}(z), \qquad x = g(z)

References:
    From variational to deterministic autoencoders (Ghosh et al., 2020), section 4: a density fitted
    to the codes after training. https://arxiv.org/abs/1903.12436
    Diagnosing and enhancing VAE models (Dai and Wipf, 2019), section 4. https://arxiv.org/abs/1903.05789
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pofx.capabilities import Latent, Samples
from pofx.typing import Cond, Data


class TwoStage(nn.Module):
    """A prior of codes and the decoder that makes examples of them: capability Samples.

    Args:
        prior: samples codes in units of its own.
        decoder: makes examples of codes.
        mean: what was subtracted from codes to fit the prior to them.
        std: what divided them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, prior: Samples, decoder: Latent, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.prior, self.decoder = prior, decoder
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @property
    def conditional(self) -> bool:
        """Whether the class is heeded, by either of the two."""
        return any(getattr(m, "conditional", False) for m in (self.prior, self.decoder))

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None) -> Data:
        """Draws codes, and decodes them."""
        heeds = [getattr(m, "conditional", False) for m in (self.prior, self.decoder)]
        z = self.prior.sample(n, cond if heeds[0] else None) * self.std + self.mean
        return self.decoder.decode(z, cond if heeds[1] else None)
