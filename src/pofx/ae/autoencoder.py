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

from pofx.ae.reconstruction import NETWORK, TRAINING, Autoencoder, Reconstruction, networks
from pofx.parameters import EncoderSize, Latent, Training
from pofx.recipe import Recipe, trained
from pofx.spec import DataSpec


def recipe(
    spec: DataSpec,
    *,
    latent: Latent = 32,
    linear: bool = False,
    network: EncoderSize = NETWORK,
    training: Training = TRAINING,
) -> Recipe:
    """An autoencoder with the error that the data calls for.

    Args:
        linear: no hidden layers at all: principal components by gradient descent.
    """
    if linear:
        network = EncoderSize(hidden=(), channels=0, network="mlp")
    model = Autoencoder(*networks(spec, latent, network), spec)
    return trained(model, Reconstruction(model), training)
