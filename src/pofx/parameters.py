"""parameters: what the keyword arguments of recipes and samplers may be, declared once.

A type carries its range, and help where it means the same everywhere; a group carries parameters
that belong together. `pofx.catalogue` derives flags, checks, help and JSON schemas from both.

Groups are called flat, as on the command line: `pofx.recipe("ddpm", spec, lr=1e-3)` replaces one
field of the recipe's own group and keeps the others. Fields without a default are given by every
recipe; the default of the others means that nothing is done.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Args:
        least: its lower end.
        most: its upper end.
        open: the ends that do not belong to it: `""`, `"("`, `")"` or `"()"`.
    """

    least: float = -math.inf
    most: float = math.inf
    open: Literal["", "(", ")", "()"] = ""

    def holds(self, value: float) -> bool:
        """Returns whether a number lies in the interval.

        >>> Range(0, 1, ")").holds(0), Range(0, 1, ")").holds(1)
        (True, False)
        """
        above = value > self.least if "(" in self.open else value >= self.least
        below = value < self.most if ")" in self.open else value <= self.most
        return above and below

    @property
    def words(self) -> str:
        """The interval in a sentence; empty if every number lies in it.

        >>> Range(1).words, Range(0, 1, "(").words, Range(2, 500).words
        ('at least 1', 'above 0 and at most 1', 'from 2 to 500')
        """
        lower, upper = self.least > -math.inf, self.most < math.inf
        if lower and upper and not self.open:
            return f"from {self.least:g} to {self.most:g}"
        above = f"above {self.least:g}" if "(" in self.open else f"at least {self.least:g}"
        below = f"below {self.most:g}" if ")" in self.open else f"at most {self.most:g}"
        return " and ".join([*([above] if lower else []), *([below] if upper else [])])


def at_least(least: float) -> Range:
    """Returns the numbers from `least` on."""
    return Range(least)


def above(least: float) -> Range:
    """Returns the numbers greater than `least`."""
    return Range(least, open="(")


def between(least: float, most: float, *, without: Literal["", "(", ")", "()"] = "") -> Range:
    """Returns the numbers from `least` to `most`, without the ends that `without` names."""
    return Range(least, most, without)


@dataclass(frozen=True)
class Follows:
    """A default that follows the data or other parameters.

    Args:
        words: the rule, for help pages.
        rule: its arguments are named as what it follows: `spec`, or other parameters.
    """

    words: str
    rule: Callable[..., Any]

    def value(self, known: Callable[[str], Any]) -> Any:
        """Returns the default.

        Args:
            known: gives the value of what the rule names.
        """
        return self.rule(*(known(name) for name in inspect.signature(self.rule).parameters))


def follows(words: str, rule: Callable[..., T]) -> T:
    """Declares a default that follows the data; the catalogue replaces it before it calls a recipe.

    Args:
        words: the rule in words, a literal.
        rule: its arguments are named as what it follows: `spec`, or other parameters.
    """
    return cast("T", Follows(words, rule))


def settled(defaults: Mapping[str, Any], given: Mapping[str, Any], spec: object) -> dict[str, Any]:
    """Returns the value of every parameter: what was given, or the default.

    Args:
        defaults: of all parameters, by name.
        given: of some.
        spec: of the data.

    >>> settled({"a": follows("twice b", lambda b: 2 * b), "b": 1}, {"b": 3}, None)
    {'a': 6, 'b': 3}
    """
    found: dict[str, Any] = {"spec": spec, **given}

    def known(name: str) -> Any:
        if name not in found:
            default = defaults[name]
            found[name] = default.value(known) if isinstance(default, Follows) else default
        return found[name]

    return {name: known(name) for name in defaults}


Count = Annotated[int, at_least(1)]
Whole = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
NonNegative = Annotated[float, at_least(0)]
Fraction = Annotated[float, between(0, 1)]
GridSteps = Annotated[int, between(1, 100_000)]
Share = Annotated[float, between(0, 1, without="(")]
Probability = Annotated[float, between(0, 1, without=")")]
Sizes = Annotated[tuple[int, ...], at_least(1)]

