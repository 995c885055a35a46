"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake: one sentence that names what was expected, what came and what to do.

    The command line prints it and exits with code 2; every other exception is a defect of ours.
    What it quotes may come from anywhere, and is told without what a terminal would obey.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), spared="\n\t")


def printable(text: str, spared: str = "") -> str:
    r"""The text without what a terminal would obey and what cannot be encoded.

    Args:
        text: to be shown.
        spared: what is obeyed and yet stays, such as the ends of lines.

    >>> printable("a\nb\x1b[31m"), printable("a\nb", spared="\n")
    ('a�b�[31m', 'a\nb')
    """
    return "".join(
        c if c.isprintable() or c in spared else "\N{REPLACEMENT CHARACTER}" for c in text
    )


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


class RecipeError(UserError):
    """A recipe cannot serve this data or these arguments."""
