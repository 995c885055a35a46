"""Products by oneDNN against torch's own, with all their derivatives."""

import pytest
import torch
import torch.nn.functional as F

from pofx.functional import products
from pofx.functional.products import linear, linear_relu

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="there is no oneDNN"
)
WIDE = products._wide.__wrapped__  # what the fixture below stands in for
SHAPES = [(160, 128, 144), (8, 20, 128, 144), (300, 100, 80)]


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """As on a processor with wide registers; counts the products that oneDNN made."""
    made = []
    product = products._product
    monkeypatch.setattr(products, "_wide", lambda: True)
    monkeypatch.setattr(products, "_product", lambda *a: made.append(a) or product(*a))
    return made


def operands(shape, *, grad=True):
    torch.manual_seed(0)
    *rows, inputs, outputs = shape
    x, weight, bias = torch.randn(*rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    return tuple(v.requires_grad_(grad) for v in (x, weight, bias))


def close(found, true):
    return all(
        torch.allclose(a, b.to(a), atol=1e-5 * b.abs().max().item(), rtol=0)
        for a, b in zip(found, true, strict=True)
    )


def twice(f, tensors):
    """Values, gradients, and gradients of the gradients' length."""
    y = f(*tensors)
    first = torch.autograd.grad(y.sin().sum(), tensors, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), tensors)
    return y, *first, *second


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_two_derivatives_are_those_of_float64(asked, shape, biased):
    single = operands(shape)[: 3 if biased else 2]
    double = tuple(v.detach().double().requires_grad_() for v in single)
    assert close(twice(linear, single), twice(F.linear, double))
    assert len(asked) >= 6


def test_a_transposed_operand_and_a_frozen_one(asked):
    x, weight, bias = operands((160, 128, 144))
    flipped = weight.detach().t().contiguous().t()
    (found,) = torch.autograd.grad(linear(x, flipped, bias).square().sum(), x)
    (true,) = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), x)
    assert close([found], [true])
    assert len(asked) == 2


def test_the_positive_part(asked):
    single = operands((160, 128, 144))
    true = F.linear(*single).relu()
    assert close([linear_relu(*single)], [true])
    with torch.no_grad():
        assert close([linear_relu(*single)], [true])
    assert [a[3:] for a in asked] == [(), ("relu",)]


def test_transforms_of_functions_are_torchs(asked):
    x, weight, bias = operands((160, 128, 144), grad=False)
    way = torch.randn_like(x)

    def f(x, product):
        return product(x, weight, bias).square().sum()

    jvp, each = (
        [transform(lambda v, p=p: f(v, p)) for p in (linear, F.linear)]
        for transform in (
            lambda f: torch.func.jvp(f, (x,), (way,))[1],
            lambda f: torch.func.vmap(torch.func.grad(f))(x),
        )
    )
    assert jvp[0] == jvp[1] != 0
    assert torch.equal(*each)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, way)
        tangent = torch.autograd.forward_ad.unpack_dual(f(dual, linear)).tangent
    assert tangent == jvp[0]
    assert not asked


def test_what_stays_with_torch(asked):
    x, weight, bias = operands((160, 128, 144), grad=False)
    linear(x[:4], weight, bias)
    linear(x.double(), weight.double(), bias.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype is torch.bfloat16
    assert not asked


def test_intels_own_processors_keep_mkl(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name, wide in {"Intel Xeon": False, "AMD EPYC": True, "": True}.items():
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda n=name: {"cpu_name": n})
        assert WIDE() is wide
