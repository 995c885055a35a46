r"""gan: Generative adversarial nets (Goodfellow et al., 2014).

Good for: sharp samples in one pass; no likelihood.

The discriminator learns the log-odds that x is data rather than a draw of the generator, and the
generator learns to raise them:

.. math:: \min_G \max_D \; V
    = \mathbb{E}_x \log \sigma(D(x)) + \mathbb{E}_z \log(1 - \sigma(D(G(z))))

The R1 penalty, :math:`\tfrac{\gamma}{2} \mathbb{E}_x |\nabla_x D(x)|^2`, damps the cycles of the
two around the solution, without which the generator drops modes.

References:
    Generative adversarial nets (Goodfellow et al., 2014), eq. 1, algorithm 1, and section 3 for the
    non-saturating loss. https://arxiv.org/abs/1406.2661
    Which training methods for GANs do actually converge? (Mescheder et al., 2018), eq. 9.
    https://arxiv.org/abs/1801.04406

Note:
    The defaults are not the paper's, which had no penalty, no moving average and no Adam: they are
    the ones that cover every mode of the 25-Gaussian grid. A mean gradient without memory (beta1
    of 0) is Mescheder et al.'s. An image's gamma grows with its size, as the distances between
    images do; with a tenth of it every class shrinks to one picture. `--r1 0 --loss minimax` is the
    game of eq. 1.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from pofx.gan.adversarial import LATENT, Adversarial, Discriminator, Generator, Pairs
from pofx.gan.penalties import r1
from pofx.objective import Metrics
from pofx.parameters import Count, NonNegative, Sizes, Training, Whole, follows
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec
from pofx.typing import PerExample

Loss = Literal["non-saturating", "minimax"]


class GAN(Adversarial):
    """The discriminator's cross-entropy, against a generator that lowers log(1 - D) or -log D.

    Args:
        generator: what learns to draw.
        discriminator: `(x, cond) -> (n,)` logits.
        loss: `minimax` lowers log(1 - sigmoid(D)); `non-saturating` lowers -log sigmoid(D), whose
            gradient does not vanish where the discriminator is sure.
        r1: gamma, the weight of the penalty; 0 for none.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        loss: Loss = "non-saturating",
        r1: float = 0.1,
    ) -> None:
        super().__init__(generator, discriminator)
        self.loss = loss
        self.r1 = r1

    def adversary_loss(self, pairs: Pairs) -> tuple[Tensor, Metrics]:
        x = pairs.x.detach().requires_grad_(self.r1 > 0)
        real, fake = self.adversary(x, pairs.cond), self.adversary(pairs.x_fake, pairs.cond)
        loss = softplus(-real).mean() + softplus(fake).mean()
        metrics = {
            "accuracy": ((real > 0).float().mean() + (fake < 0).float().mean()) / 2,
            "real": real.mean(),
            "fake": fake.mean(),
        }
        if not self.r1:
            return loss, metrics
        penalty = r1(real, x).mean()
        return loss + self.r1 / 2 * penalty, {**metrics, "r1": penalty}

    def generator_loss(self, logits: PerExample) -> Tensor:
        if self.loss == "minimax":
            return -softplus(logits).mean()
        return softplus(-logits).mean()


def recipe(
    spec: DataSpec,
    *,
    loss: Loss = "non-saturating",
    r1: NonNegative = follows(
        "an eighth of the numbers of an image, else 0.1",
        lambda spec: spec.size / 8 if spec.is_image else 0.1,
    ),
    latent: Count = LATENT,
    hidden: Sizes = (128, 128, 128),
    channels: Whole = 32,
    training: Training = Training(
        lr=1e-3,
        batch_size=256,
        steps=9_000,
        beta1=0.0,
        beta2=0.99,
        decay="linear",
        ema=200.0,
    ),
) -> Recipe:
    """A GAN for vectors, tables and images, conditional where the data has classes.

    Args:
        loss: the generator's loss: non-saturating, or minimax as in eq. 1.
        r1: gamma, weight of the R1 penalty; 0 turns it off, and invites mode collapse.
        latent: length of the code z.
        hidden: widths of the hidden layers of both networks.
        channels: channels of the finest convolution, for images; 0 for fully connected networks.
    """
    generator = Generator(spec, latent=latent, hidden=hidden, channels=channels)
    discriminator = Discriminator(spec, hidden=hidden, channels=channels)
    return trained(generator, GAN(generator, discriminator, loss, r1), training)
