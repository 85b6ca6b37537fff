"""Counts beside published figures: what agrees, as a table for people and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from .published import COUNTS, Row, agreement
from .table import markdown_table, print_table

#: How near a count of operations has to come to that of the authors' program: implementations
#: differ in what they call a pool.
NEAR = 1e-4
#: Figures that follow from others.
IMPLIED = {'macs': 'flops', 'params': 'weights'}
#: How a row agrees, and what tables say.
VERDICTS = {
    'printed': 'yes',
    'program': 'program',
    'differs': 'no',
    'missing': 'not built',
    'unpublished': '',
}
#: What :data:`VERDICTS` mean, below a table.
LEGEND = (
    'agree: "yes", to the printed digits, rounded or cut off; "program", not with what is printed '
    "but exactly with a run of the authors' program (or nothing is printed); empty, nothing is "
    'published.'
)
COLUMNS = ('network', 'params', 'published', 'MACs', 'published', 'agree')


def values(row: Row, counted: Mapping[str, Any]) -> dict[str, float]:
    """Our count of each figure that a row may have.

    Args:
        row: The row.
        counted: ``params`` and ``norm_params``; operations by the rules in
            :data:`.published.COUNTS`; where there are such, ``module_params``, and ``dense``, the
            same of the dense network.
    """
    params = counted['params']
    found = dict(params=params, weights=params - counted['norm_params'])
    if row.operations:
        macs = counted[row.counts]
        found.update(macs=macs, flops=2 * macs)
    if 'module_params' in counted:
        found['module_params'] = counted['module_params']
    dense = counted.get('dense')
    if dense and row.operations:
        found['macs_down'] = 100 * (1 - macs / dense[row.counts])
    if dense:
        found['params_down'] = 100 * (1 - params / dense['params'])
    return found


def compare(row: Row, counted: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row with our counts in it.

    Args:
        row: The row.
        counted: As for :func:`values`; ``None`` where there is no config.

    Returns:
        What the row says; ``counted``, our figures; ``agreement`` of each printed figure; and
        ``verdict``, one of :data:`VERDICTS`.
    """
    result: dict[str, Any] = dict(
        system=row.system,
        row=row.row,
        network=row.network,
        source=row.source,
        config=row.config,
        options=dict(row.options),
        published=dict(row.published),
        program=dict(row.program),
        counts=row.counts,
        note=row.note,
    )
    if counted is None:
        return dict(result, counted={}, agreement={}, verdict='missing')
    ours = values(row, counted)
    agrees = {name: agreement(text, ours[name]) for name, text in row.published.items()}
    exact = {name: _as_program(name, ours[name], count) for name, count in row.program.items()}
    known = {*exact, *(also for name, also in IMPLIED.items() if name in exact)}
    if agrees and all(agrees.values()):
        verdict = 'printed'
    elif exact and all(exact.values()) and all(agrees[n] or n in known for n in agrees):
        verdict = 'program'
    else:
        verdict = 'differs' if agrees or exact else 'unpublished'
    return dict(result, counted=ours, agreement=agrees, verdict=verdict)


def _as_program(name: str, ours: float, count: float) -> bool:
    tolerance = NEAR if name in ('macs', 'flops') else 0.0
    return math.isclose(ours, count, rel_tol=tolerance)


def summary(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By system, and of all: how many rows there are, are published, agree, and how."""
    results = list(results)
    systems = list(dict.fromkeys(result['system'] for result in results))
    table = []
    for system in [*systems, 'all'] if len(systems) > 1 else systems:
        own = [r for r in results if system in ('all', r['system'])]
        published = [r for r in own if r['published']]
        table.append(
            dict(
                system=system,
                published=len(published),
                agree=sum(r['verdict'] == 'printed' for r in published),
                program=sum(r['verdict'] == 'program' for r in published),
                differ=sum(r['verdict'] in ('differs', 'missing') for r in published),
                variants=len(own) - len(published),
            )
        )
    return table


def show(results: list[dict[str, Any]], console: Console | None = None) -> None:
    """Print a table for each system, what its rows say, and the summary."""
    console = console or Console()
    for system, own in _by_system(results).items():
        print_table(
            [dict(zip(('network', *map(str, range(5))), _cells(r), strict=True)) for r in own],
            title=system,
            console=console,
            headers=COLUMNS,
        )
        for note in _notes(own):
            console.print(f'  {note}', highlight=False, soft_wrap=False)
    console.print(LEGEND, highlight=False)
    print_table(summary(results), title='rows by system', console=console)


def to_markdown(results: list[dict[str, Any]]) -> str:
    """The same as Markdown, with links to configs from ``docs/``, and the options of rows."""
    parts = [markdown_table(list(summary(results)[0]), [r.values() for r in summary(results)])]
    parts.append(LEGEND)
    for system, own in _by_system(results).items():
        parts.append(f'### {system}')
        lines = [(_linked(result), *_cells(result)[1:]) for result in own]
        parts.append(markdown_table(COLUMNS, lines))
        notes = [*_notes(own), *(_options(result) for result in own if result['options'])]
        if notes:
            parts.append('\n'.join(f'- {note}' for note in notes))
    return '\n\n'.join(parts) + '\n'


def _by_system(results: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        found.setdefault(result['system'], []).append(result)
    return found


def _cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    """One line: network, parameters and operations, ours and published, and the verdict."""
    ours, printed = result['counted'], result['published']
    shown: list[str] = [result['network']]
    if not ours:
        params = printed.get('params', '')
        macs = printed.get('macs', printed.get('flops', ''))
        return (*shown, '', params, '', macs, VERDICTS[result['verdict']])
    if 'module_params' in printed:
        shown += [f'{ours["params"]:,} ({ours["module_params"]:,})', printed['module_params']]
    elif 'weights' in printed:
        shown += [f'{ours["params"]:,} ({ours["weights"]:,})', printed['weights']]
    elif 'params_down' in printed:
        shown += [f'{ours["params"]:,} ({ours["params_down"]:.2f} %)', printed['params_down']]
    else:
        shown += [f'{ours["params"]:,}', printed.get('params', '')]
    macs = f'{ours["macs"] / 1e6:,.2f}M' if 'macs' in ours else ''
    if 'macs_down' in printed:
        shown += [f'{macs} (-{ours["macs_down"]:.2f} %)', f'-{printed["macs_down"]}']
    elif 'flops' in printed:
        shown += [macs, f'{printed["flops"]} / 2']
    else:
        shown += [macs, printed.get('macs', '')]
    return (*shown, VERDICTS[result['verdict']])


def _notes(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the rows of a system say, each sentence once."""
    found: dict[str, list[str]] = {}
    for result in results:
        words = [COUNTS[result['counts']], result['note']]
        text = '; '.join(word for word in words if word)
        if text:
            found.setdefault(text, []).append(result['network'])
    return [f'{"; ".join(networks)}: {text}' for text, networks in found.items()]


def _linked(result: Mapping[str, Any]) -> str:
    """The network, with a link to its config where that is ours."""
    config = result['config']
    if config is None or '::' in config:
        return result['network']
    return f'[{result["network"]}](../configs/{config})'


def _options(result: Mapping[str, Any]) -> str:
    """What a row changes in its config, as ``--cfg-options`` takes it."""
    words = [f'{key}={value}'.replace(' ', '') for key, value in result['options'].items()]
    return f'{result["network"]}: `{" ".join(words)}`'
