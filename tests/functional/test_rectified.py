"""A network with rectifiers as one step of autograd against the network written out in float64."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from pofx.functional import products
from pofx.functional.rectified import rectified

ROWS, WIDTHS = 40, (3, 8, 6, 5)


def operands(frozen=()):
    """An input, transposed in memory as a flow has it, then weights and biases in turn."""
    torch.manual_seed(0)
    shapes = [s for a, b in pairwise(WIDTHS) for s in ((b, a), (b,))]
    values = [torch.randn(WIDTHS[0], ROWS).t(), *(torch.randn(s) for s in shapes)]
    return [v.requires_grad_(i not in frozen) for i, v in enumerate(values)]


def ours(x, *parameters):
    return rectified(x, list(zip(parameters[::2], parameters[1::2], strict=True)))


def written_out(x, *parameters):
    *hidden, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
    for w, b in hidden:
        x = F.linear(x, w, b).relu()
    return F.linear(x, weight, bias).t()


def derivatives(f, values):
    """The output, the first gradients, and the gradients of a sum of functions of those."""
    wanted = [v for v in values if v.requires_grad]
    y = f(*values)
    first = torch.autograd.grad(y.sin().sum(), wanted, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted)
    return y, *first, *second


def double(values):
    return [v.detach().double().requires_grad_(v.requires_grad) for v in values]


@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (0, 3, 6)], ids=str)
def test_values_and_two_derivatives_are_those_written_out(frozen):
    values = operands(frozen)
    true = derivatives(written_out, double(values))
    for a, b in zip(derivatives(ours, values), true, strict=True):
        assert torch.allclose(a.double(), b, atol=2e-5 * b.detach().abs().max().item())


def test_gradients_without_a_graph_are_the_same_and_leave_what_came_as_it_was():
    values = operands()
    gradient = torch.randn(WIDTHS[-1], ROWS)
    kept = gradient.clone()
    found = torch.autograd.grad(ours(*values), values, gradient)
    true = torch.autograd.grad(written_out(*values), values, gradient)
    assert torch.equal(gradient, kept)
    for a, b in zip(found, true, strict=True):
        assert torch.allclose(a, b, atol=1e-5 * b.detach().abs().max().item())


def test_onednn_gives_the_same(monkeypatch):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("there is no oneDNN")
    monkeypatch.setattr(products, "_wide", lambda: True)
    monkeypatch.setattr(products, "LEAST", 1)
    values = operands()
    true = derivatives(written_out, double(values))
    for a, b in zip(derivatives(ours, values), true, strict=True):
        assert torch.allclose(a.double(), b, atol=2e-5 * b.detach().abs().max().item())


def test_transforms_of_functions_and_lower_precision_are_torchs():
    values = [v.detach() for v in operands()]
    x, *parameters = values
    way = torch.randn_like(x)
    found, true = (
        torch.func.jvp(lambda x, f=f: f(x, *parameters), (x,), (way,))[1]
        for f in (ours, written_out)
    )
    assert torch.allclose(found, true, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(*operands()).dtype is torch.float32
