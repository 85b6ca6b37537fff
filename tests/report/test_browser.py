"""The page of a report in a browser: nothing to complain of, nothing beside the window.

Skipped where there is no Chromium; Debian's package ``chromium`` brings it.
"""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mmcompress.core.base.figure import KINDS, Figure, Series
from mmcompress.report.page import page
from mmcompress.report.samples import Panel

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='there is no chromium')

#: Says how wide the window is, how wide the page, and whether a colour scheme was asked for.
PROBE = """<script>
addEventListener('load', () => parent.postMessage(JSON.stringify(
    [innerWidth, document.documentElement.scrollWidth,
     matchMedia('(prefers-color-scheme: dark)').matches,
     [...document.images].every((image) => image.complete && image.naturalWidth > 0)]), '*'));
</script>"""
#: Holds a page in a frame: windows of this browser are 500 pixels wide at least.
FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener('message', (event) => {{ document.body.dataset.found = event.data; }});
</script><iframe src="{file}" style="border: 0; width: {width}px; height: 1000px"></iframe>"""


def figure(kind):
    data = {
        'lines': ([1, 2, 3], [0.1, 1.0, 10.0]),
        'points': ([2.0], [5.0]),
        'bars': ([f'backbone.layer{i}.conv' for i in range(20)], list(range(20))),
        'steps': ([0.0, 0.5, 1.0], [7, 3]),
        'image': ([0, 2], [[0.0, 1.0], [2.0, 3.0]]),
    }[kind]
    return Figure(kind, f'All {kind}', kind, 'across', 'up', [Series('one', *data)])


@pytest.fixture(scope='module')
def whole_page(tmp_path_factory):
    """A page with a part of every kind, and a name that is longer than a narrow window."""
    folder = tmp_path_factory.mktemp('page')
    Image.new('RGB', (192, 128), (200, 30, 30)).save(folder / 'one.png')
    panels = [Panel(name, 'a < b', (folder / 'one.png').read_bytes()) for name in ('a', 'b', 'c')]
    run = dict(
        name='work_dirs/' + 'long' * 30,
        method='Some',
        folder='/somewhere/' + 'deep/' * 40,
        history=dict(seconds=90.0),
        metric=dict(name='top1', value=91.25, interval=(90.0, 92.5)),
        dense=dict(params=200, macs=4000),
        stored_params=100,
        params=150,
        macs=1000,
        file_bytes=12_345,
        latency=dict(torch=dict(ms=2.0, iqr_ms=0.1, ratio=0.5, ratio_iqr=0.01)),
        notes=['A note.'],
        figures=[figure(kind) for kind in KINDS],
        samples=[dict(index=0, panels=panels)],
        layers=[
            dict(layer='backbone.conv1', kernel='3x3', form='narrower', rank=None,
                 channels=[[3, 8], [3, 4]], params=[216, 108], macs=[5, 3], ms=[0.1, 0.05])
        ],
    )  # fmt: skip
    text = page(
        dict(title='Report', made='Today.', metric='top1', notes=['A note.'], runs=[run] * 2,
             figures=[figure('lines')])
    )  # fmt: skip
    file = folder / 'report.html'
    file.write_text(text.replace('</body>', f'{PROBE}</body>'), encoding='utf-8')
    return file


def chromium(file, folder, width, *more):
    """Show a page in a frame; returns the DOM, and what the browser's console said."""
    outer = folder / 'outer.html'
    outer.write_text(FRAME.format(file=file.as_uri(), width=width), encoding='utf-8')
    done = subprocess.run(
        [
            CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--hide-scrollbars', '--enable-logging=stderr', f'--user-data-dir={folder / "user"}',
            '--host-resolver-rules=MAP * ~NOTFOUND', '--virtual-time-budget=5000',
            f'--window-size={max(width, 500)},1000', *more, outer.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    return done.stdout, said


def probed(file, folder, width, *more):
    dom, said = chromium(file, folder, width, '--dump-dom', *more)
    found = re.search(r'data-found="([^"]*)"', dom)
    return json.loads(found[1].replace('&quot;', '"')), said


@pytest.mark.parametrize('width', [1280, 390])
def test_no_complaint_and_nothing_beside_the_window(whole_page, tmp_path, width):
    (window, wide, _, pictures), said = probed(whole_page, tmp_path, width)
    assert said == []
    assert window == width
    assert wide <= window
    assert pictures


def test_a_complaint_would_be_seen(whole_page, tmp_path):
    wrong = tmp_path / 'wrong.html'
    wide = '<p style="width: 3000px">x</p><script>missing()</script>'
    wrong.write_text(whole_page.read_text().replace('<main>', f'{wide}<main>'))
    (window, found, _, _), said = probed(wrong, tmp_path, 390)
    assert found > window
    assert any('missing' in line for line in said)


@pytest.mark.parametrize('dark', [False, True])
def test_light_and_dark(whole_page, tmp_path, dark):
    scheme = f'--blink-settings=preferredColorScheme={0 if dark else 1}'
    (_, _, found, _), _ = probed(whole_page, tmp_path, 800, scheme)
    assert found is dark
    shot = tmp_path / 'shot.png'
    chromium(whole_page, tmp_path, 800, scheme, f'--screenshot={shot}')
    lightness = np.array(Image.open(shot).convert('L'))
    # The ground, and the ink on it.
    assert (np.median(lightness) < 64) is np.bool_(dark)
    assert np.ptp(lightness) > 150
