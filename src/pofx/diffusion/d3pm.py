r"""d3pm: Structured denoising diffusion models in discrete state-spaces (Austin et al., 2021).

Good for: bits, categories and text, with any part of an example given.

A chain of T steps in which elements are lost, to a mask (`absorbing`) or to any value (`uniform`):

.. math:: \log p(x) \ge -\mathrm{KL}\big(q(x_T | x) \| p(x_T)\big)
    - \sum_{k = 1}^T \mathbb{E}_q\,
    \mathrm{KL}\big(q(x_{k-1} | x_k, x) \| p_\theta(x_{k-1} | x_k)\big)

of which one step is drawn at a time; at k = 1 it is the reconstruction, -log p(x | x_1). The loss
adds a little of the guess's own cross-entropy.

References:
    Structured denoising diffusion models in discrete state-spaces (Austin et al., 2021), eq. 1-5
    and appendix A.2. https://arxiv.org/abs/2107.03006
    Argmax flows and multinomial diffusion: learning categorical distributions (Hoogeboom et al.,
    2021), eq. 11 and section 4: the uniform chain and its cosine. https://arxiv.org/abs/2102.05379
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pofx.diffusion.discrete import (
    NETWORK,
    TRAINING,
    Absorbing,
    Process,
    TokenDiffusion,
    TokenLoss,
    Uniform,
    token_network,
)
from pofx.parameters import (
    Conditional,
    DropLabel,
    Guidance,
    NonNegative,
    SamplingSteps,
    Training,
    TransformerSize,
    at_least,
)
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import Cond, PerExample

_PROCESSES: dict[str, type[Process]] = {"absorbing": Absorbing, "uniform": Uniform}
_OFFSET = 0.008


class D3PM(TokenDiffusion):
    """A chain of T steps.

    Args:
        spec: of the data.
        process: how elements become noise.
        network: guesses.
        chain: T.
        options: those of `TokenDiffusion`.
    """

    def __init__(
        self,
        spec: DataSpec,
        process: Process,
        network: nn.Module,
        chain: int = 1000,
        **options: int | float,
    ) -> None:
        super().__init__(spec, process, network, **options)  # type: ignore[arg-type]
        self.chain = chain

    def alpha(self, t: Tensor) -> Tensor:
        """Of masks, so that as many are lost in each step; of values, a squared cosine."""
        if isinstance(self.process, Absorbing):
            return 1 - t
        start = math.cos(_OFFSET / (1 + _OFFSET) * math.pi / 2)
        return (torch.cos((t + _OFFSET) / (1 + _OFFSET) * (math.pi / 2)) / start) ** 2

    def nats(self, k: Tensor, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        step = torch.randint(1, self.chain + 1, (len(k),), device=k.device)
        alpha, alpha_s = (self.alpha(s[:, None].double() / self.chain) for s in (step, step - 1))
        k_t = self.process.noisy(k, alpha)
        log_p = self.log_guess(k_t, step / self.chain, cond)
        each = self.process.divergence(k, k_t, log_p, alpha.to(log_p), alpha_s.to(log_p))
        cross_entropy = -log_p.gather(2, k[:, :, None]).mean()
        return self.chain * each.sum(1) + self.prior_kl(), cross_entropy

    def prior_kl(self) -> float:
        """Of q(x_T | x) from even tokens or from masks alone; nats per example."""
        alpha, levels = float(self.alpha(torch.ones((), dtype=torch.float64))), self.process.levels
        if isinstance(self.process, Absorbing):
            return 0.0
        own, other = alpha + (1 - alpha) / levels, (1 - alpha) / levels
        each = own * math.log(own * levels) + (levels - 1) * other * math.log(other * levels)
        return self.spec.size * each


def recipe(
    spec: DataSpec,
    *,
    process: Literal["absorbing", "uniform"] = "absorbing",
    chain: Annotated[int, at_least(2)] = 1000,
    auxiliary: NonNegative = 0.01,
    conditional: Conditional = True,
    drop_label: DropLabel = 0.1,
    sampling_steps: SamplingSteps = 100,
    guidance: Guidance = 0.0,
    network: TransformerSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """A D3PM of text, categories, bits or levels: a Transformer over all elements.

    Args:
        process: what elements become when they are lost.
        chain: T, its steps.
        auxiliary: lambda, how much the guess's cross-entropy counts beside the bound.
    """
    noise, net = token_network(spec, _PROCESSES[process], network)
    model = D3PM(
        spec, noise, net, chain, steps=sampling_steps, guidance=guidance
    )  # fmt: skip
    return trained(model, TokenLoss(model, drop_label, auxiliary), training)
