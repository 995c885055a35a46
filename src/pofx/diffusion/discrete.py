r"""discrete: diffusion of tokens, whose noise replaces some of them.

With probability :math:`\alpha_t` an element is still what it was; else it is any token (`Uniform`)
or a mask that stands for none (`Absorbing`). A network guesses each clean element, and a step back
from t to s draws from the posterior of the noise in the mean over that guess:

.. math:: p_\theta(x_s | x_t) = \sum_{x_0} q(x_s | x_t, x_0)\, \tilde p_\theta(x_0 | x_t)

References:
    Structured denoising diffusion models in discrete state-spaces (Austin et al., 2021), eq. 1-4
    and appendix A.2. https://arxiv.org/abs/2107.03006
    Simple and effective masked diffusion language models (Sahoo et al., 2024), eq. 6 and 7.
    https://arxiv.org/abs/2406.07524

Note:
    Austin et al. weigh the guess by q(x_s, x_t | x_0) and normalise; here it is the posterior's
    mean, for which the best guess is p(x_0 | x_t) itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.batch import Batch
from pofx.diffusion.schedule import check_steps
from pofx.functional.dequantize import indices, values
from pofx.functional.labels import withheld
from pofx.functional.reductions import expand_like
from pofx.nn.defaults import FEW_WORTH, decay_of
from pofx.nn.dit import TokenDiT
from pofx.nn.log_odds import cheap, of_tokens
from pofx.objective import LossObjective, Metrics
from pofx.parameters import GridSteps, Training, TransformerSize, follows
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Mixed
from pofx.typing import Cond, Data, PerExample


class Process(ABC):
    """How elements of `levels` values become noise; alphas are floats or `(n, 1)`.

    Args:
        levels: K.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels

    @property
    @abstractmethod
    def tokens(self) -> int:
        """How many values a noisy element may have."""

    @abstractmethod
    def replacement(self, k: Tensor) -> Tensor:
        """What stands for the elements `k` that are lost."""

    @abstractmethod
    def back(
        self, k_t: Tensor, log_p: Tensor, alpha: float | Tensor, alpha_s: float | Tensor
    ) -> Tensor:
        """The probabilities of x_s given x_t and the guess of x_0, `(n, d, tokens)`."""

    def noisy(self, k: Tensor, alpha: float | Tensor) -> Tensor:
        """A draw of q(x_t | x_0)."""
        lost = torch.rand(k.shape, device=k.device) >= alpha
        return torch.where(lost, self.replacement(k), k)

    def divergence(
        self, k: Tensor, k_t: Tensor, log_p: Tensor, alpha: Tensor, alpha_s: Tensor
    ) -> Tensor:
        """KL of q(x_s | x_t, x_0) from p(x_s | x_t), nats for each element, `(n, d)`."""
        sure = F.one_hot(k, self.levels).to(log_p)
        q = self.back(k_t, sure.log(), alpha, alpha_s)
        p = self.back(k_t, log_p, alpha, alpha_s).clamp(min=torch.finfo(log_p.dtype).tiny)
        return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(2)


class Uniform(Process):
    """An element that is lost is any of the K values."""

    @property
    def tokens(self) -> int:
        return self.levels

    def replacement(self, k: Tensor) -> Tensor:
        drawn = torch.rand(k.shape, device=k.device) * self.levels
        return drawn.long().clamp(max=self.levels - 1)

    def back(
        self, k_t: Tensor, log_p: Tensor, alpha: float | Tensor, alpha_s: float | Tensor
    ) -> Tensor:
        alpha, alpha_s = (_column(v, log_p) for v in (alpha, alpha_s))
        kept, here = alpha / alpha_s, F.one_hot(k_t, self.levels).to(log_p)
        even = 1 / self.levels
        share = log_p.exp() / (alpha * here + (1 - alpha) * even)
        step = kept * here + (1 - kept) * even
        return step * (alpha_s * share + (1 - alpha_s) * even * share.sum(2, keepdim=True))


