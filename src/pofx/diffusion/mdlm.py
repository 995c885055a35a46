r"""mdlm: Simple and effective masked diffusion language models (Sahoo et al., 2024).

Good for: text and categories, filled in at any place.

Elements are masked, more and more of them, and a network that sees the rest guesses what they were.
In continuous time the bound is a weighted cross-entropy of the masked ones,

.. math:: -\log p(x) \le \int_0^1 \frac{-\alpha_t'}{1 - \alpha_t}\,
    \mathbb{E}_q \sum_{i\ \text{masked}} -\log \tilde p_\theta(x_i | x_t)\, dt

which depends on the schedule alpha in no way: of d elements, any number l is masked equally often
once the integral is done, and that is in closed form:

.. math:: \int_0^1 \ldots dt = \mathbb{E}_{l \sim U\{1..d\}}\, \mathbb{E}_{|M| = l}\, \frac{d}{l}
    \sum_{i \in M} -\log \tilde p_\theta(x_i | x_{\setminus M})

References:
    Simple and effective masked diffusion language models (Sahoo et al., 2024), eq. 7, 8 and 11 and
    section 3.4. https://arxiv.org/abs/2406.07524
    Autoregressive diffusion models (Hoogeboom et al., 2022), eq. 3 and 4: the sum over l.
    https://arxiv.org/abs/2110.02037
    Your absorbing discrete diffusion secretly models the conditional distributions of clean data
    (Ou et al., 2025), theorem 1: time need not be told. https://arxiv.org/abs/2406.03736
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pofx.diffusion.discrete import (
    NETWORK,
    TRAINING,
    Absorbing,
    TokenDiffusion,
    TokenLoss,
    token_network,
)
from pofx.diffusion.guidance import check_told
from pofx.parameters import (
    Conditional,
    DropLabel,
    GridSteps,
    Guidance,
    SamplingSteps,
    Training,
    TransformerSize,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample


class MDLM(TokenDiffusion):
    """Masked diffusion in continuous time: capability Completes too.

    Args:
        spec: of the data.
        process: masks elements.
        network: guesses; it is told the time 0 always.
        schedule: how fast masks fall in sampling: evenly, or by a cosine, slowly at first.
        options: those of `TokenDiffusion`.
    """

    def __init__(
        self,
        spec: DataSpec,
        process: Absorbing,
        network: nn.Module,
        schedule: Literal["linear", "cosine"] = "linear",
        **options: int | float,
    ) -> None:
        super().__init__(spec, process, network, **options)  # type: ignore[arg-type]
        self.schedule = schedule

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t if self.schedule == "linear" else 1 - torch.sin(t * (math.pi / 2))

    def log_guess(self, k_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        return super().log_guess(k_t, torch.zeros_like(t), cond)

    def nats(self, k: Tensor, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        n, size = k.shape
        count = torch.randint(1, size + 1, (n, 1), device=k.device)
        masked = torch.rand(k.shape, device=k.device).argsort(1).argsort(1) < count
        k_t = torch.where(masked, self.process.replacement(k), k)
        log_p = self.log_guess(k_t, torch.zeros(n, device=k.device), cond)
        each = -log_p.gather(2, k[:, :, None])[:, :, 0]
        cost = torch.where(masked, each, torch.zeros_like(each)).sum(1)
        return cost * (size / count[:, 0]), cost.sum() / count.sum()

    @torch.no_grad()
    def complete(
        self,
        x: Data,
        known: Tensor,
        cond: Cond | None = None,
        *,
        steps: GridSteps | None = None,
        guidance: float | None = None,
    ) -> Data:
        """Draws what is not known of examples.

        Args:
            x: examples; what is not known in them is ignored.
            known: which elements are, bool, of the event's shape.
            cond: a class for each.
            steps: as for `sample`.
            guidance: as for `sample`.
        """
        check_told(guidance, cond is not None)
        k = self.indices(torch.where(known, x, torch.zeros_like(x)))
        k_t = torch.where(known.flatten(), k, self.process.replacement(k))
        done = self.examples(self.drawn(k_t, cond, steps, guidance))
        return torch.where(known, x, done.to(x.dtype))


def recipe(
    spec: DataSpec,
    *,
    schedule: Literal["linear", "cosine"] = "linear",
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampling_steps: SamplingSteps = 100,
    guidance: Guidance = 0.0,
    network: TransformerSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A masked diffusion model of text, categories, bits or levels.

    Args:
        schedule: how fast masks fall in sampling.
    """
    noise, net = token_network(spec, Absorbing, network)
    assert isinstance(noise, Absorbing)
    model = MDLM(
        spec, noise, net, schedule, steps=sampling_steps, guidance=guidance
    )  # fmt: skip
    return trained(model, TokenLoss(model, drop_label), training)
