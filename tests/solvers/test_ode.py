"""Solvers against equations with known solutions, and their orders of convergence."""

import math

import pytest
import torch

from pofx.solvers.ode import dormand_prince, dormand_prince_each, rk4

ONE = torch.ones(1, 1, dtype=torch.float64)


def rotate(t, x):
    return x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=x.dtype)


def test_rk4_is_of_fourth_order():
    truth = math.exp(math.sin(2.0))
    errors = [
        abs(rk4(lambda t, x: math.cos(t) * x, ONE, 0.0, 2.0, n).item() - truth) for n in (20, 40)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_dormand_prince_keeps_its_tolerance_both_ways(tolerance):
    x = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    calls = []

    def field(t, x):
        calls.append(t)
        return rotate(t, x)

    end = dormand_prince(field, x, 0.0, 7.0, rtol=tolerance, atol=tolerance)
    turn = torch.tensor([[math.cos(7), math.sin(7)], [-math.sin(7), math.cos(7)]])
    assert (end - x @ turn.double()).abs().max() < 60 * tolerance
    assert len(calls) < (120 if tolerance == 1e-4 else 600)
    back = dormand_prince(rotate, end, 7.0, 0.0, rtol=tolerance, atol=tolerance)
    assert (back - x).abs().max() < 120 * tolerance


def test_its_weights_are_of_fifth_order():
    truth = math.exp(math.sin(1.0))
    errors = []
    for tolerance in (1e-5, 1e-7, 1e-9):
        end = dormand_prince(
            lambda t, x: math.cos(t) * x, ONE, 0.0, 1.0, rtol=tolerance, atol=tolerance
        )
        errors.append(abs(end.item() - truth))
    assert errors[2] < errors[1] < errors[0] < 1e-5


@pytest.mark.parametrize("solve", [dormand_prince, dormand_prince_each])
def test_its_nodes_are_exact_for_powers_of_time(solve):
    """Weights of fifth order integrate t^4, in steps that no error shortens."""
    end = solve(lambda t, x: 5 * t**4 + 0 * x, 0 * ONE, 0.0, 1.0, rtol=1e9, atol=1e9)
    assert end.item() == pytest.approx(1.0, abs=1e-13)


def test_each_equation_goes_its_way_as_if_it_were_alone():
    """Also where a step is rejected, after which one starts again from the slope that one had."""
    rates = torch.tensor([[0.1], [3.0], [80.0]], dtype=torch.float64)
    taken = []

    def field(t, x, rate):
        taken.append(1)
        return rate * (1 - x) * x

    start = torch.full((3, 1), 0.01, dtype=torch.float64)
    together = dormand_prince_each(lambda t, x: field(t, x, rates), start, 0.0, 1.0)
    for i in range(3):
        taken.clear()
        alone = dormand_prince(lambda t, x, i=i: field(t, x, rates[i]), start[i : i + 1], 0.0, 1.0)
        assert together[i].item() == pytest.approx(alone.item(), abs=1e-9)
        truth = 1 / (1 + 99 * math.exp(-float(rates[i])))
        assert alone.item() == pytest.approx(truth, abs=1e-4)
    assert len(taken) > 60  # the last is steep


def test_gradients_go_through():
    x = ONE.clone().requires_grad_()
    for end in (rk4(lambda t, x: x, x, 0.0, 1.0, 50), dormand_prince(lambda t, x: x, x, 0.0, 1.0)):
        (slope,) = torch.autograd.grad(end.sum(), x)
        assert slope.item() == pytest.approx(math.e, rel=1e-4)


def test_it_gives_up_on_what_explodes():
    with pytest.raises(RuntimeError, match="not solved"):
        dormand_prince(lambda t, x: x * x, ONE, 0.0, 2.0, most=200)


def test_an_equation_that_is_not_finite_is_given_up_at_once():
    asked = []

    def field(t, x):
        asked.append(t)
        return torch.where(x > 1.5, torch.nan, x)

    with pytest.raises(RuntimeError, match="not finite"):
        dormand_prince_each(field, torch.ones(3, 1), 0.0, 1.0)
    assert len(asked) < 300
