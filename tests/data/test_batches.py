import threading
from contextlib import closing
from itertools import islice

import numpy as np
import pytest
import torch

from pofx.data import Split, batches, limits, load
from pofx.data.dataset import Transform
from pofx.errors import UserError


def numbered(n=10, **fields):
    return Split(
        np.arange(n, dtype=np.float32)[:, None], np.arange(n, dtype=np.int64) % 3, **fields
    )


def first(count, split, size, **options):
    with closing(batches(split, size, **options)) as stream:
        return [(batch.x, batch.cond) for batch in islice(stream, count)]


def order(*args, **options):
    return torch.cat([x[:, 0] for x, _ in first(*args, **options)]).int().tolist()


def test_every_example_comes_once_an_epoch_and_epochs_differ():
    entries = order(15, numbered(10), 4)  # 60 entries: batches straddle epochs
    epochs = [entries[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(e) == list(range(10)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 6


def test_a_batch_may_hold_several_epochs():
    assert sorted(order(1, numbered(3), 9)) == sorted([0, 1, 2] * 3)


@pytest.mark.parametrize("step", [1, 7, 40, 1000])
def test_starting_at_a_step_is_skipping_the_batches_before_it(step):
    split = numbered(23)
    assert order(3, split, 4, step=step) == order(step + 3, split, 4)[4 * step :]


def test_the_seed_fixes_the_order_and_no_pair_of_seed_and_epoch_shares_one():
    split = numbered(50)
    assert order(2, split, 25, seed=5) == order(2, split, 25, seed=5)
    orders = [
        tuple(order(2, split, 25, seed=seed, step=2 * epoch))
        for seed in range(4)
        for epoch in range(4)
    ]
    assert len(set(orders)) == 16


def test_processes_have_disjoint_shares_whose_union_is_the_batch():
    split = numbered(24, transform=Transform(1 / 24, 0.0, "bernoulli"))
    whole = first(6, split, 12, seed=1)
    shares = [first(6, split, 12, seed=1, rank=r, world=3) for r in range(3)]
    for step, (x, y) in enumerate(whole):
        assert torch.equal(x, torch.cat([s[step][0] for s in shares]))
        assert torch.equal(y, torch.cat([s[step][1] for s in shares]))
        assert all(len(s[step][0]) == 4 for s in shares)


def test_labels_belong_to_their_examples():
    for x, y in first(8, numbered(10), 4):
        assert y.dtype == torch.int64
        assert torch.equal(x[:, 0].long() % 3, y)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_batch_stays_what_it_is_while_others_are_made(kind):
    split = Split(np.arange(64, dtype=kind).reshape(16, 4))
    kept = first(40, split, 8)
    again = [x.clone() for x, _ in first(40, split, 8)]
    assert all(torch.equal(x, y) for (x, _), y in zip(kept, again, strict=True))


def test_dynamic_binarisation_draws_anew_with_the_pixel_as_the_probability():
    split = load("digits", binarize="dynamic", limit=40).train
    with closing(batches(split, len(split))) as stream:
        epochs = [sorted_by(split, *pair) for pair in zip(range(120), stream, strict=False)]
    x = torch.stack(epochs)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = torch.from_numpy(split.x / 16.0).float()
    z = (x.mean(0) - p) / ((p * (1 - p)).clamp(min=1e-9) / 120).sqrt()
    assert float(z[(p > 0) & (p < 1)].abs().max()) < 5.5
    assert torch.equal(x.mean(0)[(p == 0) | (p == 1)], p[(p == 0) | (p == 1)])


def sorted_by(split, epoch, batch):
    """The epoch's examples in the order of the split."""
    index = order(
        1, Split(np.arange(len(split), dtype=np.float32)[:, None]), len(split), step=epoch
    )
    x = torch.empty_like(batch.x)
    x[index] = batch.x
    return x


def test_dequantised_values_stay_in_their_cells():
    split = load("digits", dequantize=True, limit=30).train
    x, _ = first(1, split, len(split))[0]
    index = order(1, Split(np.arange(len(split), dtype=np.float32)[:, None]), len(split))
    k = torch.from_numpy(split.x[index]).double()
    cell = (x.double() + 1) * 17 / 2 - k
    assert float(cell.min()) > -1e-5
    assert float(cell.max()) < 1 + 1e-5
    assert float(cell.std()) == pytest.approx(12**-0.5, rel=0.05)


def test_closing_ends_the_background_thread():
    before = threading.active_count()
    stream = batches(numbered(), 2)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("n", "size", "world", "said"),
    [
        (10, 0, 1, "multiple"),
        (10, 5, 2, "multiple of 2"),
        (0, 4, 1, "no examples"),
        (10, limits.MEMORY_BYTES, 1, "smaller batch"),
    ],
)
def test_a_batch_that_cannot_be(n, size, world, said):
    with pytest.raises(UserError, match=said):
        batches(numbered(n), size, world=world)
