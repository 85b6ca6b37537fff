"""The page of a report: one file of HTML, which loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from mmcompress.core.base.figure import Figure

from .drawing import svg, variables
from .html import Html, element, table
from .table import format_value

#: In a cell that has no value.
NOTHING = '-'
STYLE = """
:root { color-scheme: light dark; --font: system-ui, 'Helvetica Neue', Arial, sans-serif; %s }
@media (prefers-color-scheme: dark) { :root { %s } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 var(--font); overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem;
  border-top: 2px solid var(--grid); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: inherit; }
ul { padding-left: 1.25rem; margin: .5rem 0; }
code { font-size: .9em; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); vertical-align: top; }
thead th { border-bottom: 2px solid var(--muted); vertical-align: bottom;
  white-space: normal; }
th:first-child, td.text { text-align: left; }
tbody th { font-weight: 600; }
small { display: block; font-size: .85em; }
.figures { display: grid; gap: 1.5rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%%, 25rem), 1fr)); }
figure { margin: 0; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
figcaption strong { display: block; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg { display: block; width: 100%%; height: auto; max-width: 34rem; }
figure img { display: block; max-width: 100%%; height: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: 1.25rem; }
.pair { display: flex; gap: .5rem; flex-wrap: wrap; }
.pair img { width: 11rem; max-width: 45vw; image-rendering: auto; border: 1px solid var(--muted); }
.pair figcaption { font-size: .85rem; max-width: 11rem; }
details { margin: .75rem 0; }
summary { cursor: pointer; font-weight: 600; }
@media print { details { display: block; } }
"""


def page(report: dict[str, Any]) -> str:
    """The whole page.

    Args:
        report: What :func:`~mmcompress.cli.reporting.make_report` returns; its figures are
            :class:`~mmcompress.core.base.figure.Figure` objects still.
    """
    runs = report['runs']
    css = STYLE % tuple(
        ' '.join(f'--{name}: {color};' for name, color in variables(theme).items())
        for theme in ('light', 'dark')
    )
    body = [
        element('h1', report['title']),
        element('p', report['made']),
        element(
            'nav',
            element(
                'ul',
                [
                    element('li', element('a', run['name'], href=f'#run-{index}'))
                    for index, run in enumerate(runs)
                ],
            ),
            aria_label='runs',
        ),
        element('main', _overview(report), [_run(i, run) for i, run in enumerate(runs)]),
    ]
    head = [
        element('meta', charset='utf-8'),
        element('meta', name='viewport', content='width=device-width, initial-scale=1'),
        element('title', report['title']),
        # Without this a browser asks for /favicon.ico.
        element('link', rel='icon', href='data:,'),
        element('style', Html(css)),
    ]
    whole = element('html', element('head', head), element('body', body), lang='en')
    return f'<!doctype html>\n{whole}\n'


def figures_of(figures: Sequence[Figure]) -> Html | None:
    """Figures beside each other, each with its title and how to read it."""
    if not figures:
        return None
    return element(
        'div',
        [
            element(
                'figure',
                element('figcaption', element('strong', figure.title), figure.note),
                element('div', Html(svg(figure)), role='img', aria_label=figure.title),
            )
            for figure in figures
        ],
        class_='figures',
    )


def _overview(report: dict[str, Any]) -> Html:
    notes = [element('p', note) for note in report['notes']]
    parts = [
        element('h2', 'All runs', id='all'),
        table(*summary_table(report)),
        notes,
        figures_of(report['figures']),
    ]
    return element('section', parts)


def summary_table(report: dict[str, Any]) -> tuple[list[list[Any]], list[Any]]:
    """Rows and head of the table over all runs."""
    runs, metric = report['runs'], report['metric']
    runtimes = list(dict.fromkeys(name for run in runs for name in run.get('latency', ())))
    head: list[Any] = ['run', 'method']
    head += [metric] if metric else []
    head += ['stored parameters', 'run-time parameters', 'MACs', 'file']
    head += [f'latency, {name}' for name in runtimes]
    head += ['training']
    rows = []
    for run in runs:
        row = [run['name'], run['method']]
        row += [_metric(run.get('metric'), metric)] if metric else []
        row += [
            _share('stored_params', run.get('stored_params'), run.get('dense', {}).get('params')),
            _share('params', run.get('params'), run.get('dense', {}).get('params')),
            _share('macs', run.get('macs'), run.get('dense', {}).get('macs')),
            format_value('file_bytes', run.get('file_bytes')) or NOTHING,
        ]
        row += [_latency(run.get('latency', {}).get(name)) for name in runtimes]
        row += [duration((run['history'] or {}).get('seconds'))]
        rows.append(row)
    return rows, head


def _metric(found: dict[str, Any] | None, column: str) -> Any:
    """A metric with its interval, and its name where that isn't the column's."""
    if found is None:
        return NOTHING
    parts: list[Any] = [format_value('', float(found['value']))]
    if found['interval']:
        low, high = found['interval']
        parts.append(element('small', f'{low:.4g} to {high:.4g}'))
    if found['name'] != column:
        parts.append(element('small', found['name']))
    return parts


def _share(column: str, value: int | None, dense: int | None) -> Any:
    """A count, and below it its share of the dense network's."""
    if value is None:
        return NOTHING
    shown = format_value(column, value)
    return [shown, element('small', f'{100 * value / dense:.0f} % of dense')] if dense else shown


def _latency(time: dict[str, float] | None) -> Any:
    if time is None:
        return NOTHING
    spread = float(f'{time["iqr_ms"]:.1g}')
    shown = f'{time["ms"]:.3g} ± {spread:g} ms'
    if time.get('ratio') is None:
        return shown
    return [shown, element('small', ratio(time['ratio'], time['ratio_iqr']))]


def ratio(value: float, spread: float) -> str:
    """A time as a share of the dense network's; where the spread is wider than the effect, that.

    Example:
        >>> ratio(0.5, 0.02), ratio(0.99, 0.1)
        ('50 % of dense', 'within the spread')
    """
    if abs(1 - value) <= spread:
        return 'within the spread'
    return f'{100 * value:.0f} % of dense'


def duration(seconds: float | None) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(42.3), duration(90), duration(7260)
        ('42 s', '1 min 30 s', '2 h 1 min')
    """
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'


def picture(png: bytes, text: str) -> Html:
    """A picture inside of the page."""
    data = base64.b64encode(png).decode('ascii')
    return element('img', src=f'data:image/png;base64,{data}', alt=text)


def _run(index: int, run: dict[str, Any]) -> Html:
    keys = ('folder', 'config', 'checkpoint', 'export')
    facts = [(key, run[key]) for key in keys if run.get(key)]
    return element(
        'section',
        element('h2', run['name'], id=f'run-{index}'),
        element('p', f'Method: {run["method"]}.'),
        element('ul', [element('li', f'{key}: ', element('code', value)) for key, value in facts]),
        [element('p', note) for note in run.get('notes', ())],
        figures_of(run.get('figures', ())),
        _layers(run.get('layers')),
        _samples(run.get('samples')),
    )


def _samples(samples: list[dict[str, Any]] | None) -> Html | None:
    """Predictions on images, those on one image beside each other."""
    if not samples:
        return None
    rows = []
    for sample in samples:
        name = f'image {sample["index"]}'
        pictures = [
            element(
                'figure',
                picture(panel.png, f'{name}, {panel.name}: {panel.text}'),
                element('figcaption', element('strong', panel.name), panel.text),
            )
            for panel in sample['panels']
        ]
        rows.append(element('div', pictures, class_='pair', role='group', aria_label=name))
    return Html(
        element('h3', 'Predictions on validation images') + element('div', rows, class_='pictures')
    )


def _layers(rows: list[dict[str, Any]] | None) -> Html | None:
    """The table of layers, closed until it's asked for."""
    if not rows:
        return None
    cells = [
        [
            row['layer'],
            row['kernel'],
            arrow(*('-'.join(map(str, ends)) if ends else NOTHING for ends in row['channels'])),
            row['rank'] or NOTHING,
            row['form'],
            arrow(*(format_value('params', count) for count in row['params'])),
            arrow(*(format_value('macs', count) for count in row['macs'])),
            arrow(*(f'{ms:.3g}' for ms in row['ms'])) if 'ms' in row else NOTHING,
        ]
        for row in rows
    ]
    head = ['layer', 'kernel', 'channels', 'rank', 'form', 'weights', 'MACs', 'ms']
    return element('details', element('summary', 'Layers in numbers'), table(cells, head, 'Layers'))


def arrow(before: str, after: str) -> str:
    """What was, and what is, where these differ."""
    return before if before == after else f'{before} → {after}'
