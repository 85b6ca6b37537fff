"""Whether this process is our own command line, which ``import mmcompress`` asks.

Imports nothing but the standard library, for help texts to take no longer than Python's start.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

#: Where the scripts are that call :func:`mmcompress.cli.main`: in a checkout, and in a wheel.
TOOLS = (PACKAGE.parent / 'tools', PACKAGE / '.mim' / 'tools')


def is_running() -> bool:
    """Whether the process runs ``mmcompress``, ``python -m mmcompress`` or one of our tools.

    Processes that these start (workers of data loaders) are none: they have no arguments to read.
    """
    name = (getattr(sys, 'argv', None) or [''])[0]
    words = sys.orig_argv
    if name == '-m':  # what Python puts there while it looks for the module to run
        return 'mmcompress' in words and words[words.index('mmcompress') - 1] == '-m'
    if not name or name not in words:
        return False
    path = Path(name).resolve()
    return path.stem == 'mmcompress' or path.parent in TOOLS
