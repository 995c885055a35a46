"""One example, one score: 40 equal examples under every recipe with a score, on every kind of data.

    python benchmarks/equal_examples.py

Models have taken two steps. Each of their scores, and each code, must be one value for the equal
examples: alone, among others, in another order and in batches of another size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contracts"))

from test_equal_examples import everywhere, trained
from zoo import CASES, SPECS, examples

from pofx.capabilities import Latent
from pofx.evaluation import latent
from pofx.evaluation.anomaly import Scorer, kinds

BAR = 1e-5
EQUAL = 40


def apart(values):
    """The largest difference from the first value, relative to it."""
    values = values.flatten(1) if values.ndim > 1 else values[:, None]
    return float((values - values[0]).abs().amax() / values[0].abs().amax().clamp(min=1e-3))


def main():
    torch.set_num_threads(1)
    worst, count = 0.0, 0
    for name, kind in CASES:
        torch.manual_seed(0)
        model, (x, _) = trained(name, kind), examples(SPECS[kind], 70, seed=5)
        found = {}
        for score in kinds(model):
            scorer = Scorer(model, SPECS[kind], x[10:], score)
            found[score] = apart(everywhere(lambda x, b, s=scorer: s(x, batch=b), x, EQUAL))
        if isinstance(model, Latent):
            encoded = everywhere(lambda x, _, m=model: latent.encode(m, x), x, EQUAL)
            found["codes"] = apart(encoded)
        if found:
            count += len(found)
            worst = max(worst, *found.values())
            told = ", ".join(f"{k} {v:.1e}" for k, v in found.items())
            print(f"{name:15s} {kind:10s} {told}", flush=True)
    print(
        f"{count} scores; worst {worst:.1e}, bar {BAR:.0e}: {'met' if worst <= BAR else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
