"""Gradients that are applied where they are against the same ones laid out in one tensor."""

import copy

import pytest
import torch
from torch import nn

from pofx.recipe import SGD, Adam
from pofx.training.flat import Flat

OPTIMIZERS = [Adam(1e-2), Adam(1e-2, weight_decay=0.1), SGD(0.1), SGD(0.1, 0.9), SGD(0.1, 0.0, 0.1)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False))


def gradients(flat, step, layout=lambda g: g):
    torch.manual_seed(100 + step)
    return tuple(layout(torch.randn_like(p)) for p in flat.parameters)


def reached(recipe, give, steps=4):
    """The weights after some steps, and the norms of the gradients."""
    module = network()
    flat = Flat(module)
    optimizer, norms = recipe.build([flat.parameter]), []
    for step in range(steps):
        give(flat, step)
        norms.append(flat.norm())
        flat.step(optimizer)
    assert [p.data_ptr() for p in module.parameters()] == [p.data_ptr() for p in flat.parameters]
    return [*module.parameters()], torch.stack(norms), optimizer.state[flat.parameter]


def bare(recipe, steps=4):
    """The same by the optimizer over the parameters as they are."""
    module = network()
    optimizer = recipe.build(module.parameters())
    for step in range(steps):
        for p, g in zip(module.parameters(), gradients(Flat(network()), step), strict=True):
            p.grad = g
        optimizer.step()
    return [*module.parameters()]


def whole(flat, step):
    flat.receive(gradients(flat, step), first=True)


def laid_out(flat, step):
    whole(flat, step)
    assert flat.grad.ndim == 1


def in_halves(flat, step):
    halves = tuple(g / 2 for g in gradients(flat, step))
    flat.receive(halves, first=True)
    flat.receive(halves, first=False)


def columns(flat, step):
    flat.receive(gradients(flat, step, lambda g: g.t().contiguous().t()), first=True)


@pytest.mark.parametrize("give", [whole, laid_out, in_halves, columns], ids=lambda f: f.__name__)
@pytest.mark.parametrize("recipe", OPTIMIZERS, ids=str)
def test_steps_are_the_optimizers_however_gradients_come(recipe, give):
    found, norms, _ = reached(recipe, give)
    for a, b in zip(found, bare(recipe), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)
    for step, norm in enumerate(norms):
        square = sum(g.double().square().sum() for g in gradients(Flat(network()), step))
        assert float(norm) == pytest.approx(float(square) ** 0.5, rel=1e-5)


def test_moments_that_were_put_back_go_on_to_the_last_bit():
    """The optimizer's state is replaced, as a resumed run does, between two steps."""
    recipe, module = Adam(1e-2), network()
    flat = Flat(module)
    optimizer = recipe.build([flat.parameter])
    for step in range(2):
        whole(flat, step)
        flat.step(optimizer)
    again = copy.deepcopy(module)
    other = Flat(again)
    resumed = recipe.build([other.parameter])
    resumed.state[other.parameter] = {
        k: v.clone() for k, v in optimizer.state[flat.parameter].items()
    }
    for step in range(2, 5):
        for player, each in ((flat, optimizer), (other, resumed)):
            whole(player, step)
            player.step(each)
        if step == 3:  # once more in the middle of a run
            resumed.state[other.parameter] = {
                k: v.clone() for k, v in resumed.state[other.parameter].items()
            }
    assert torch.equal(flat.parameter, other.parameter)
    for key, value in optimizer.state[flat.parameter].items():
        assert torch.equal(value, resumed.state[other.parameter][key])
