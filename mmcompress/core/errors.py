"""The one exception that means: the user's input is wrong, and here is what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressionError(ValueError):
    """Bad input, told in one sentence; tools print it and exit with status 2.

    Args:
        message: That sentence.
    """

    def __init__(self, message: str = '') -> None:
        message = str(message)
        if message.startswith('Caught ') and 'DataLoader worker' in message:
            # A DataLoader's worker hands an error on as the text of its traceback. The last line
            # of that is the sentence again, behind the name of the class.
            last = message.strip().splitlines()[-1]
            name = f'{type(self).__name__}: '
            message = last.partition(name)[2] or last
        super().__init__(message)


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
