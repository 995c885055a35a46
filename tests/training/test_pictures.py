"""Pictures of samples, which must not take longer than training."""

from pathlib import Path

import torch

from pofx.training import fit as training
from pofx.training.fit import fit


def test_what_takes_long_to_draw_is_drawn_in_part(monkeypatch, capsys):
    x = torch.bernoulli(torch.full((40, 6), 0.5))
    fit("made", x, out="whole", steps=2)
    assert "take long to draw" not in capsys.readouterr().err
    monkeypatch.setattr(training, "_PATIENCE", 0.0)
    monkeypatch.setattr(training, "_PICTURES", 0.0)
    fit("made", x, out="part", steps=2)
    said = capsys.readouterr().err
    assert "part/samples/000002.csv holds 6 of 100 samples, which take long to draw." in said
    whole, part = (Path(run, "samples/000002.csv").read_text() for run in ("whole", "part"))
    assert len(part.splitlines()) == 6
    assert whole.startswith(part)


def test_after_one_that_was_dear_the_next_waits(monkeypatch):
    monkeypatch.setattr(training, "_PICTURES", 0.0)
    x = torch.bernoulli(torch.full((40, 6), 0.5))
    fit("made", x, out="run", steps=20, quiet=True)
    assert [p.stem for p in sorted(Path("run/samples").iterdir())] == ["000002", "000020"]
