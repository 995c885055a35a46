import torch

from pofx.evaluation.collapse import warn_of_memorization
from pofx.evaluation.memorization import memorization, nearest


def test_nearest_equals_the_definition_over_chunks():
    x, train = torch.randn(50, 4) + 100, torch.randn(333, 4) + 100
    found = nearest(x, train.split(100))
    distance, index = torch.cdist(x.double(), train.double()).min(1)
    assert torch.equal(found.index_of, index)
    assert torch.allclose(found.distance.double(), distance, atol=1e-4)
    assert found.searched == 333


def test_copies_are_counted_and_named():
    train, held_out = torch.randn(500, 6), torch.randn(200, 6)
    found = memorization(train[10:110].clone(), held_out, train)
    assert (found.copies, found.real_copies, found.ratio) == (100, 0, 0.0)
    assert found.neighbours.tolist() == list(range(10, 110))
    assert "100 of 100 samples equal a training example" in next(warn_of_memorization(found))


def test_near_copies_are_told_from_new_examples():
    train, held_out = torch.randn(500, 6), torch.randn(200, 6)
    near = memorization(train[:100] + 0.05 * torch.randn(100, 6), held_out, train)
    assert near.ratio < 0.2
    assert near.close > 0.9
    assert near.copies == 0
    assert "times as far" in next(warn_of_memorization(near))
    few = memorization(train[:6] + 0.05 * torch.randn(6, 6), held_out, train)
    assert not list(warn_of_memorization(few)), "six distances are an accident"
    new = memorization(torch.randn(400, 6), held_out, train)
    assert 0.9 < new.ratio < 1.1
    assert new.close < 0.12
    assert not list(warn_of_memorization(new))


def test_examples_of_a_small_space_recur_without_memorisation():
    bits = torch.randint(0, 2, (900, 4)).float()
    found = memorization(bits[:300], bits[300:600], bits[600:])
    assert found.copies > 200
    assert not list(warn_of_memorization(found))
