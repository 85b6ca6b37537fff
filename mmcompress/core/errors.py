"""The one exception that means: the user's input is wrong, and here is what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressionError(ValueError):
    """Bad input, told in one sentence; tools print it and exit with status 2."""


def first_line(error: BaseException, otherwise: str = '') -> str:
    """What an error says first; ``otherwise`` where it says nothing."""
    return (str(error).splitlines() or [otherwise])[0]


def nearest(name: str, valid: Iterable[str], most: int = 3) -> str:
    """The valid names closest to ``name``, quoted and joined, for use in an error.

    Args:
        name: What was found.
        valid: What would have been right.
        most: How many names to offer.

    Returns:
        A string such as ``"'a', 'b'"``; the first valid names when none is close.
    """
    valid = list(valid)
    close = difflib.get_close_matches(str(name), valid, n=most, cutoff=0.5) or valid[:most]
    return ', '.join(repr(item) for item in close) or 'none'
