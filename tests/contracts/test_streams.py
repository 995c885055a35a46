"""No two seeds, uses or rows share noise."""

import itertools

import numpy as np
import pytest
import torch

from pofx.data.batches import batches
from pofx.data.dataset import Split, Transform, shuffled
from pofx.data.source import load
from pofx.data.toy import examples
from pofx.evaluation.noise_ceiling import uniform_like
from pofx.functional.draw import draw
from pofx.functional.random import noise, stream, streams_of
from pofx.spec import DataSpec
from pofx.training.loop import step_seed

SEEDS = range(51)
ROWS, WIDTH = 64, 32
STILL = torch.arange(ROWS * WIDTH, dtype=torch.float32).view(ROWS, WIDTH)
"""Rows that are all unlike, to be scored."""


class Normal:
    def sample(self, n, cond=None):
        return torch.randn(n, WIDTH)


def keyed(use):
    def drawn(seed):
        with noise(seed, ROWS, use=use):
            return torch.randn(ROWS, WIDTH)

    return drawn


def scored(use):
    def drawn(seed):
        with noise.of(STILL, seed, use=use):
            return torch.randn(ROWS, WIDTH)

    return drawn


def step(seed):
    """The noise of a first step that is not keyed by example."""
    torch.manual_seed(step_seed(seed, 0, 0))
    return torch.randn(ROWS, WIDTH)


def start(seed):
    """What weights begin with."""
    torch.manual_seed(seed)
    return torch.randn(ROWS, WIDTH)


def presented(kind, seed):
    """The uniform numbers that dequantize or binarize a first batch, as standard normals."""
    split = Split(np.zeros((ROWS, WIDTH), np.uint8), transform=Transform(1.0, 0.0, kind))
    stream = batches(split, ROWS, seed=seed)
    u = next(stream).x
    stream.close()
    return u


def dequantized(seed):
    return torch.special.ndtri(presented("uniform", seed).double().clamp(1e-7, 1 - 1e-7)).float()


def binarized(seed):
    """What binarizes examples for good."""
    grey = np.random.default_rng(0).integers(100, 156, (10 * ROWS, WIDTH), dtype=np.uint8)
    bits = load(grey[:, None, :], binarize="sample", seed=seed).train.values()[0]
    return 2 * bits[:ROWS].flatten(1) - 1


USES = {
    "samples": lambda seed: draw(Normal(), ROWS, seed=seed),
    "evaluated samples": lambda seed: draw(Normal(), ROWS, seed=seed, use="evaluate"),
    "pictures": lambda seed: draw(Normal(), ROWS, seed=seed, use="picture"),
    "texts": keyed("continue"),
    "completions": keyed("complete"),
    "edits": keyed("edit"),
    "training": keyed("train"),
    "a step": step,
    "weights": start,
    "toy data": keyed("toy data"),
    "scores": scored("score"),
    "posterior draws": scored("posterior"),
    "codes": scored("encode"),
    "validation": keyed("validation"),
    "dequantization": dequantized,
    "binarization": binarized,
}


def test_no_two_seeds_and_no_two_uses_share_a_row_and_rows_are_uncorrelated():
    whole = torch.cat([USES[use](seed) for use in USES for seed in SEEDS])
    floats = [use for use in USES if use != "binarization"]
    distinct = torch.cat([USES[use](seed)[:8] for use in floats for seed in SEEDS])
    assert len(distinct.unique(dim=0)) == len(distinct)
    each = whole.view(len(USES) * len(SEEDS), ROWS, WIDTH)
    # the same row of any two streams, and a row and the one after it of another
    unit = (each - each.mean(-1, keepdim=True)) / each.std(-1, keepdim=True)
    for shift in (0, 1, 2):
        moved = unit.roll(shift, 1)
        inner = torch.einsum("arw,brw->abr", unit, moved) / WIDTH
        mean = inner.mean(-1)
        if not shift:
            mean.fill_diagonal_(0.0)
        sigma = 1 / (ROWS * WIDTH) ** 0.5
        assert float(mean.abs().max()) < 6 * sigma, shift


@pytest.mark.parametrize("name", ["two-moons", "checkerboard"])
def test_toy_data_of_neighboring_seeds_share_no_example(name):
    sets = [examples(name, seed, 300) for seed in (0, 1, 2, 50)]
    for a, b in itertools.combinations(sets, 2):
        assert len(torch.cat([a, b]).unique(dim=0)) == 600


def test_a_sample_says_nothing_of_toy_data_of_its_seed():
    z = draw(Normal(), 1000, seed=0)[:, :2]
    x = examples("two-moons", 0, 1000)
    r = torch.corrcoef(torch.cat([z, x], 1).T)[:2, 2:]
    assert float(r.abs().max()) < 6 / 1000**0.5


def test_splits_limits_and_epochs_of_a_seed_are_unlike_permutations():
    uses = ("split", "limit", "epoch 0", "epoch 1")
    orders = {(use, seed): shuffled(seed, 200, use) for use in uses for seed in SEEDS}
    for order in orders.values():
        assert sorted(order) == list(range(200))
    ranks = torch.from_numpy(np.stack(list(orders.values()))).double()
    r = torch.corrcoef(ranks).fill_diagonal_(0.0)
    assert float(r.abs().max()) < 6 / 199**0.5


def test_validation_and_test_of_neighboring_seeds_are_drawn_apart():
    x = np.arange(1000, dtype=np.float32)[:, None]
    held = [set(load(x, seed=seed, standardize=False).test.x[:, 0]) for seed in range(6)]
    for a, b in itertools.combinations(held, 2):
        assert len(a & b) < 30, "ten of a hundred are expected"


def test_a_stream_is_named_by_all_that_it_is_for():
    names = [("a", 1, 2), ("a", 12), ("a", 1), ("a", -1), ("b", 1), ("a", 1, 2, 3), ("a", 2, 1)]
    assert len({stream(*name) for name in names}) == len(names)


def test_streams_of_the_first_format_are_kept_for_its_runs():
    with streams_of(1):
        a, b = (draw(Normal(), 6, seed=seed) for seed in (1, 2))
    assert torch.equal(a[1:], b[:-1]), "the fault that its runs were made with"
    assert not torch.equal(a, draw(Normal(), 6, seed=1))


def test_the_noise_ceiling_of_a_seed_is_no_sample_of_it():
    spec = DataSpec((WIDTH,))
    u, z = uniform_like(STILL, spec, seed=0), draw(Normal(), ROWS, seed=0)
    r = torch.corrcoef(torch.stack([u.flatten(), z.flatten()]))[0, 1]
    assert abs(float(r)) < 6 / z.numel() ** 0.5
