"""`pofx evaluate` says now and then that it goes on, on stderr."""

import importlib


def test_a_long_evaluation_shows_that_it_goes_on(monkeypatch, capfd):
    evaluate = importlib.import_module("pofx.cli.evaluate")
    clock = iter([0.0, 3.0, 9.9, 10.0, 15.0, 21.0])
    with monkeypatch.context() as patch:
        patch.setattr(evaluate.time, "monotonic", lambda: next(clock))
        pulse = evaluate._Pulse()
        assert not any([pulse() for _ in range(5)])
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["evaluating, 10 s so far", "evaluating, 21 s so far"]
