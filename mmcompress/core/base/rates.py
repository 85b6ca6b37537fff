"""Pruning rates as a list in the order of the layers, written as papers and programs write them.

``[0.5]*2+[0.4]*2+[0.35]*3`` is a list of seven rates. Such a text is parsed, never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import cast

from mmcompress.core.checks import is_number
from mmcompress.core.errors import CompressionError, nearest

#: Keys of keep ratios that are given as pruning rates.
RATES, ORDER = 'pruning_rates', 'order'
#: No list is longer; ``[0.5]*10**9`` would fill the memory.
MOST = 100_000


def parse_rates(text: str | Sequence[float], key: str = RATES) -> list[float]:
    """A list of pruning rates from lists, numbers, ``+`` and ``*``.

    Args:
        text: As in Python, such as ``([0.7]*7+[0.45]*9)*2``; or the list.
        key: The config key that it is the value of, for errors.

    Raises:
        CompressionError: If it is anything else, or a rate is not in [0, 1).

    Example:
        >>> parse_rates('[0.0]+[0.35, 0.4]*2')
        [0.0, 0.35, 0.4, 0.35, 0.4]
    """
    if isinstance(text, str):
        try:
            value: object = _value(ast.parse(text.strip(), mode='eval').body)
        except (SyntaxError, ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else error
            raise CompressionError(
                f'{key} is {text!r}; it has to be lists of rates, joined by + and repeated by *, '
                f'such as [0.5]*2+[0.4] ({reason})'
            ) from None
    else:
        value = list(text) if isinstance(text, (list, tuple)) else text
    if not isinstance(value, list) or not value:
        raise CompressionError(f'{key} is {text!r}; it has to be a list of rates')
    for rate in value:
        if not is_number(rate) or not 0 <= rate < 1:
            raise CompressionError(
                f'{key} has {rate!r}; a pruning rate is a number of at least 0 and below 1'
            )
    return [float(rate) for rate in value]


def _value(node: ast.AST) -> list | float:
    """The list or number that a part of an expression stands for."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return cast(float, node.value)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add):
            if isinstance(left, list) and isinstance(right, list):
                return _short(left + right)
        elif isinstance(left, list) and isinstance(right, int):
            return left * right if len(left) * right <= MOST else _short([0.0] * (MOST + 1))
        elif isinstance(right, list) and isinstance(left, int):
            return _value(ast.BinOp(node.right, ast.Mult(), node.left))
        raise ValueError('+ joins two lists, and * repeats a list')
    raise ValueError(f'{ast.unparse(node)} is neither a number nor a list')


def _short(values: list) -> list:
    if len(values) > MOST:
        raise ValueError(f'there are more than {MOST} rates')
    return values


def ratios_in_order(target: dict, names: Iterable[str], key: str) -> dict[str, float]:
    """Keep ratios by unit name from a list of pruning rates.

    Args:
        target: ``pruning_rates``, see :func:`parse_rates`; and ``order``, patterns of unit names:
            the units of the first pattern have the first rates, and so on. Units that several
            patterns match belong to the first of these. By default all units, in their order.
        names: Names of all units, in the order of the architecture.
        key: The config key that ``target`` is the value of, for errors.

    Raises:
        CompressionError: If a pattern matches nothing, or there are more or fewer rates than units.
    """
    unknown = set(target) - {RATES, ORDER}
    if unknown:
        raise CompressionError(
            f'{key} has {RATES!r} and {", ".join(map(repr, sorted(unknown)))}; it takes {RATES}, '
            f'{ORDER} or keep ratios by unit name'
        )
    rates = parse_rates(target[RATES], f'{key}.{RATES}')
    names = list(names)
    order = target.get(ORDER, ['*'])
    if not isinstance(order, (list, tuple)) or not all(isinstance(item, str) for item in order):
        raise CompressionError(f'{key}.{ORDER} is {order!r}; it has to be a list of patterns')
    chosen: list[str] = []
    for pattern in order:
        found = [n for n in names if n not in chosen and (n == pattern or fnmatchcase(n, pattern))]
        if not found:
            raise CompressionError(
                f'{key}.{ORDER}: {pattern!r} matches no further unit; the nearest names are '
                f'{nearest(pattern, names)}'
            )
        chosen += found
    if len(rates) != len(chosen):
        raise CompressionError(
            f'{key}.{RATES} has {len(rates)} rates for {len(chosen)} units, from {chosen[0]!r} to '
            f'{chosen[-1]!r}'
        )
    return {name: 1 - rate for name, rate in zip(chosen, rates, strict=True)}
