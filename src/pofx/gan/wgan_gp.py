r"""wgan-gp: Improved training of Wasserstein GANs (Gulrajani et al., 2017).

Good for: sharp samples in one pass, steadier to train than a GAN; no likelihood.

The critic's loss is minus the Wasserstein-1 distance between data and generator, as far as its
gradient is of norm 1 on the lines between the two:

.. math:: L = \mathbb{E} f(\tilde x) - \mathbb{E} f(x)
    + \lambda \, \mathbb{E} (|\nabla f(\hat x)| - 1)^2,
    \quad \hat x = u x + (1 - u) \tilde x

References:
    Improved training of Wasserstein GANs (Gulrajani et al., 2017), eq. 3 and algorithm 1.
    https://arxiv.org/abs/1704.00028

Note:
    A batch is dealt out among the critic's updates of a step, each of which therefore sees fresh
    data as in algorithm 1: `batch_size` counts all of them, `critic_steps` times the paper's m of
    64.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pofx.gan.adversarial import LATENT, Adversarial, Discriminator, Generator, Pairs
from pofx.gan.penalties import between, gradient_norm
from pofx.objective import Metrics
from pofx.parameters import Count, NonNegative, Sizes, Training, Whole
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import PerExample


class WGANGP(Adversarial):
    """Critic and generator on two sides of a Wasserstein distance.

    Args:
        generator: what learns to draw.
        critic: `(x, cond) -> (n,)`, any real number.
        penalty: lambda; 10 in the paper.
        critic_steps: critic updates for each generator update; 5 in the paper.
    """

    role: ClassVar[str] = "critic"

    def __init__(
        self,
        generator: Generator,
        critic: Discriminator,
        penalty: float = 10.0,
        critic_steps: int = 5,
    ) -> None:
        super().__init__(generator, critic, critic_steps)
        self.penalty = penalty

    def adversary_loss(self, pairs: Pairs) -> tuple[Tensor, Metrics]:
        x, x_fake, cond, u = pairs
        wasserstein = self.adversary(x, cond).mean() - self.adversary(x_fake, cond).mean()
        norm = gradient_norm(lambda x: self.adversary(x, cond), between(x, x_fake, u))
        loss = self.penalty * (norm - 1).square().mean() - wasserstein
        return loss, {"wasserstein": wasserstein, "gradient_norm": norm.mean()}

    def generator_loss(self, logits: PerExample) -> Tensor:
        return -logits.mean()


def recipe(
    spec: DataSpec,
    *,
    penalty: NonNegative = 10.0,
    critic_steps: Count = 5,
    latent: Count = LATENT,
    hidden: Sizes = (128, 128, 128),
    channels: Whole = 32,
    training: Training = Training(
        lr=1e-3,
        batch_size=320,
        steps=4_000,
        beta1=0.0,
        beta2=0.9,
        decay="linear",
        ema=200.0,
    ),
) -> Recipe:
    """A Wasserstein GAN for vectors, tables and images, conditional where the data has classes.

    Args:
        penalty: lambda, weight of the gradient penalty.
        critic_steps: critic updates for each generator update, among which a batch is dealt out.
        latent: length of the code z.
        hidden: widths of the hidden layers of both networks.
        channels: channels of the finest convolution, for images; 0 for fully connected networks.
    """
    generator = Generator(spec, latent=latent, hidden=hidden, channels=channels)
    critic = Discriminator(spec, hidden=hidden, channels=channels)
    return trained(generator, WGANGP(generator, critic, penalty, critic_steps), training)
