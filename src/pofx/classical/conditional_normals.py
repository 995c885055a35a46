r"""conditional_normals: p(x | c) of a mixture of normal distributions over conditions and examples.

.. math:: p(x | c) = \frac{\sum_k w_k\, \mathcal{N}((c, x); \mu_k, L_k L_k^\top)}
    {\sum_k w_k\, \mathcal{N}(c; \mu_{k,c}, L_{k,cc} L_{k,cc}^\top)}

Conditions come first, so that the leading block of each triangle L is the root of their own
covariance, and a draw goes on where that block ends:
:math:`x = \mu_x + L_{xc} L_{cc}^{-1} (c - \mu_c) + L_{xx} \epsilon`.

References:
    Pattern recognition and machine learning (Bishop, 2006), eq. 2.81, 2.82 and 2.98.
    Supervised learning from incomplete data via an EM approach (Ghahramani and Jordan, 1994),
    section 3. https://papers.nips.cc/paper/767
    On estimating regression (Nadaraya, 1964), where the components are examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pofx.classical.normals import Normals
from pofx.classical.yardstick import Dequantized, Exact, blocks
from pofx.distributions.mixture import log_normals
from pofx.errors import UserError
from pofx.functional.labels import check_given
from pofx.recipe import RecipeError
from pofx.spec import DataSpec, Mixed, Real
from pofx.typing import Cond, Data, PerExample


class ConditionalNormals(nn.Module):
    """A mixture over conditions and examples, asked about examples given conditions.

    Args:
        spec: of the examples; their condition is a vector of real numbers.
        joint: fitted to vectors of the condition, followed by the example's elements.
    """

    def __init__(self, spec: DataSpec, joint: Normals) -> None:
        super().__init__()
        assert spec.cond is not None
        self.spec, self.joint, self.given = spec, joint, spec.cond.size

    @property
    def conditional(self) -> bool:
        """Whether `cond` is used."""
        return True

    def fit(self, x: Data, cond: Cond | None = None) -> None:
        self.joint.fit(self._together(x, cond))

    def fit_bytes(self, n: int, stored: int) -> int:
        """Bytes that a fit takes beside its examples, which are copied beside their conditions."""
        whole = n * self.joint.spec.size
        return self.joint.fit_bytes(n, whole) + 4 * whole

    @torch.no_grad()
    def sample(self, n: int, cond: Cond | None = None) -> Data:
        c = self._checked(cond).to(self.joint.means)
        share = self._log_weights(c).softmax(1).cumsum(1)
        u = torch.rand(n, 1, dtype=share.dtype, device=share.device)
        index = (share <= u * share[:, -1:]).sum(1).clamp(max=share.shape[1] - 1)
        eps = torch.randn(n, self.spec.size, dtype=share.dtype, device=share.device)
        x = self.joint.to_data(torch.cat([c, self._continued(c, index, eps)], 1))
        return x[:, self.given :].reshape(n, *self.spec.shape)

    def _continued(self, c: Tensor, index: Tensor, eps: Tensor) -> Tensor:
        """The elements on the real line that follow conditions, each by its component."""
        means, roots, d = self.joint.means, self.joint.roots, self.given
        if roots.ndim == 2:
            return means[index, d:] + roots[index, d:] * eps
        y = torch.empty_like(eps)
        for k in index.unique().tolist():
            mine, root = index == k, roots[k]
            z = torch.linalg.solve_triangular(root[:d, :d], (c[mine] - means[k, :d]).T, upper=False)
            y[mine] = means[k, d:] + z.T @ root[d:, :d].T + eps[mine] @ root[d:, d:].T
        return y

    def _log_weights(self, c: Tensor) -> Tensor:
        """Log of w_k N(c; ...), nats, `(n, K)`."""
        means, roots, d = self.joint.means, self.joint.roots, self.given
        own = roots[:, :d] if roots.ndim == 2 else roots[:, :d, :d]
        return self.joint.weights[0].log() + log_normals(c, means[:, :d], own)

    def log_condition(self, cond: Cond) -> PerExample:
        """Log p(c), nats."""
        c, width = cond.to(self.joint.means), len(self.joint.means)
        parts = [self._log_weights(c[rows]).logsumexp(1) for rows in blocks(len(c), width)]
        return torch.cat(parts).to(cond.dtype)

    def _together(self, x: Data, cond: Cond | None) -> Tensor:
        return torch.cat([self._checked(cond).to(x), x.flatten(1)], 1)

    def _checked(self, cond: Cond | None) -> Tensor:
        check_given(cond, self.spec)
        assert cond is not None
        if bool(cond.isnan().any()):
            raise UserError(
                "every number of a condition must be given (got NaN): fill it in, or take ddpm, "
                "which serves conditions that are given in part."
            )
        return cond


class ConditionalDensity(ConditionalNormals):
    """The density of continuous examples; arguments as for `ConditionalNormals`."""

    def log_prob(self, x: Data, cond: Cond | None = None) -> PerExample:
        together = self._together(x, cond)
        assert isinstance(self.joint, Exact)
        return self.joint.log_prob(together) - self.log_condition(together[:, : self.given])


class ConditionalBound(ConditionalNormals):
    """A bound of the mass of discrete examples; arguments as for `ConditionalNormals`."""

    likelihood_detail = "uniform dequantisation"

    def elbo(self, x: Data, cond: Cond | None = None) -> PerExample:
        together = self._together(x, cond)
        assert isinstance(self.joint, Dequantized)
        return self.joint.elbo(together) - self.log_condition(together[:, : self.given])


def given_vector(
    spec: DataSpec, joint: Callable[[DataSpec], Normals]
) -> ConditionalDensity | ConditionalBound:
    """Builds the yardstick of examples given a vector.

    Args:
        spec: of the examples.
        joint: builds the mixture for the spec of conditions and examples together.

    Raises:
        RecipeError: the condition is no vector of real numbers.
    """
    cond = spec.cond
    if cond is None or len(cond.shape) != 1 or any(c != Real() for c in cond.columns):
        raise RecipeError(
            f"the condition must be a class or a vector of real numbers (got {cond}): take maf or "
            "nsf."
        )
    columns = (*cond.columns, *spec.columns)
    support = Real() if all(c == Real() for c in columns) else Mixed(columns)
    both = replace(spec, shape=(len(columns),), support=support, cond=None)
    kind = ConditionalBound if any(c.discrete for c in columns) else ConditionalDensity
    return kind(spec, joint(both))
