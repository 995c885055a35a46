"""What every recipe must do, whoever wrote it: found by the catalogue, with no test to add."""

import inspect
import math
from dataclasses import replace

import pytest
import torch
from zoo import CASES, FITTED, LOOPED, NAMES, SPECS, build, examples, serves, small, stream

from pofx import catalogue
from pofx.batch import Batch
from pofx.capabilities import Bound, Density, Energy, Samples
from pofx.cli.train import _LOOP
from pofx.evaluation.calls import options_of
from pofx.evaluation.check import check_model
from pofx.evaluation.evaluate import depends_on_class
from pofx.functional.draw import draw
from pofx.functional.random import noise
from pofx.objective import LossObjective
from pofx.recipe import RecipeError
from pofx.signatures import argument_meanings
from pofx.training.loop import Budget, Options, Training, train

_OPTIONS = Options()


def run(name, kind, steps, *, options=_OPTIONS, start=None, size=None, budget=60):
    recipe = build(name, kind)
    training = Training(recipe, options=options)
    if start is not None:
        training.load_state(*start)
    data = stream(SPECS[kind], size or recipe.batch_size, first=training.step)
    loop = train(training, data, Budget(steps=budget))
    metrics = [dict(next(loop).metrics) for _ in range(steps - training.step)]
    return training, metrics


def snapshot(training):
    tensors, numbers = training.state()
    return {k: v.clone() for k, v in tensors.items()}, numbers


@pytest.mark.parametrize("name", NAMES)
def test_serves_some_data_and_says_what_its_arguments_mean(name):
    assert any(serves(name, kind) for kind in SPECS)
    entry = catalogue.describe(name)
    assert entry.title
    assert "(" in entry.title, (
        f"{name}: the first line of its file is `name: Title (Authors, year).`"
    )
    shared = {p.name for p in _LOOP} - {"steps"}
    for p in entry.parameters:
        assert p.meaning, f"{name}: its Args say nothing of {p.name}"
        assert p.name not in shared, f"{name}: --{p.name} is a flag of the loop"


@pytest.mark.parametrize("name", NAMES)
def test_what_its_model_takes_when_it_samples_is_described(name):
    model = build(*next(case for case in CASES if case[0] == name)).model
    for method in filter(lambda m: hasattr(model, m), ("sample", "complete", "edit")):
        told = argument_meanings(inspect.getdoc(getattr(model, method)) or "")
        own = set(options_of(model, method)) - {"self", "n", "x", "known", "cond"}
        assert own <= set(told), f"{name}: the Args of {method} say nothing of {own - set(told)}"


AVERAGED = [n for n in NAMES if any(p.name == "ema" for p in catalogue.describe(n).parameters)]


@pytest.mark.parametrize("name", AVERAGED)
def test_a_negative_half_life_is_refused(name):
    kind = next(kind for case, kind in CASES if case == name)
    with pytest.raises(RecipeError, match=r"--ema must be at least 0 \(got -1\.0\)"):
        build(name, kind, ema=-1.0)


@pytest.mark.parametrize(("name", "kind"), LOOPED)
def test_a_player_is_moved_by_its_own_loss_alone(name, kind):
    recipe = build(name, kind)
    objective = recipe.objective.train()
    x, cond = examples(SPECS[kind], recipe.batch_size)
    seen = set()
    for update in objective.updates(Batch(x, cond)):
        assert update.player in objective.players
        assert update.loss.shape == ()
        assert update.loss.isfinite()
        own = [p for p in objective.players[update.player].parameters() if p.requires_grad]
        update.loss.backward(inputs=own)
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in own)
        others = [m for n, m in objective.players.items() if n != update.player]
        assert all(p.grad is None for m in others for p in m.parameters())
        for p in own:
            p.grad = None
        seen.add(update.player)
    assert seen == set(objective.players) == set(recipe.optimizers)
    shared = [p for m in objective.players.values() for p in m.parameters()]
    assert len(shared) == len({id(p) for p in shared}), "players share a parameter"


@pytest.mark.parametrize(("name", "kind"), LOOPED)
def test_resume_is_bit_exact(name, kind):
    whole, metrics = run(name, kind, 6)
    half, _ = run(name, kind, 3)
    rest, again = run(name, kind, 6, start=snapshot(half))
    for key, value in whole.state()[0].items():
        assert torch.equal(value, rest.state()[0][key]), key
    assert [{k: float(v) for k, v in m.items()} for m in metrics[3:]] == [
        {k: float(v) for k, v in m.items()} for m in again
    ]


