r"""conditionals: the likelihood of one element given those before it, chosen by its support.

Bits, bytes and categories have the heads of every other family. What comes before often leaves
several values of a real number open, so it gets a mixture of logistics,

.. math:: p(x) = \sum_k \pi_k \frac{\sigma(z_k) \sigma(-z_k)}{s_k}, \qquad
    z_k = \frac{x - \mu_k}{s_k},

each confined to [-1, 1] and normalised there where x is: an exact density on its support.

References:
    RNADE: the real-valued neural autoregressive density-estimator (Uria et al., 2013), mixtures for
    real elements.
    https://arxiv.org/abs/1306.0186
    PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and other
    modifications (Salimans et al., 2017), eq. 1: of logistics.
    https://arxiv.org/abs/1701.05517
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pofx.distributions.heads import CategoricalHead, Head, head
from pofx.distributions.logistic_mixture import LogisticMixtureHead
from pofx.functional.dequantize import indices, relax, relaxed_shape, values
from pofx.spec import Bytes, DataSpec, Interval, Real, Simple
from pofx.typing import Data, PerExample

Grey = Literal["softmax", "logistic"]
"""How bytes are distributed."""


class Component(Protocol):
    """A density of one number, elementwise.

    Its means start spread over [-reach, reach].
    """

    reach: float

    def log_prob(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Log p(x), nats."""
        ...

    def sample(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        """One draw for each mean."""
        ...


class Logistic:
    """The logistic density on the real line."""

    reach = 2.0

    def log_prob(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        z = (x - mean) * torch.exp(-log_scale)
        return logsigmoid(z) + logsigmoid(-z) - log_scale

    def sample(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        return mean + log_scale.exp() * _uniform(mean).logit()


class TruncatedLogistic:
    """The logistic density confined to [-1, 1]; its mean may lie far outside.

    >>> x = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    >>> p = TruncatedLogistic().log_prob(x, x * 0 + 7, x * 0 - 1).exp()
    >>> round(torch.trapezoid(p, x).item(), 5)
    1.0
    """

    reach = 1.0

    def log_prob(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        low, high = _ends(mean, log_scale)
        inside = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(low - high))
        return Logistic().log_prob(x, mean, log_scale) - inside

    def sample(self, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Inverts the distribution function by its logarithm and that of its complement."""
        u, (low, high) = _uniform(mean), _ends(mean, log_scale)
        below = torch.logaddexp(torch.log1p(-u) + logsigmoid(low), u.log() + logsigmoid(high))
        above = torch.logaddexp(torch.log1p(-u) + logsigmoid(-low), u.log() + logsigmoid(-high))
        return (mean + log_scale.exp() * (below - above)).clamp(-1, 1)


def _uniform(like: Tensor) -> Tensor:
    return torch.rand_like(like).clamp(1e-6, 1 - 1e-6)


def _ends(mean: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of [-1, 1] in units of the scale."""
    inverse = torch.exp(-log_scale)
    return (-1 - mean) * inverse, (1 - mean) * inverse


class MixtureHead(nn.Module):
    """A mixture for one element, by the weight, mean and log-scale of each component.

    Args:
        component: its kind.
        components: how many; they start side by side over the component's reach.
    """

    centers: Tensor

    def __init__(self, component: Component, components: int) -> None:
        super().__init__()
        self.component, self.channels = component, 3 * components
        self.log_width = math.log(component.reach / components)
        outermost = component.reach * (1 - 1 / components)
        centers = torch.linspace(-outermost, outermost, components)
        self.register_buffer("centers", centers, persistent=False)

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        logits, mean, log_scale = self._split(parameters)
        each = self.component.log_prob(x, mean, log_scale)
        return (logits.log_softmax(1) + each).logsumexp(1)

    def sample(self, parameters: Tensor) -> Data:
        logits, mean, log_scale = self._split(parameters)
        k = torch.multinomial(logits.softmax(1), 1)
        return self.component.sample(mean.gather(1, k), log_scale.gather(1, k))

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, log_scale = parameters.chunk(3, 1)
        return logits, mean + self.centers, (log_scale + self.log_width).clamp(-7, 3)


def conditional(support: Simple, components: int) -> Head | MixtureHead:
    """The likelihood of one element, `(n, 1)`, from parameters `(n, channels)`.

    >>> from pofx.spec import Categorical
    >>> conditional(Categorical(5), 10).channels, conditional(Real(), 10).channels
    (5, 30)
    """
    match support:
        case Real():
            return MixtureHead(Logistic(), components)
        case Interval():
            return MixtureHead(TruncatedLogistic(), components)
    return head(DataSpec((1,), support))


class LevelsHead(Head):
    """A softmax over the levels of each byte, which knows nothing of their order.

    References:
        Pixel recurrent neural networks (van den Oord et al., 2016), section 2.2.
        https://arxiv.org/abs/1601.06759
    """

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__(shape, levels * shape[0])
        self.support, self.categories = Bytes(levels), CategoricalHead(shape, levels)

    def log_prob(self, parameters: Tensor, x: Data) -> PerExample:
        return self.categories.log_prob(parameters, indices(x, self.support))

    def sample(self, parameters: Tensor) -> Data:
        return self._values(self.categories.sample(parameters))

    def mean(self, parameters: Tensor) -> Data:
        return self._values(self.categories.mean(parameters))

    def _values(self, k: Tensor) -> Data:
        return values(k, self.support).to(k.dtype)


def element_head(spec: DataSpec, grey: Grey, components: int) -> Head | MixtureHead:
    """The likelihood of one element, of which all are of one kind.

    Args:
        spec: of the data.
        grey: how bytes are distributed.
        components: of the mixture of bytes, real or bounded elements.

    >>> element_head(DataSpec((1, 8, 8), Bytes(17)), "softmax", 10).channels
    17
    """
    support = spec.columns[0]
    if not isinstance(support, Bytes):
        return conditional(support, components)
    if grey == "softmax":
        return LevelsHead((1,), support.levels)
    return LogisticMixtureHead((1,), support.levels, components)


class Conditionals(nn.Module):
    """The likelihood of every element of an example, each from parameters of its own.

    Args:
        spec: of the data; an image is taken as a vector.
        components: of the mixture of a real or bounded element.

    Attributes:
        inputs: how many numbers each element is seen as: a category is a one-hot vector.
        outputs: how many parameters each element has; they stand side by side.

    >>> from pofx.spec import Categorical, Mixed
    >>> Conditionals(DataSpec((2,), Mixed((Real(), Categorical(3)))), 5).outputs
    [15, 3]
    """

    def __init__(self, spec: DataSpec, components: int = 10) -> None:
        super().__init__()
        self.spec = spec
        supports = list(dict.fromkeys(spec.columns))
        heads = [conditional(s, components) for s in supports]
        self.group = [supports.index(s) for s in spec.columns]
        self.inputs = [relaxed_shape(DataSpec((1,), s))[0] for s in spec.columns]
        self.outputs = [heads[g].channels for g in self.group]
        group = torch.tensor(self.group)
        owner = group.repeat_interleave(torch.tensor(self.outputs))
        self.alike = nn.ModuleList(_Alike(h, group == g, owner == g) for g, h in enumerate(heads))

    def seen(self, x: Data) -> Tensor:
        """Examples as numbers that a network sees: `(n, sum(inputs))`."""
        return relax(x, self.spec).flatten(1)

    def log_prob(self, parameters: Tensor, x: Data, known: Tensor | None = None) -> PerExample:
        """Log p of the elements that are known, or else of all, from the parameters of all
        elements; nats.
        """
        weights = None if known is None else known.flatten()
        return torch.stack([a(parameters, x.flatten(1), weights) for a in self.alike]).sum(0)

    def sample(self, element: int, parameters: Tensor) -> Tensor:
        """Draws one element, `(n, 1)`, from its own parameters."""
        own: _Alike = self.alike[self.group[element]]  # type: ignore[assignment]
        return own.head.sample(parameters)

    def seen_alone(self, element: int, x: Tensor) -> Tensor:
        """One element, `(n, 1)`, as numbers that a network sees."""
        return relax(x, DataSpec((1,), self.spec.columns[element]))


class _Alike(nn.Module):
    """The elements of one support: they become rows, so that one head serves them all at once.

    Args:
        own: their likelihood.
        elements: which elements they are.
        columns: which parameters are theirs.
    """

    elements: Tensor
    columns: Tensor

    def __init__(self, own: Head | MixtureHead, elements: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.head = own
        self.register_buffer("elements", elements.nonzero()[:, 0], persistent=False)
        self.register_buffer("columns", columns.nonzero()[:, 0], persistent=False)

    def forward(self, parameters: Tensor, x: Tensor, known: Tensor | None = None) -> PerExample:
        own = parameters.index_select(1, self.columns).reshape(-1, self.head.channels)
        each = self.head.log_prob(own, x.index_select(1, self.elements).reshape(-1, 1))
        each = each.view(len(x), -1)
        return (each if known is None else each * known[self.elements]).sum(1)
