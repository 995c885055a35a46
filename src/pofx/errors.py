"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake: one sentence that names what was expected, what came and what to do.

    The command line prints it and exits with code 2; every other exception is a defect of ours.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known word, or lists them all when none is near.

    >>> did_you_mean("vea", ["vae", "gan"])
    "did you mean 'vae'?"
    """
    known = sorted(known)
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else f"choose one of {', '.join(known)}."


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like `word`; empty when none is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)), "")
