"""In a notebook, progress is one bar that is drawn again and again."""

import rich.console

from pofx.training.log import Log


def test_a_bar_is_drawn_over_the_last_one_and_what_is_said_has_a_line_of_its_own(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    with Log(tmp_path / "metrics.jsonl") as log:
        log.metrics(1, 0.01, {"loss": 2.5})
        log.metrics(50, 0.5, {"loss": 1.25})
        log.say("a note")
        log.metrics(100, 1.0, {"loss": 1.0})
    first, note, last, end = capsys.readouterr().err.split("\n")
    assert first.split("\r")[1:] == [
        "░" * 20 + "   1% step 1 loss 2.5",
        "█" * 10 + "░" * 10 + "  50% step 50 loss 1.25",
    ]
    assert note == "a note"
    assert last == "\r" + "█" * 20 + " 100% step 100 loss 1"
    assert end == ""


def test_a_quiet_notebook_shows_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    with Log(tmp_path / "metrics.jsonl", quiet=True) as log:
        log.metrics(1, 0.01, {"loss": 2.5})
        log.say("a note")
    assert capsys.readouterr().err == ""
