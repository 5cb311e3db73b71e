"""What the user may have meant: the nearest known name, for error messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    Return `"; did you mean 'steps'?"`, or nothing when no known name is near.

    Parameters
    ----------
    word : str
        What was written.
    known : iterable of str
        The names that would have been understood.
    """
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """
    Return the known name that is most like a word, or nothing when none is near.

    Parameters
    ----------
    word : str
        What was written.
    known : iterable of str
        The names that would have been understood.
    """
    by_folded = {_fold(name): name for name in known}
    near = difflib.get_close_matches(_fold(word), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")
