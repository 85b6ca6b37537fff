"""Elements of a page. What is no element is text, and every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

#: Elements that have no end.
EMPTY = ('br', 'col', 'hr', 'img', 'link', 'meta')


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *children: Any, **attributes: Any) -> Html:
    """An element of HTML.

    Args:
        tag: Its name.
        *children: Elements, texts, or lists of these; None is left out.
        **attributes: By name, without None; ``class_`` is ``class``, and ``aria_label`` is
            ``aria-label``.

    Example:
        >>> element('p', 'a < b', class_='note')
        '<p class="note">a &lt; b</p>'
    """
    given = ''.join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in EMPTY:
        return Html(f'<{tag}{given}>')
    return Html(f'<{tag}{given}>{joined(children)}</{tag}>')


def joined(children: Iterable[Any]) -> Html:
    """Elements and texts one after the other."""
    parts = []
    for child in children:
        if isinstance(child, (list, tuple)):
            parts.append(joined(child))
        elif isinstance(child, Html):
            parts.append(child)
        elif child is not None:
            parts.append(Html(html.escape(str(child))))
    return Html(''.join(parts))


def table(rows: list[list[Any]], head: list[Any], caption: str = '') -> Html:
    """A table that scrolls sideways where it doesn't fit; the first column names the rows.

    Args:
        rows: Cells; numbers are texts by now, and stand right.
        head: What is above the columns.
        caption: What is above all.
    """
    body = [
        element(
            'tr',
            element('th', row[0], scope='row'),
            [element('td', cell) for cell in row[1:]],
        )
        for row in rows
    ]
    return element(
        'div',
        element(
            'table',
            element('caption', caption) if caption else None,
            element('thead', element('tr', [element('th', name, scope='col') for name in head])),
            element('tbody', body),
        ),
        class_='wide',
        tabindex='0',
        role='region',
        aria_label=caption or 'table',
    )
