r"""Partition: log Z of any energy from both sides, by annealed importance sampling.

The known end of the path is a distribution of independent elements with the data's shares, or
means and standard deviations. Chains move by Gibbs sampling of one element after another where
every element is discrete, and by Hamiltonian Monte Carlo where none is.

From below the estimate holds in expectation whatever the kernel does. From above it does as far as
the samples that the path is walked back from follow the model: the gap between the two tells how
much of either to believe.

References:
    Annealed importance sampling (Neal, 2001). https://arxiv.org/abs/physics/9803008
    Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015),
    section 3. https://arxiv.org/abs/1511.02543
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical as Choice
from torch.distributions import Independent, Normal
from torch.nn.functional import logsigmoid

from pofx.capabilities import Energy, Samples
from pofx.errors import UserError
from pofx.evaluation.calls import device_of, draw_examples, dtype_of
from pofx.functional.dequantize import indices, values
from pofx.functional.draw import evaluating
from pofx.functional.gradients import check_energy, out_of_inference
from pofx.functional.random import seeded, stream
from pofx.functional.unbound import bound, unbound
from pofx.mcmc.ais import Sandwich, ais, reverse_ais, temperatures
from pofx.mcmc.chains import take
from pofx.mcmc.geometric_path import GeometricPath
from pofx.mcmc.gibbs import Kernel, LogDensity, sites
from pofx.mcmc.hmc import hmc
from pofx.spec import DataSpec, Interval
from pofx.typing import Data, PerExample

_C = 1 - 1e-5
"""Keeps the logit of what is bounded within 12.2."""


@out_of_inference
def partition(
    model: Energy,
    spec: DataSpec,
    x: Data,
    *,
    steps: int = 1000,
    chains: int = 100,
    ends: Data | None = None,
    seed: int = 0,
) -> Sandwich:
    """Log Z of a model's energy, in the measure of `spec`: a sum where it is discrete.

    Args:
        model: anything with an energy.
        spec: what the examples are.
        x: examples, `(n, *spec.shape)`, which fix the path's known end.
        steps: temperatures of the path.
        chains: how many.
        ends: samples of the model to walk back from; by default its own.
        seed: of all that is drawn.

    Raises:
        UserError: some elements are discrete and others are not, the model does not sample and no
            `ends` came, there are too few examples, ends or chains, or some are not finite.

    >>> class Unit:
    ...     def energy(self, x): return x[:, 0] ** 2 / 2
    ...     def sample(self, n): return torch.randn(n, 1)
    >>> below, above = partition(Unit(), DataSpec((1,)), 2 * torch.randn(100, 1), steps=100)
    >>> abs(below.log_z - 0.9189) < 0.1 and abs(above.log_z - 0.9189) < 0.1  # log sqrt(2 pi)
    True
    """
    if chains < 2:
        raise UserError(
            f"an estimate of log Z has an error from 2 chains on, and {chains} came; 100 are usual."
        )
    if ends is None:
        if not isinstance(model, Samples):
            raise UserError(
                f"log Z from above is walked back from samples of the model, and "
                f"{type(model).__name__} has no method sample; give some as ends."
            )
        ends = draw_examples(model, chains, seed=seed)
    device, dtype = device_of(model), dtype_of(model)
    x, ends = x.to(device, dtype), ends[:chains].to(device, dtype)
    for what, some in (("examples", x), ("samples of the model", ends)):
        if some.shape[1:] != spec.shape:
            raise UserError(
                f"{what} are of the shape of the data, {spec.shape}, and {tuple(some.shape[1:])} "
                "came; give the spec that the model was built of."
            )
        finite = int(some.flatten(1).isfinite().all(1).sum())
        if finite < max(2, len(some)):
            raise UserError(
                f"an estimate of log Z takes two {what} or more, all of them finite, and "
                f"{len(some)} came, {finite} of them finite; give more, and leave NaN out."
            )
    build = _discrete if spec.support.discrete else _continuous
    with evaluating(model), torch.no_grad(), seeded(stream("partition", seed)):
        path, there, log_scale = build(model, spec, x)
        betas = temperatures(steps)
        both = (ais(path, betas, chains), reverse_ais(path, betas, there(ends)))
    return Sandwich(*(e._replace(log_z=e.log_z + log_scale) for e in both))


_Built = tuple[GeometricPath, Callable[[Data], Tensor], float]
"""A path, how examples lie on it, and the log of the volume of its unit."""


def _discrete(model: Energy, spec: DataSpec, x: Data) -> _Built:
    """A path of indices."""
    columns = spec.columns
    k = torch.stack([indices(c, s) for c, s in zip(x.flatten(1).unbind(1), columns, strict=True)])
    levels = [s.levels for s in columns]
    shares = torch.zeros(len(columns), max(levels), dtype=x.dtype, device=x.device)
    for i, most in enumerate(levels):
        shares[i, :most] = torch.bincount(k[i], minlength=most)[:most] + 0.5
    base = Independent(Choice(shares, validate_args=False), 1, validate_args=False)

    def energy(k: Tensor) -> PerExample:
        parts = [values(c, s) for c, s in zip(k.unbind(1), columns, strict=True)]
        at = torch.stack(parts, 1).to(x).view(-1, *spec.shape)
        return model.energy(at)

    def there(x: Data) -> Tensor:
        parts = zip(x.flatten(1).unbind(1), columns, strict=True)
        return torch.stack([indices(c, s) for c, s in parts], 1)

    kernel = sites([torch.arange(most) for most in levels])
    return GeometricPath(base, energy, kernel), there, 0.0


def _continuous(model: Energy, spec: DataSpec, x: Data) -> _Built:
    """A path of elements on the real line, by their logit where they are bounded, standardised."""
    if any(s.discrete for s in spec.columns):
        raise UserError(
            "log Z is estimated of data that is all discrete or all continuous, and this table has "
            "columns of both; leave out those of one kind."
        )
    c = torch.tensor([_C if isinstance(s, Interval) else 0.0 for s in spec.columns]).to(x)

    def there(x: Data) -> Tensor:
        return (unbound(x.flatten(1), c)[0] - mean) / std

    def energy(y: Tensor) -> PerExample:
        at = mean + std * y
        slope = torch.where(c == 0, 0.0, (0.5 * c).log() - logsigmoid(at) - logsigmoid(-at))
        return check_energy(model.energy(bound(at, c).view(-1, *spec.shape)), y) + slope.sum(1)

    mean, std = torch.zeros_like(c), torch.ones_like(c)
    line = there(x)
    mean, std = line.mean(0), line.std(0).clamp(min=1e-3)
    base = Independent(Normal(0 * mean, std / std, validate_args=False), 1, validate_args=False)
    return GeometricPath(base, energy, _moves(0.2, 5)), there, float(std.log().sum())


def _moves(step: float, leaps: int) -> Kernel:
    """One move of Hamiltonian Monte Carlo."""

    def kernel(y: Tensor, log_f: LogDensity) -> Tensor:
        return take(hmc(lambda y: -log_f(y), y, step, leaps), 1)

    return kernel
