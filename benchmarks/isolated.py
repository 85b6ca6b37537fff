"""One process an item: a crash, a hang or a changed global is that item's affair alone."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from mmcompress.core.errors import CompressionError

Item = TypeVar('Item')


def in_processes(
    body: Callable[[Item], Any], items: Iterable[Item], jobs: int, timeout: float
) -> Iterator[tuple[Item, Any, str]]:
    """Call ``body(item)`` for every item, each in a fork of this process.

    What this process has imported, the children need not import again.

    Args:
        body: Its result has to be picklable.
        items: They are started in this order.
        jobs: Processes at a time.
        timeout: Seconds that one of them may take.

    Yields:
        The item, its result and ``''``; or the item, ``None`` and the reason why there is none.
        In the order in which they are done.
    """
    context = multiprocessing.get_context('fork')
    running: dict[Connection, tuple[Any, Item, float]] = {}
    queue = list(reversed(list(items)))
    while queue or running:
        while queue and len(running) < jobs:
            item = queue.pop()
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_send, args=(body, item, theirs), daemon=True)
            child.start()
            theirs.close()
            running[ours] = child, item, time.monotonic()
        for pipe in wait(list(running), timeout=1):
            child, item, _ = running.pop(pipe)
            try:
                result, reason = pipe.recv()
                child.join()
            except (EOFError, OSError):
                child.join()
                result, reason = None, f'the process ended with status {child.exitcode}'
            yield item, result, reason
        for pipe, (child, item, begin) in list(running.items()):
            if time.monotonic() - begin > timeout:
                child.kill()
                child.join()
                del running[pipe]
                yield item, None, f'no answer within {timeout:g} s'


def _send(body: Callable[[Item], Any], item: Item, pipe: Connection) -> None:
    """What a child process does."""
    try:
        answer = body(item), ''
    except Exception as error:  # whatever a library raises
        answer = None, reason_of(error)
    pipe.send(answer)


def reason_of(error: Exception) -> str:
    """One line about an error; where it isn't ours, with the place that it comes from."""
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
    if not isinstance(error, CompressionError) and error.__traceback__:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason += f' ({Path(where.filename).name}:{where.lineno})'
    return reason
