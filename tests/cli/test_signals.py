"""Ctrl-C ends a verb that has nothing to save at once, whatever it is in the middle of."""

import os
import signal
import time

import pytest

from pofx.cli import main
from pofx.functional.random import noise


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    small = ["--channels", "4,4", "--batch-size", "16", "--steps", "3", "--quiet", "--limit", "200"]
    with pytest.raises(SystemExit):
        main(["train", "ddpm", "--data", "digits", *small, "--out", str(path)])
    return path


@pytest.mark.parametrize("verb", ["sample", "evaluate", "ladder", "anomaly", "complete"])
def test_a_verb_ends_at_once(run, monkeypatch, capsys, verb):
    def endless(self, *_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        pytest.fail("the signal was not heeded")

    before = sorted(run.rglob("*"))
    monkeypatch.setattr(noise, "__init__", endless)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            main([verb, str(run)])
    finally:
        signal.signal(signal.SIGINT, old)
    assert ended.value.code == 130
    assert sorted(run.rglob("*")) == before
    assert "Traceback" not in capsys.readouterr().err
