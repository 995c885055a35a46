"""Runs a verb as the command line does."""

import pytest

from pofx.cli import main


def code(*arguments) -> int:
    """The exit code of `pofx ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code or 0