class Absorbing(Process):
    """An element that is lost is masked, by a value of its own, K."""

    @property
    def tokens(self) -> int:
        return self.levels + 1

    def replacement(self, k: Tensor) -> Tensor:
        return torch.full_like(k, self.levels)

    def back(
        self, k_t: Tensor, log_p: Tensor, alpha: float | Tensor, alpha_s: float | Tensor
    ) -> Tensor:
        alpha, alpha_s = (_column(v, log_p) for v in (alpha, alpha_s))
        found = (alpha_s - alpha) / (1 - alpha)
        masked = F.pad(log_p.exp() * found, (0, 1)) + F.pad((1 - found), (self.levels, 0))
        here = F.one_hot(k_t, self.tokens).to(log_p)
        return torch.where((k_t == self.levels)[:, :, None], masked, here)


class TokenDiffusion(nn.Module, ABC):
    """A model of discrete elements: capabilities Samples and Bound.

    Args:
        spec: of the data.
        process: how elements become noise.
        network: guesses, `(k, t, cond) -> (n, d, levels)` logits.
        steps: of sampling, unless told otherwise.
        guidance: classifier-free guidance w of samples with a class; 0 for none.
    """

    barred: Tensor

    def __init__(
        self,
        spec: DataSpec,
        process: Process,
        network: nn.Module,
        *,
        steps: int = 100,
        guidance: float = 0.0,
    ) -> None:
        super().__init__()
        self.spec, self.process, self.network = spec, process, network
        self.steps, self.guidance = steps, guidance
        allowed = torch.tensor(
            [[j < c.levels for j in range(process.levels)] for c in spec.columns]
        )
        self.register_buffer("barred", ~allowed, persistent=False)
        self.marginals = of_tokens(spec)

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.spec.cond is not None

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """How likely an element is still what it was."""

    @abstractmethod
    def nats(self, k: Tensor, cond: Cond | None = None) -> tuple[PerExample, Tensor]:
        """An unbiased one-draw estimate of a bound of -log p, `(n,)`, and the mean cross-entropy of
        the guess that it made.
        """

    def log_guess(self, k_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """The log-probability of every value of each clean element, `(n, d, levels)`."""
        logits = self.network(k_t, t, cond if self.conditional else None)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.marginals is not None:
            logits = logits + self.marginals().view(logits.shape[1:])
        return logits.masked_fill(self.barred, -torch.inf).log_softmax(2)

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        return -self.nats(self.indices(x), cond if self.conditional else None)[0]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Cond | None = None,
        *,
        steps: GridSteps | None = None,
        guidance: float | None = None,
    ) -> Data:
        """Draws `n` examples.

        Args:
            n: how many.
            cond: a label for each; None draws from all classes at once.
            steps: each of which asks the network once.
            guidance: classifier-free guidance w; 0 for none.

        Raises:
            UserError: a count of steps out of its range.
        """
        k = torch.zeros(n, self.spec.size, dtype=torch.int64, device=self.barred.device)
        start = self.process.noisy(k, 0.0)
        return self.examples(self.drawn(start, cond, steps, guidance))

    def drawn(
        self,
        k_t: Tensor,
        cond: Cond | None = None,
        steps: GridSteps | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Clean tokens from noise, `(n, d)`."""
        steps = self.steps if steps is None else steps
        check_steps(steps)
        w = self.guidance if guidance is None else guidance
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        alphas = self.alpha(times).tolist()
        for t, alpha, alpha_s in zip(times.tolist(), alphas, alphas[1:], strict=False):
            log_p = self._guided(k_t, torch.full(k_t.shape[:1], t, device=k_t.device), cond, w)
            k_t = _draw(self.process.back(k_t, log_p, alpha, alpha_s))
        return k_t

    def _guided(self, k_t: Tensor, t: Tensor, cond: Cond | None, w: float) -> Tensor:
        log_p = self.log_guess(k_t, t, cond)
        if not w or cond is None or not self.conditional:
            return log_p
        away = (1 + w) * log_p - w * self.log_guess(k_t, t)
        return away.masked_fill(self.barred, -torch.inf).log_softmax(2)

    def indices(self, x: Data) -> Tensor:
        """Examples as tokens, int64 `(n, d)`."""
        if isinstance(self.spec.support, Mixed):
            columns = zip(x.unbind(1), self.spec.support.columns, strict=True)
            return torch.stack([indices(c, s) for c, s in columns], 1)
        return indices(x, self.spec.support).flatten(1)

    def examples(self, k: Tensor) -> Data:
        """Tokens as examples."""
        if isinstance(self.spec.support, Mixed):
            columns = zip(k.unbind(1), self.spec.support.columns, strict=True)
            return torch.stack([values(c, s) for c, s in columns], 1)
        return values(k, self.spec.support).unflatten(1, self.spec.shape)


class TokenLoss(LossObjective):
    """The bound, nats for each element, and some of the guess's own cross-entropy.

    Args:
        model: guesses.
        drop_label: how often an example's label is withheld.
        auxiliary: how much of the cross-entropy.
    """

    def __init__(self, model: TokenDiffusion, drop_label: float, auxiliary: float = 0.0) -> None:
        super().__init__()
        self.model: TokenDiffusion = model
        self.drop_label, self.auxiliary = drop_label, auxiliary

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        x, cond = batch.x, batch.cond
        model = self.model
        told = cond is not None and model.conditional
        labels = withheld(cond, self.drop_label) if told else None  # type: ignore[arg-type]
        k = model.indices(x)
        if self.training and model.marginals is not None:
            model.marginals.see(k)
        nats, cross_entropy = model.nats(k, labels)
        bound = nats.mean() / model.spec.size
        return bound + self.auxiliary * cross_entropy, {"cross_entropy": cross_entropy.detach()}

    def after_step(self) -> None:
        if self.model.marginals is not None:
            self.model.marginals.settle()


NETWORK = TransformerSize(width=128, layers=4, heads=4)
TRAINING = Training(
    lr=1e-3,
    batch_size=64,
    steps=10_000,
    weight_decay=follows(
        "0, or 3,000 over the number of fewer than 1,000 examples that are 20 for each level",
        lambda spec, lr: decay_of(spec, lr, FEW_WORTH) if cheap(spec) else 0.0,
    ),
    warmup=200,
    clip=1.0,
    ema=500.0,
)


def token_network(
    spec: DataSpec, process: type[Process], size: TransformerSize
) -> tuple[Process, TokenDiT]:
    """Builds the process and the network for some data.

    Raises:
        RecipeError: the data is not discrete, or the width no multiple of the heads.
    """
    if not spec.support.discrete:
        raise RecipeError("elements must be discrete (got numbers with a density): use ddpm.")
    width, heads = size.width, size.heads
    if width % heads:
        raise RecipeError(
            f"--width must be a multiple of --heads (got {width} and {heads}): change one."
        )
    noise = process(max(c.levels for c in spec.columns))
    shape = {"width": width, "layers": size.layers, "heads": heads}
    return noise, TokenDiT(spec.size, noise.tokens, noise.levels, cond=spec.cond, **shape)


def _draw(p: Tensor) -> Tensor:
    """A token for each row of probabilities."""
    cdf = p.cumsum(2)
    u = torch.rand(p.shape[:2], dtype=p.dtype, device=p.device) * cdf[:, :, -1]
    return (cdf <= u[:, :, None]).sum(2).clamp(max=p.shape[2] - 1)


def _column(alpha: float | Tensor, like: Tensor) -> Tensor:
    """One alpha for all, or one for each example, ready for `(n, d, k)`."""
    alpha = torch.as_tensor(alpha, dtype=like.dtype, device=like.device)
    return expand_like(alpha.flatten(), like)
