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

from pofx.gan.adversarial import Adversarial, Discriminator, Generator, Pairs
from pofx.gan.penalties import between, gradient_norm
from pofx.objective import Metrics
from pofx.recipe import Adam, Recipe, RecipeError, check_at_least
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


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    penalty: float = 10.0,
    critic_steps: int = 5,
    latent: int | None = None,
    hidden: tuple[int, ...] = (128, 128, 128),
    channels: int = 32,
    lr: float = 1e-3,
    beta1: float = 0.0,
    beta2: float = 0.9,
    ema: float = 200.0,
    batch_size: int = 320,
    steps: int = 4_000,
) -> Recipe:
    """A Wasserstein GAN for vectors, tables and images, conditional where the data has classes.

    Args:
        spec: what the data is.
        penalty: lambda, weight of the gradient penalty.
        critic_steps: critic updates for each generator update, among which a batch is dealt out.
        latent: length of the code z; by default that of an example, at most 64.
        hidden: widths of the hidden layers of both networks.
        channels: channels of the finest convolution, for images; 0 for fully connected networks.
        lr: learning rate of both networks, falling linearly to 0.
        beta1: Adam's decay of the mean gradient; 0 in the paper.
        beta2: Adam's decay of the squared gradient; 0.9 in the paper.
        ema: half-life, in steps, of the average of the generator's weights that is sampled from.
        batch_size: examples in a step, over all critic updates.
        steps: generator updates.
    """
    if penalty < 0:
        raise RecipeError(
            f"penalty is a weight of at least 0, and {penalty} came; 10 is the usual."
        )
    if critic_steps < 1:
        raise RecipeError(f"critic-steps is at least 1, and {critic_steps} came; 5 is the usual.")
    check_at_least("wgan-gp", 1, latent=latent)
    generator = Generator(
        spec, latent=latent or min(spec.size, 64), hidden=hidden, channels=channels
    )
    critic = Discriminator(spec, hidden=hidden, channels=channels)
    adam = Adam(lr, (beta1, beta2))
    return Recipe(
        model=generator,
        objective=WGANGP(generator, critic, penalty, critic_steps),
        optimizers={"critic": adam, "generator": adam},
        batch_size=batch_size,
        steps=steps,
        decay="linear",
        ema=ema,
    )
