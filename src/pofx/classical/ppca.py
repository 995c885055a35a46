r"""ppca: Probabilistic principal component analysis (Tipping and Bishop, 1999).

Good for: the linear baseline of anything, in closed form.

A normal latent vector z, seen through a linear map with even noise:

.. math:: x = W z + \mu + \sigma \epsilon, \quad
    p(x) = \mathcal{N}(x; \mu, W W^\top + \sigma^2 I)

Likelihood is largest where sigma^2 is the mean of the d - k eigenvalues of the data's covariance
that are left out, and W holds the k others, of value lambda and direction u, as
`sqrt(lambda - sigma^2) u`.

References:
    Probabilistic principal component analysis (Tipping and Bishop, 1999), eq. 7 and 8; 6 for the
    posterior of z. https://doi.org/10.1111/1467-9868.00196

Note:
    sigma^2 is at least 1e-6 of the elements' mean variance (of 1 where nothing varies): constant
    pixels, or fewer examples than elements, would else have an unbounded density.
    Below 1,000 examples the variances along the directions are those of examples held out (see
    `Covariance.held_out`): the largest eigenvalues of so few are too large.
    The covariance of discrete data is that of the examples spread over their cells; see
    `pofx.classical.yardstick`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pofx.classical.covariance import DIRECT, Covariance
from pofx.classical.yardstick import BLOCK_BYTES, Dequantized, Exact, Yardstick, moments
from pofx.nn.defaults import few
from pofx.parameters import Count, follows
from pofx.recipe import Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond, Data, PerExample

_FLOOR = 1e-6
_FOLDS = 5
_LOG_2PI = math.log(2 * math.pi)


class _Factors(Yardstick):
    mean: Tensor
    axes: Tensor
    variances: Tensor
    sigma2: Tensor

    def __init__(self, spec: DataSpec, latent: int) -> None:
        super().__init__(spec)
        like = torch.zeros(spec.size, latent, dtype=torch.float64)
        self.register_buffer("mean", like.new_zeros(spec.size))
        self.register_buffer("axes", like.fill_diagonal_(1.0))
        self.register_buffer("variances", like.new_ones(latent))
        self.register_buffer("sigma2", like.new_ones(()))

    @property
    def loadings(self) -> Tensor:
        """W, `(d, k)`."""
        return self.axes * (self.variances - self.sigma2).sqrt()

    def own_bytes(self, n: int) -> int:
        """The covariance and its eigenvectors, or of many elements a few products with it."""
        d, k = self.axes.shape
        columns = d if d <= DIRECT else min(d, 2 * k + 10)
        return 4 * 8 * d * columns + 3 * BLOCK_BYTES

    @torch.no_grad()
    def fit(self, x: Data, cond: Cond | None = None) -> None:
        d, k = self.axes.shape
        self.grouped(x, None, k + 1, f"ppca: --latent {k}", "lower it, or bring more")
        self.observe(x)
        y, noise = self.spread(x)
        (mean, variance), noise = moments(y), moments(noise)[0]
        total = (variance + noise).sum()
        covariance = Covariance(y, mean, noise)
        variances, axes = covariance.leading(k)
        if few(len(y)) and len(y) > 2 * _FOLDS:
            variances = covariance.held_out(k, _FOLDS).sort(descending=True).values
        floor = _FLOOR * torch.where(total > 0, total / d, 1.0)
        sigma2 = torch.maximum((total - variances.sum()) / (d - k), floor)
        self.mean.copy_(mean)
        self.axes.copy_(axes)
        self.variances.copy_(torch.maximum(variances, sigma2))
        self.sigma2.copy_(sigma2)

    def log_density(self, y: Tensor, cond: Cond | None = None) -> PerExample:
        d, k = self.axes.shape
        r = y - self.mean
        along = r @ self.axes
        across = (r - along @ self.axes.T).square().sum(1)
        squares = (along.square() / self.variances).sum(1) + across / self.sigma2
        log_det = self.variances.log().sum() + (d - k) * self.sigma2.log()
        return -0.5 * (squares + log_det + d * _LOG_2PI)

    def draw(self, n: int, cond: Cond | None = None) -> Tensor:
        d, k = self.axes.shape
        noise = torch.randn(n, k + d, dtype=self.mean.dtype, device=self.mean.device)
        z, eps = noise.split([k, d], 1)
        return self.mean + z @ self.loadings.T + self.sigma2.sqrt() * eps

    def encode(self, x: Data, cond: Cond | None = None) -> Tensor:
        """The mean of z given x, `(n, k)`, and over the cells of what is discrete."""
        y = self.spread(x)[0].to(self.mean)
        return ((y - self.mean) @ (self.loadings / self.variances)).to(x.dtype)

    def decode(self, z: Tensor, cond: Cond | None = None) -> Data:
        """The x at the mean, on the real line, given z."""
        return self.to_data(self.mean + z.to(self.mean) @ self.loadings.T)


class PPCA(_Factors, Exact):
    """Exact density of continuous examples, a `Latent` too.

    Args:
        spec: of the examples.
        latent: k, the length of z.

    >>> from pofx.functional.draw import draw
    >>> model = PPCA(DataSpec((3,)), latent=1)
    >>> model.fit(torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.1], [3.0, 6.0, 0.0]]))
    >>> model.encode(torch.tensor([[2.0, 4.0, 0.05]])).shape, draw(model, 2).shape
    (torch.Size([1, 1]), torch.Size([2, 3]))
    """


class DequantizedPPCA(_Factors, Dequantized):
    """Bound of the mass of discrete examples, a `Latent` too; arguments as for `PPCA`."""


def recipe(
    spec: DataSpec,
    *,
    latent: Count = follows(
        "half the number of elements, at most 32", lambda spec: max(1, min(32, spec.size // 2))
    ),
) -> Recipe:
    """Probabilistic PCA, in closed form.

    Args:
        spec: what the data is; two elements at least.
        latent: length of the latent vector, below the number of elements; by default half of that,
            and at most 32.
    """
    if spec.size < 2:
        raise RecipeError(
            "examples must have 2 elements or more, among which to find directions (got 1): use "
            "gmm."
        )
    if latent >= spec.size:
        raise RecipeError(
            f"--latent must be below the {spec.size} elements of an example (got {latent}): give "
            "a smaller one."
        )
    discrete = any(c.discrete for c in spec.columns)
    return Recipe(model=(DequantizedPPCA if discrete else PPCA)(spec, latent))
