"""A step by shapes alone takes no memory, and finds what a real step takes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pofx.batch import Batch
from pofx.objective import LossObjective
from pofx.training.dry_run import META, DryRun, Meter, TooLarge, take_step, without_numbers


class Layer(LossObjective):
    """A linear layer, and the sum of its outputs for a loss."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.model = nn.Linear(inputs, outputs)

    def loss(self, batch):
        return self.model(batch.x).sum(), {}


@pytest.mark.parametrize("block", [Meter, DryRun])
def test_a_layer_takes_its_outputs(block):
    x, layer = torch.ones(1000, 20), nn.Linear(20, 30)
    with block() as meter:
        y = layer(x)
        z = F.relu(y)
        assert meter.live == meter.peak == 2 * 4 * 1000 * 30  # a view of the weight is not new
        del y
        assert meter.live == 4 * 1000 * 30  # autograd needs the result of relu, not what went in
        del z
    assert meter.live == 0


@pytest.mark.parametrize("n", [1, 100])
def test_a_step_by_shapes_alone_takes_what_it_takes_in_earnest(n):
    dry, real = Layer(20, 30), Layer(20, 30)
    without_numbers(dry)
    with Meter() as taken:
        take_step(real, Batch(torch.ones(n, 20)))
    with DryRun() as found:
        take_step(dry, Batch(torch.ones(n, 20, device=META)))
    assert found.peak == taken.peak
    gradients, outputs = 4 * (30 * 20 + 30), 4 * n * 30
    assert max(gradients, outputs) < found.peak < 2 * (gradients + outputs)
    assert found.live == 0


def test_attention_keeps_no_square_of_the_length():
    q = torch.empty(1, 1, 20_000, 8, device=META)
    with DryRun() as meter:
        F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert meter.peak < 2 * 20_000 * 8 * 4


def test_small_tensors_keep_their_numbers_and_large_ones_none():
    with DryRun() as meter:
        order, noise = torch.randperm(10), torch.randn(10**6, 10**6)
        assert sorted(order.tolist()) == list(range(10))
        mixed = noise[:10] * order[:, None]
        order[:] = torch.ones(10, device=META)
    assert noise.device == mixed.device == META
    assert order.device.type == "cpu"
    assert meter.live == 4 * 10**12 + 8 * 10 + 4 * 10**7


def test_a_ceiling_is_not_passed():
    with pytest.raises(TooLarge), DryRun(ceiling=1e9):
        nn.Linear(10**5, 10**4)