Hidden = Annotated[Sizes, "widths of the hidden layers."]
Latent = Annotated[Count, "numbers in a code."]
Conditional = Annotated[bool, "heed the condition of the data, such as a class, if there is one."]
DropLabel = Annotated[
    float,
    between(0, 1, without="("),
    "how often a label is withheld in training, which guidance and samples of no class need.",
]
SamplingSteps = Annotated[Count, "steps of sampling by default."]
Guidance = Annotated[
    float, "strength of classifier-free guidance when sampling by default; 0 for none."
]
KLWarmup = Annotated[
    Fraction, "share of the budget over which the weight of the KL term rises from 0."
]
FreeBits = Annotated[NonNegative, "nats of each dimension's KL that cost nothing."]
PixelNoise = Annotated[
    bool, "draw gray pixels from p(x | z) when sampling, instead of showing their mean."
]
ByteLikelihood = Annotated[
    Literal["softmax", "logistic"],
    "likelihood of bytes: a softmax over their levels, or a mixture of discretized logistics.",
]
Logistics = Annotated[Count, "logistics in the mixture of a byte, or of a real or bounded element."]
Bound = Annotated[Positive, "largest log-scale of one layer, nats."]
Exact = Annotated[Whole, "largest number of elements for which the density is computed exactly."]
GibbsSteps = Annotated[Count, "Gibbs sweeps in a step."]
Sweeps = Annotated[Count, "Gibbs sweeps to a sample."]
Temperatures = Annotated[
    int, at_least(2), "temperatures of annealed importance sampling, which estimates log Z."
]
Chains = Annotated[int, at_least(2), "chains of annealed importance sampling."]
StepSize = Annotated[Positive, "epsilon, the variance of a Langevin step's noise."]
Order = Annotated[
    Literal["natural", "random"],
    "of the elements: as they stand, an image's pixel by pixel, or random.",
]
Marginals = Annotated[
    bool,
    "add outputs to the log-odds that each bit or category has by itself, so that weight decay "
    "shrinks the model toward independent elements.",
]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training by AdamW.

    Args:
        lr: learning rate.
        batch_size: examples in a step.
        steps: optimizer steps.
        weight_decay: of AdamW, per step and unit of the learning rate.
        beta1: decay rate of Adam's mean gradient.
        beta2: decay rate of Adam's mean squared gradient.
        warmup: steps over which the learning rate rises from 0; at most a tenth of the budget.
        decay: how the learning rate then falls to 0 over the budget.
        clip: largest norm of a gradient; None, the default where none is shown, limits nothing.
        ema: half-life, in steps, of the moving average of the weights that is sampled from; 0 for
            none.
    """

    lr: Positive
    batch_size: Count
    steps: Count
    weight_decay: NonNegative = 0.0
    beta1: Probability = 0.9
    beta2: Probability = 0.999
    warmup: Whole = 0
    decay: Literal["constant", "cosine", "linear"] = "cosine"
    clip: Positive | None = None
    ema: NonNegative = 0.0


@dataclass(frozen=True, kw_only=True)
class GradientDescent:
    """Training by plain gradient descent.

    Args:
        lr: learning rate.
        batch_size: examples in a step, and persistent chains.
        steps: optimizer steps.
        weight_decay: of the weights, not of the biases.
        decay: how the learning rate falls to 0 over the budget.
    """

    lr: Positive
    batch_size: Count
    steps: Count
    weight_decay: NonNegative = 0.0
    decay: Literal["constant", "cosine", "linear"] = "linear"


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """An encoder, and a decoder that mirrors it.

    Args:
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        channels: channels of an image's first convolution; 0 for fully connected networks.
        network: fully connected layers, convolutions of images, or residual blocks of either.
    """

    hidden: Sizes
    channels: Whole
    network: Literal["mlp", "conv", "resnet"]


@dataclass(frozen=True, kw_only=True)
class DenoiserSize:
    """The network of a denoiser.

    Args:
        network: `unet` and `dit` take a vector as a sequence.
        channels: channels of the U-Net at each resolution, the finest first.
        blocks: residual blocks at each resolution of the U-Net; four times as many in the others.
        patch: side of the squares of pixels that are taken as one.
        hidden: width of the others.
    """

    network: Literal["mlp", "unet", "dit"]
    channels: Sizes
    blocks: Count
    patch: Count
    hidden: Count


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """A Transformer.

    Args:
        width: of the vector of an element; a multiple of the heads.
        layers: blocks of attention and a small network.
        heads: of attention in each.
    """

    width: Count
    layers: Count
    heads: Count


GROUPS = {
    g.__name__: g for g in (Training, GradientDescent, EncoderSize, DenoiserSize, TransformerSize)
}
"""All groups by name."""
BARE = ("training", "network")
"""Groups by whose name no flag is prefixed."""
