"""What a run's losses say of it: made-up curves, sound and broken."""

import math
import random

import pytest

from pofx.training.symptoms import Look, Seen, at_the_end, while_training

SOUND = Seen(epochs=40, steps=1000, smaller=", a smaller --hidden")


def run(valid, train=None, *, stderr=0.01, count=100):
    """A look each hundredth of the budget, its losses a function of the share that is spent."""
    looks, dice = [], random.Random(0)
    for i in range(1, count + 1):
        t = i / count
        ripple = 0.5 * stderr * dice.gauss(0, 1)
        looks.append(
            Look(
                10 * i, t, t, (train or valid)(t) + ripple,
                None if valid is None else valid(t) + ripple, stderr, apart=stderr,
            )
        )  # fmt: skip
    return looks


def heard(looks, seen=SOUND, trained=lambda: None):
    """The names of all symptoms, at each look and at the end, each once."""
    said = []
    for i in range(1, len(looks) + 1):
        said += [s for s in while_training(looks[:i], seen, trained)]
    said += list(at_the_end(looks, seen))
    return list(dict.fromkeys(s.name for s in said))


def settled(t):
    return 2 + 8 * math.exp(-12 * t)


def overfits(t):
    return settled(t) + 6 * max(t - 0.3, 0)


@pytest.mark.parametrize("stderr", [1e-4, 0.05, 2.0])
@pytest.mark.parametrize(
    "valid",
    [settled, lambda t: 2 + 8 / (1 + 60 * t), lambda t: 3.0, lambda t: -40 + 30 * 0.5 ** (20 * t)],
    ids=["exponential", "power", "flat", "below zero"],
)
def test_a_sound_curve_says_nothing(valid, stderr):
    assert heard(run(valid, stderr=stderr), trained=lambda: -100.0) == []
    assert heard(run(None, valid, stderr=stderr)) == []


def test_a_validation_loss_that_rises_while_training_examples_fit_is_over_fitting():
    looks = run(overfits)
    assert heard(looks, trained=lambda: 0.5) == ["over-fitting"]
    (said,) = while_training(looks, SOUND, lambda: 0.5)
    assert "rose to 6.1" in str(said)
    assert "0.5 on training examples" in str(said)
    assert "a smaller --hidden" in str(said)


def test_a_rise_within_its_noise_or_on_training_examples_too_is_no_over_fitting():
    assert heard(run(overfits, stderr=4.0), trained=lambda: 0.5) == []
    assert "over-fitting" not in heard(run(overfits), trained=lambda: 9.0)
    assert "over-fitting" not in heard(run(overfits), trained=lambda: None)


def test_what_one_look_says_no_later_one_may_contradict():
    spike = run(settled)
    spike[70] = spike[70]._replace(valid=60.0)
    assert heard(spike, trained=lambda: 0.5) == []


def test_a_loss_that_still_falls_at_the_end_is_under_training():
    assert heard(run(lambda t: -math.log(t + 0.001))) == ["under-training"]
    assert heard(run(None, lambda t: -math.log(t + 0.001))) == ["under-training"]


def test_a_decaying_learning_rate_hides_no_under_training():
    looks = [
        look._replace(effort=math.sin(math.pi / 2 * look.progress))
        for look in run(lambda t: -math.log(math.sin(math.pi / 2 * t) + 0.001))
    ]
    assert heard(looks) == ["under-training"]


def test_a_straight_line_is_a_low_learning_rate_or_of_few_epochs_a_small_budget():
    line = run(lambda t: 10 - 5 * t)
    assert heard(line) == ["learning rate too low"]
    assert heard(line, SOUND._replace(epochs=2)) == ["budget too small"]
    assert heard(run(lambda t: 10 - 0.02 * t)) == [], "a fall within its noise"


def test_less_than_an_epoch_is_too_small_a_budget_whatever_the_curve():
    assert heard(run(settled), SOUND._replace(epochs=0.4)) == ["budget too small"]


def test_a_loss_that_climbs_or_leaps_again_and_again_has_too_high_a_learning_rate():
    assert heard(run(lambda t: 3 + 50 * t)) == ["learning rate too high"]
    looks = run(settled)
    for i in (30, 50, 70):
        looks[i] = looks[i]._replace(valid=9.0)
    assert heard(looks) == ["learning rate too high"]


def test_stages_are_not_compared():
    looks = run(settled)
    looks[60:] = [
        look._replace(stage=1, valid=5 + settled(look.progress - 0.6)) for look in looks[60:]
    ]
    assert "over-fitting" not in heard(looks, trained=lambda: 0.5)
