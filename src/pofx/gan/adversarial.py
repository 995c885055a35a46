"""adversarial: the contract of the family: a generator, its adversary, and whose turn it is.

Both live in the relaxed space of `functional.dequantize`, where a byte or a bit is a number in [-1,
1] and a category is a one-hot vector, so that gradients pass from the one to the other; `sample`
hardens the result to the data's support.

References:
    Generative adversarial nets (Goodfellow et al., 2014), algorithm 1. https://arxiv.org/abs/1406.2661
    cGANs with projection discriminator (Miyato and Koyama, 2018), section 3. https://arxiv.org/abs/1802.05637
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pofx.batch import Batch
from pofx.functional.dequantize import harden, joined, relax, relaxed_shape, split_relaxed
from pofx.functional.labels import check_given
from pofx.nn.condition import ClassInputs, VectorCondition
from pofx.nn.condition import inputs as condition_inputs
from pofx.nn.defaults import Decoder, Encoder
from pofx.objective import Metrics, Objective, Update
from pofx.parameters import follows
from pofx.spec import Categorical, DataSpec, Real, Simple
from pofx.typing import Cond, Data, PerExample

LATENT = follows(
    "the number of elements of an example, at most 64", lambda spec: min(spec.size, 64)
)


class Generator(nn.Module):
    r"""Draws `x = G(z, cond)` with :math:`z \sim N(0, I)`.

    Args:
        spec: what it draws, given the condition that it is told.
        latent: the length of z.
        hidden: widths of the hidden layers, as for `nn.defaults.Decoder`.
        channels: channels of an image's finest layer, as for `nn.defaults.Decoder`.

    >>> Generator(DataSpec((2,)), latent=4).sample(3).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 32,
        hidden: tuple[int, ...] = (128, 128, 128),
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.latent = latent
        self.net = Decoder(
            latent,
            relaxed_shape(spec),
            hidden=hidden,
            channels=channels,
            cond=spec.cond,
            activation=nn.ReLU,
        )

    def forward(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        """The relaxed example of each code: `(n, latent) -> (n, *relaxed_shape(spec))`."""
        return squash(self.net(z, cond), self.spec)

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return self.spec.cond is not None

    def noise(self, n: int) -> Tensor:
        """Draws `n` codes."""
        weight = next(self.parameters())
        return torch.randn(n, self.latent, device=weight.device, dtype=weight.dtype)

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None) -> Data:
        """Draws `n` examples; where no class is asked for, each class is as likely as any other."""
        z = self.noise(n)
        if cond is None and self.spec.classes:
            cond = torch.randint(0, self.spec.classes, (n,), device=z.device)
        check_given(cond, self.spec)
        return harden(self(z, cond), self.spec).reshape(n, *self.spec.shape)


class Discriminator(nn.Module):
    """One number for each relaxed example: how real it looks. `(n, *relaxed_shape(spec)) -> (n,)`.

    With a condition it is the projection discriminator: the condition weighs linear forms of the
    last features, of which a class picks one, and their sum is added to one that all share.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: tuple[int, ...] = (128, 128, 128),
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.weigh = _weights(spec.cond)
        self.net = Encoder(
            relaxed_shape(spec),
            1 if self.weigh is None else 1 + self.weigh.width,
            hidden=hidden,
            channels=channels,
            activation=partial(nn.LeakyReLU, 0.2),
        )

    def forward(self, x: Tensor, cond: Cond | None = None) -> PerExample:
        """`x` is relaxed; without `cond`, what all conditions share decides alone."""
        forms = self.net(x)
        if cond is None or self.weigh is None:
            return forms[:, 0]
        return forms[:, 0] + (forms[:, 1:] * self.weigh(cond).to(forms)).sum(1)


def _weights(cond: DataSpec | None) -> ClassInputs | VectorCondition | None:
    if cond is None:
        return None
    told = condition_inputs(cond)
    return told if isinstance(told, ClassInputs) else VectorCondition(cond, _FORMS)


_FORMS = 32
"""Linear forms that a vector weighs."""


class Pairs(NamedTuple):
    """As many real examples as fake ones, both relaxed.

    Args:
        x: real examples.
        x_fake: generated examples of the same classes, cut from the generator's graph.
        cond: the classes of both, or None.
        u: one number for each pair, uniform on (0, 1), for a loss that mixes the two.
    """

    x: Tensor
    x_fake: Tensor
    cond: Cond | None
    u: PerExample

    def part(self, i: int, parts: int) -> Pairs:
        """Every `parts`-th pair, from the i-th on."""
        return Pairs(*(None if a is None else a[i::parts] for a in self))  # type: ignore[arg-type]


class Adversarial(Objective):
    """Some updates of the adversary, then one of the generator.

    A batch is dealt out among the adversary's updates: pair i goes to update `i % rounds`, so that
    each update sees fresh data and the deal is the same however many processes share the batch
    (whole rounds each).

    Args:
        generator: what learns to draw.
        adversary: `(x, cond) -> (n,)`, what learns to tell.
        rounds: updates of the adversary for each one of the generator, Goodfellow's k.
    """

    role: ClassVar[str] = "discriminator"

    def __init__(self, generator: Generator, adversary: nn.Module, rounds: int = 1) -> None:
        super().__init__()
        self.generator = generator
        self.adversary = adversary
        self.rounds = rounds

    @property
    def players(self) -> Mapping[str, nn.Module]:
        return {self.role: self.adversary, "generator": self.generator}

    @abstractmethod
    def adversary_loss(self, pairs: Pairs) -> tuple[Tensor, Metrics]:
        """What the adversary lowers, and metrics to log."""

    @abstractmethod
    def generator_loss(self, logits: PerExample) -> Tensor:
        """What the generator lowers, given what the adversary makes of the fakes."""

    def updates(self, batch: Batch) -> Iterator[Update]:
        x, cond = batch.x, batch.cond
        pairs = self.pairs(x, cond)
        parts = min(self.rounds, x.shape[0])  # a batch too small to deal is dealt again
        for i in range(self.rounds):
            yield Update(self.role, *self.adversary_loss(pairs.part(i % parts, parts)))
        # All of the batch's codes are drawn, and one round's kept, for the same deal as above.
        z = self.generator.noise(x.shape[0])[::parts]
        cond = pairs.part(0, parts).cond
        yield Update(
            "generator", self.generator_loss(self.adversary(self.generator(z, cond), cond))
        )

    @torch.no_grad()
    def pairs(self, x: Data, cond: Cond | None = None) -> Pairs:
        """Pairs each example with a fake one of its class."""
        x_fake = self.generator(self.generator.noise(x.shape[0]), cond)
        u = torch.rand(x.shape[0], device=x.device, dtype=x.dtype)
        return Pairs(relax(x, self.generator.spec), x_fake, cond, u)


def squash(y: Tensor, spec: DataSpec) -> Tensor:
    """Any reals into the relaxed space: bounded values by tanh, a category by softmax, onto [-1,
    1].
    """
    return joined([_squash(part, s) for part, s in split_relaxed(y, spec)])


def _squash(y: Tensor, support: Simple) -> Tensor:
    if isinstance(support, Categorical):
        return y.softmax(1) * 2 - 1
    return y if isinstance(support, Real) else y.tanh()
