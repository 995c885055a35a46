r"""autoencoder: Reducing the dimensionality of data with neural networks (Hinton and Salakhutdinov, 2006).

Good for: short codes of anything; with a mixture on the codes, samples too.

An encoder squeezes an example into a short code, and a decoder rebuilds the example from it:

.. math:: z = f(x), \qquad \hat x = g(z), \qquad L = \mathbb{E}\, d(x, \hat x)

d is the squared error of numbers and the cross-entropy of bits and categories. Without hidden
layers the code spans the subspace of the first principal components, and the error that is left is
the sum of the eigenvalues that it leaves out.

References:
    Reducing the dimensionality of data with neural networks (Hinton and Salakhutdinov, 2006).
    https://www.cs.toronto.edu/~hinton/absps/science.pdf
    Neural networks and principal component analysis: learning from examples without local minima
    (Baldi and Hornik, 1989), section 4: the linear case.

Note:
    The paper trained layer after layer as RBMs first; better initialisation and Adam made that
    needless.
"""  # noqa: E501, the title's line is read whole

from __future__ import annotations

from pofx.ae.reconstruction import Autoencoder, Reconstruction, networks, trained
from pofx.recipe import Recipe
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 16,
    linear: bool = False,
    lr: float = 1e-3,
    batch_size: int = 128,
    steps: int = 5_000,
) -> Recipe:
    """An autoencoder with the error that the data calls for.

    Args:
        spec: what the data is.
        latent: numbers in a code.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 uses fully connected networks.
        linear: no hidden layers at all: principal components by gradient descent.
        lr: learning rate of Adam, decayed to 0 by a cosine.
        batch_size: examples in a step.
        steps: optimizer steps.
    """
    hidden, channels = ((), 0) if linear else (hidden, channels)
    model = Autoencoder(*networks(spec, latent, hidden, channels), spec)
    return trained(model, Reconstruction(model), lr, batch_size, steps)
