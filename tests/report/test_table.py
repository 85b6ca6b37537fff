"""Tables: what is printed and what is stored."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from mmcompress.report import print_table, write_json
from mmcompress.report.table import format_value

ROWS = [
    dict(method='dense', top1=98.25, params=853018, macs=126550656),
    dict(method='dcff', params=np.int64(384316), macs=55835776, note='static'),
]


@pytest.mark.parametrize(
    ('column', 'value', 'expected'),
    [
        ('macs', 126550656, '126.55M'),
        ('macs', 4111512576, '4.11G'),
        ('params_static', 853018, '853.02k'),
        ('params', 999, '999'),
        ('epochs', 300000, '300000'),
        ('top1', 98.256, '98.26'),
        ('ratio', 0.00012344, '0.0001234'),
        ('file_bytes', 1104720, '1.10 MB'),
        ('file_bytes', 4321, '4.3 kB'),
        ('ok', True, 'True'),
        ('name', 'dense', 'dense'),
        ('top1', None, ''),
    ],
)
def test_cells(column, value, expected):
    assert format_value(column, value) == expected


def test_prints_all_columns_and_rows():
    out = io.StringIO()
    print_table(ROWS, title='Digits', console=Console(file=out, width=120))
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == 'Digits'
    header, dense, dcff = [line for line in lines[1:] if any(c.isalpha() for c in line)]
    assert [cell.strip() for cell in header.split('┃')[1:-1]] == [
        *('method', 'top1', 'params', 'macs', 'note')
    ]
    assert [c.strip() for c in dense.split('│')[1:-1]] == [
        'dense',
        '98.25',
        '853.02k',
        '126.55M',
        '',
    ]
    assert [c.strip() for c in dcff.split('│')[1:-1]] == [
        *('dcff', '', '384.32k', '55.84M', 'static')
    ]


def test_json_keeps_full_precision(tmp_path):
    path = tmp_path / 'new' / 'rows.json'
    write_json([*ROWS, dict(loss=torch.tensor(0.1, dtype=torch.double))], path)
    assert json.loads(path.read_text()) == [
        ROWS[0],
        dict(method='dcff', params=384316, macs=55835776, note='static'),
        dict(loss=0.1),
    ]


def test_json_refuses_what_it_cannot_store(tmp_path):
    with pytest.raises(TypeError, match='object cannot be written as JSON'):
        write_json([dict(model=object())], tmp_path / 'rows.json')