@pytest.mark.parametrize(("name", "kind"), LOOPED)
def test_accumulation_is_exact(name, kind):
    """Micro-batches with the noise of the whole batch take the whole batch's step."""
    one, _ = run(name, kind, 2, options=Options(keyed_noise=True), size=24)
    three, _ = run(name, kind, 2, options=Options(keyed_noise=True, accumulate=3), size=24)
    for key, value in one.model.state_dict().items():
        other = three.model.state_dict()[key]
        assert torch.allclose(value, other, atol=2e-4, rtol=1e-3), key


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_model_is_what_it_says(name, kind):
    if (name, kind) in FITTED:
        model = build(name, kind).model
        model.fit(*examples(SPECS[kind], 60))
    else:
        model = run(name, kind, 4)[0].sampled
    checked = check_model(model.eval(), SPECS[kind])
    assert checked
    x, cond = examples(SPECS[kind], 7)
    for capability, method in ((Density, "log_prob"), (Bound, "elbo"), (Energy, "energy")):
        if isinstance(model, capability):
            with torch.no_grad():
                value = getattr(model, method)(x, cond)
            assert value.shape == (7,)
            assert value.isfinite().all()
    assert not (isinstance(model, Density) and isinstance(model, Bound)), "exact, or a bound?"
    discrete = SPECS[kind].support.discrete
    if isinstance(model, Density) and discrete:
        with torch.no_grad():
            assert bool((model.log_prob(x, cond) <= 1e-6).all()), "a mass is at most one"


@pytest.mark.parametrize(("name", "kind"), LOOPED)
def test_weights_are_all_that_a_model_is(name, kind):
    """A model built anew, from another seed, answers the same once it has the weights: nothing
    random hides elsewhere.
    """
    trained = run(name, kind, 3)[0].sampled.eval()
    torch.manual_seed(987)
    rebuilt = catalogue.build(name, SPECS[kind], **small(name)).model.eval()
    rebuilt.load_state_dict(trained.state_dict())
    if isinstance(trained, Samples):
        assert torch.equal(draw(trained, 5, seed=1), draw(rebuilt, 5, seed=1))
    x, cond = examples(SPECS[kind], 5)
    methods = [m for m in ("log_prob", "elbo", "energy", "encode") if hasattr(trained, m)]
    assert methods or isinstance(trained, Samples)
    for method in methods:
        with torch.no_grad(), noise(2, 5):
            expected = getattr(trained, method)(x, cond)
        with torch.no_grad(), noise(2, 5):
            assert torch.equal(getattr(rebuilt, method)(x, cond), expected)


@pytest.mark.parametrize("name", [n for n in NAMES if serves(n, "grey")])
def test_a_model_says_whether_it_heeds_the_class(name):
    model = build(name, "grey").model
    if not isinstance(model, Samples):
        assert not getattr(model, "conditional", False)
        return
    with torch.no_grad():
        for p in model.parameters():  # layers that start at zero would hide the class
            p += 0.1 * torch.randn_like(p)
    assert depends_on_class(model, SPECS["grey"]) == getattr(model, "conditional", False)


ONE_LOSS = [c for c in LOOPED if isinstance(build(*c).objective, LossObjective)]


@pytest.mark.parametrize(("name", "kind"), ONE_LOSS)
def test_it_learns(name, kind):
    """The loss that a recipe lowers falls on examples that it has not seen, with the same noise and
    the same weighting.

    It is the objective's own loss, since not every recipe trains its bound: DDPM's simple loss
    weighs it anew.
    """
    steps = 60 + build(name, kind).warmup
    after, _ = run(name, kind, steps, budget=steps)
    few = 128 if SPECS[kind].size > 100 else 500  # of many elements each tell more
    x, cond = examples(SPECS[kind], few, seed=99)

    def loss():
        with torch.no_grad(), noise(1, len(x)):
            return after.objective.loss(Batch(x, cond))[0].item()

    learned = loss()
    after.model.load_state_dict(run(name, kind, 1)[0].model.state_dict())
    assert math.isfinite(learned)
    assert learned < loss()


def of_few(name, count=200):
    """A recipe of bits of which there are few, and what it is made of."""
    torch.manual_seed(0)
    recipe = catalogue.build(name, replace(SPECS["bits"], count=count), **small(name))
    shapes = {k: tuple(v.shape) for k, v in recipe.model.state_dict().items()}
    return recipe, (shapes, dict(recipe.optimizers), recipe.batch_size, recipe.steps)


FEW = [n for n, kind in CASES if kind == "bits" and of_few(n)[1] != of_few(n, None)[1]]


def test_defaults_of_some_recipes_follow_the_number_of_examples():
    assert {"made", "nade", "gmm", "realnvp"} <= set(FEW)


@pytest.mark.parametrize("name", FEW)
def test_the_model_of_few_examples_is_what_it_says_and_resumes(name):
    spec = replace(SPECS["bits"], count=200)
    recipe, _ = of_few(name)
    if recipe.objective is None:
        recipe.model.fit(*examples(spec, 60))
        assert check_model(recipe.model.eval(), spec)
        return
    training = Training(recipe)
    for _ in train(training, stream(spec, recipe.batch_size), Budget(steps=3)):
        pass
    assert check_model(training.sampled.eval(), spec)
    again = Training(of_few(name)[0])
    again.load_state(*snapshot(training))
    for run in (training, again):
        next(train(run, stream(spec, recipe.batch_size, first=3), Budget(steps=4)))
    for key, value in training.state()[0].items():
        assert torch.equal(value, again.state()[0][key]), key
