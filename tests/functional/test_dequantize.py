"""Dequantisation bounds the mass; relaxation comes back."""

import math

import pytest
import torch

from pofx.functional.dequantize import (
    dequantize,
    harden,
    indices,
    log_cell,
    middle,
    quantize,
    relax,
    relaxed_shape,
    values,
)  # fmt: skip
from pofx.spec import Binary, Bytes, Categorical, DataSpec, Interval, Mixed, Real

SPECS = [
    DataSpec((3,), Binary()),
    DataSpec((2, 4, 3), Bytes(256)),
    DataSpec((5,), Categorical(7)),
    DataSpec((4,), Mixed((Real(), Categorical(3), Binary(), Bytes(5)))),
]


def data(spec, n=500):
    columns = []
    for support in spec.columns:
        if support.discrete:
            columns.append(values(torch.randint(support.levels, (n,)), support))
        else:
            columns.append(torch.randn(n))
    return torch.stack(columns, 1).reshape(n, *spec.shape)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_ways_come_back(spec):
    x = data(spec)
    y = dequantize(x, spec)
    assert torch.equal(quantize(y, spec), x)
    relaxed = relax(x, spec)
    assert relaxed.shape[1:] == relaxed_shape(spec)
    assert torch.equal(harden(relaxed, spec), x)
    noisy = relaxed + 1e-3 * torch.randn_like(relaxed)
    discrete = torch.tensor([c.discrete for c in spec.columns]).reshape(spec.shape)
    assert torch.equal(harden(noisy, spec)[:, discrete], x[:, discrete])


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_spec_survives_json(spec):
    assert DataSpec.from_json(spec.to_json()) == spec


def test_a_uniform_density_bounds_a_uniform_mass_exactly():
    spec = DataSpec((6,), Bytes(8))
    log_density = -6 * math.log(2)
    assert log_density + log_cell(spec) == pytest.approx(-6 * math.log(8))


def test_levels_are_evenly_spaced_over_the_interval():
    v = values(torch.arange(5), Bytes(5))
    assert torch.allclose(v, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    assert torch.equal(indices(v, Bytes(5)), torch.arange(5))


def test_what_is_continuous_passes():
    x = torch.randn(4, 2)
    assert torch.equal(dequantize(x, DataSpec((2,), Real())), x)
    assert log_cell(DataSpec((2,), Interval())) == 0
    assert quantize(torch.tensor([[3.0]]), DataSpec((1,), Interval())).item() == 1


def test_the_middle_of_a_cell_is_quantised_to_its_value():
    spec = DataSpec((3,), Mixed((Real(), Categorical(4), Binary())))
    x = torch.tensor([[0.3, 3.0, 1.0], [-2.0, 0.0, 0.0]])
    y = middle(x, spec)
    assert torch.allclose(y, torch.tensor([[0.3, 0.75, 0.5], [-2.0, -0.75, -0.5]]))
    assert torch.equal(quantize(y, spec), x)


def test_the_cells_of_a_table_count_each_column():
    columns = (Real(), Categorical(3), Categorical(3), Bytes(5), Binary(), Interval())
    assert log_cell(DataSpec((6,), Mixed(columns))) == pytest.approx(math.log(4 / 9 * 2 / 5))
    assert log_cell(DataSpec((2, 3, 4), Bytes(5))) == pytest.approx(24 * math.log(2 / 5))
    assert log_cell(DataSpec((3,), Real())) == 0
