"""P(x | c) of vectors given vectors, against the truth: likelihoods, and ranks of simulated data.

    python benchmarks/conditional.py [--recipes maf nsf ...] [--seconds 60] [--seed 0]

Two models whose conditional densities are known: a linear normal one, x = A c + noise with three
numbers given two, and a bimodal one, two numbers near -m(c) or both near m(c). Each recipe is
trained by its defaults on 10,000 pairs for so many seconds of one thread, and the weights of the
lowest loss on 1,000 other pairs are kept. The gap is the mean of the truth's log p(x | c) on 2,000
new pairs less the model's own. The rank of the first number of the true x among 99 draws given the
same c, over 500 pairs, is uniform if the draws are of the right distribution (Talts et al., 2018):
p is that of a chi-square test of ten bins.

The bars: a gap within .03 nats of `maf` and `nsf`, and p >= .01 for `maf`, `nsf`, `flow-matching`
and `ddpm`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from scipy.stats import chisquare
from torch import Tensor

from pofx import catalogue
from pofx.batch import Batch
from pofx.capabilities import Density
from pofx.functional.draw import draw
from pofx.objective import LossObjective
from pofx.spec import DataSpec
from pofx.training.loop import Budget, Training, train

RECIPES = ("maf", "nsf", "flow-matching", "ddpm", "vae", "gan", "gmm", "kde")
EXACT, RANKED = ("maf", "nsf"), ("maf", "nsf", "flow-matching", "ddpm")
TRAIN, HELD, TEST, PAIRS, DRAWS, BINS = 10_000, 1_000, 2_000, 500, 99, 10
LOOKS = 100
"""Steps between two looks at held-out pairs."""
GAP, P = 0.03, 0.01


class Truth(NamedTuple):
    """A model whose conditional density is known.

    Args:
        size: numbers in an example.
        given: numbers in a condition.
        draw: examples given conditions.
        log_prob: log p(x | c), nats.
    """

    size: int
    given: int
    draw: Callable[[Tensor], Tensor]
    log_prob: Callable[[Tensor, Tensor], Tensor]


def normal(mean: Tensor, sd: float) -> torch.distributions.Normal:
    return torch.distributions.Normal(mean, sd)


A = torch.tensor([[0.8, -0.4, 0.3], [0.2, 0.9, -0.5]])


def centre(c: Tensor) -> Tensor:
    return 1.5 + 0.5 * c.sin()


def bimodal(x: Tensor, c: Tensor) -> Tensor:
    m = centre(c).expand_as(x)
    both = torch.stack([normal(s * m, 0.3).log_prob(x).sum(1) for s in (1, -1)])
    return both.logsumexp(0) - math.log(2)


def signs(c: Tensor) -> Tensor:
    return torch.randint(0, 2, c.shape) * 2 - 1


TRUTHS = {
    "linear normal": Truth(
        3, 2,
        lambda c: c @ A + 0.5 * torch.randn(len(c), 3),
        lambda x, c: normal(c @ A, 0.5).log_prob(x).sum(1),
    ),
    "bimodal": Truth(
        2, 1,
        lambda c: signs(c) * centre(c) + 0.3 * torch.randn(len(c), 2),
        bimodal,
    ),
}  # fmt: skip


def pairs(truth: Truth, n: int) -> tuple[Tensor, Tensor]:
    c = torch.randn(n, truth.given)
    return truth.draw(c), c


def fitted(name: str, truth: Truth, seconds: float) -> torch.nn.Module:
    """The recipe, trained on new pairs."""
    spec = DataSpec((truth.size,), cond=DataSpec((truth.given,)), count=TRAIN)
    takes = {p.name for p in catalogue.describe(name).parameters}
    recipe = catalogue.build(
        name, spec, **({"conditional": True} if "conditional" in takes else {})
    )
    x, c = pairs(truth, TRAIN)
    if recipe.objective is None:
        recipe.model.fit(x, c)
        return recipe.model.eval()
    training = Training(recipe)
    held_out, best, kept = Batch(*pairs(truth, HELD)), math.inf, None
    steps = train(training, batches(x, c, recipe.batch_size), Budget(minutes=seconds / 60))
    for step in steps:
        if step.number % LOOKS or not isinstance(training.objective, LossObjective):
            continue
        loss = validation_loss(training, held_out)
        if loss < best:  # as `fit` keeps the best weights
            weights = training.sampled.state_dict()
            best, kept = loss, {k: v.clone() for k, v in weights.items()}
    if kept is not None:
        training.sampled.load_state_dict(kept)
    return training.sampled.eval()


def validation_loss(training: Training, batch: Batch) -> float:
    """The loss on pairs that are not trained on, with the same noise each time."""
    own, training.objective.model = training.objective.model, training.sampled
    training.objective.eval()
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        loss = float(training.objective.loss(batch)[0])
    training.objective.train()
    training.objective.model = own
    return loss


def batches(x: Tensor, c: Tensor, size: int) -> Iterator[Batch]:
    while True:
        rows = torch.randint(len(x), (size,))
        yield Batch(x[rows], c[rows])


def ranks(model: torch.nn.Module, truth: Truth) -> Tensor:
    """How many draws given the same condition are below the true first element, `(PAIRS,)`."""
    x, c = pairs(truth, PAIRS)
    told = c.repeat_interleave(DRAWS, 0)
    drawn = draw(model, len(told), cond=told, seed=5, batch=5000)
    return (drawn[:, 0].view(PAIRS, DRAWS) < x[:, :1]).sum(1)


def measure(name: str, which: str, seconds: float) -> bool:
    """Prints a line; whether its bars are met."""
    truth, start = TRUTHS[which], time.process_time()
    model = fitted(name, truth, seconds)
    spent = time.process_time() - start
    x, c = pairs(truth, TEST)
    gap = None
    if isinstance(model, Density):
        with torch.no_grad():
            gap = float((truth.log_prob(x, c) - model.log_prob(x, c)).mean())
    counts = torch.bincount(ranks(model, truth) * BINS // (DRAWS + 1), minlength=BINS)
    p = float(chisquare(counts.numpy()).pvalue)
    met = (name not in RANKED or p >= P) and (name not in EXACT or abs(gap or 0) <= GAP)
    shown = "      " if gap is None else f"{gap:6.3f}"
    verdict = "" if name not in RANKED else "met" if met else "MISSED"
    print(f"{which:14} {name:14} gap {shown}  p {p:8.3g}  {spent:5.0f} s  {verdict}", flush=True)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    met = True
    for which in TRUTHS:
        for name in asked.recipes:
            torch.manual_seed(asked.seed)
            met &= measure(name, which, asked.seconds)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
