"""What a network's outputs are added to: each element's own log-odds."""

from dataclasses import replace

import pytest
import torch

from pofx import catalogue
from pofx.batch import Batch
from pofx.functional.draw import draw
from pofx.nn.log_odds import LogOdds
from pofx.spec import Binary, Categorical, DataSpec, Mixed, Real
from pofx.training.loop import Options, Training

MIXED = DataSpec((4,), Mixed((Categorical(3), Real(), Binary(), Categorical(3))))


def test_odds_are_of_counts_and_a_half():
    marginals = LogOdds(MIXED, [3, 2, 1, 3])
    assert torch.equal(marginals(), torch.zeros(9))
    marginals.see(torch.tensor([[0.0, 9.0, 1.0, 2.0], [2.0, 9.0, 1.0, 2.0]]))
    marginals.see(torch.tensor([[2.0, -9.0, 0.0, 2.0]]))
    marginals.settle()
    first = torch.tensor([1.5, 0.5, 2.5]).log().log_softmax(0)
    last = torch.tensor([0.5, 0.5, 3.5]).log().log_softmax(0)
    found = marginals()
    assert torch.allclose(found[:3].log_softmax(0), first)
    assert torch.equal(found[3:5], torch.zeros(2))
    assert torch.allclose(found[5].sigmoid(), torch.tensor(2.5 / 4))
    assert torch.allclose(found[6:].log_softmax(0), last)


@pytest.mark.parametrize("name", ["made", "nade"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_network_of_nothing_is_independent_elements(name, accumulate):
    spec = DataSpec((5,), Categorical(3), count=12)
    x = torch.randint(0, 3, (12, 5), generator=torch.Generator().manual_seed(0)).float()
    recipe = catalogue.build(name, spec, hidden=(8,) if name == "made" else 8)
    training = Training(recipe, options=Options(accumulate=accumulate))
    training.train_step(Batch(x))
    model = training.model
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    shares = torch.stack([(x == k).sum(0) + 0.5 for k in range(3)], 1) / (12 + 1.5)
    alone = shares.log()[torch.arange(5), x.long()].sum(1)
    assert torch.allclose(model.log_prob(x), alone, atol=1e-4)
    drawn = draw(model, 4000, seed=0)
    found = torch.stack([(drawn == k).float().mean(0) for k in range(3)], 1)
    assert (found - shares).abs().max() < 0.05


@pytest.mark.parametrize("name", ["made", "nade"])
def test_validation_counts_nothing(name):
    recipe = catalogue.build(name, replace(DataSpec((3,), Binary()), count=5))
    recipe.objective.eval()
    recipe.objective.loss(Batch(torch.ones(4, 3)))
    recipe.objective.after_step()
    assert recipe.model.marginals.seen == 0


@pytest.mark.parametrize("name", ["gpt", "wavenet", "mdlm", "d3pm"])
def test_few_tokens_begin_at_the_frequencies_of_their_places(name):
    spec = DataSpec((4,), Categorical(3), count=90)
    x = torch.randint(3, (90, 4)).float()
    x[:, 1] = 2
    model = catalogue.build(name, spec).model
    model.marginals.see(x if name == "wavenet" else x.long())
    model.marginals.settle()
    log_p = ((torch.nn.functional.one_hot(x.long(), 3).sum(0) + 0.5) / 91.5).log()
    for weight in model.parameters():
        weight.data.zero_()
    drawn = draw(model, 600)
    shares = torch.nn.functional.one_hot(drawn.long(), 3).double().mean(0)
    assert (shares - log_p.exp()).abs().max() < 5 * 0.5 / 600**0.5
    if name in ("gpt", "wavenet"):
        expected = log_p[torch.arange(4), x[:5].long()].sum(1)
        assert torch.allclose(model.log_prob(x[:5]), expected.to(x), atol=1e-5)
    assert (
        catalogue.build(name, DataSpec((4,), Categorical(3), count=2_000)).model.marginals is None
    )
