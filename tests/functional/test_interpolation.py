"""Curves between codes."""

import math

import torch

from pofx.functional.interpolation import between, traversal


def test_an_arc_keeps_its_distance_and_its_pace():
    a = torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64)
    b = 3 * torch.tensor([math.cos(2.0), math.sin(2.0), 0.0], dtype=torch.float64)
    curve = between(a, b, 9)
    assert torch.allclose(curve.norm(dim=1), torch.full((9,), 3.0, dtype=torch.float64))
    steps = (curve[1:] * curve[:-1]).sum(1) / 9
    assert torch.allclose(steps.acos(), torch.full((8,), 0.25, dtype=torch.float64))
    assert torch.allclose(curve[0], a)
    assert torch.allclose(curve[-1], b)


def test_an_arc_between_codes_of_unequal_length():
    """sin((1 - t) w) a / sin w + sin(t w) b / sin w, and w the angle, here 1."""
    a = torch.tensor([2.0, 0.0], dtype=torch.float64)
    b = 3 * torch.tensor([math.cos(1.0), math.sin(1.0)], dtype=torch.float64)
    for there, back in ((a, b), (b, a)):
        quarter = (math.sin(0.75) * there + math.sin(0.25) * back) / math.sin(1.0)
        assert torch.allclose(between(there, back, 5)[1], quarter)


def test_a_line_is_straight_and_replaces_an_arc_that_is_none():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([-2.0, -4.0])
    assert torch.allclose(between(a, b, 4, "linear")[1], torch.tensor([0.0, 0.0]), atol=1e-6)
    assert torch.equal(between(a, b, 4), between(a, b, 4, "linear"))
    assert torch.equal(between(a, a, 3), a.expand(3, 2))
    assert between(torch.zeros(2), b, 3).isfinite().all()


def test_codes_of_any_shape_are_one_vector_each():
    a, b = torch.randn(2, 3, 4, 4).unbind(0)
    flat = between(a.flatten(), b.flatten(), 5)
    assert torch.allclose(between(a, b, 5).flatten(1), flat, atol=1e-6)


def test_a_traversal_moves_one_coordinate_at_a_time():
    z, spread = torch.randn(4), torch.rand(4)
    offsets = torch.tensor([-1.0, 0.0, 2.0])
    moved = traversal(z, [2, 0], spread, offsets) - z
    assert torch.allclose(moved[0, :, 2], offsets * spread[2])
    assert torch.allclose(moved[1, :, 0], offsets * spread[0])
    moved[0, :, 2] = moved[1, :, 0] = 0
    assert not moved.any()
