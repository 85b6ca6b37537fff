"""cli/__init__.py: verbs, and help texts that wait for nothing."""

import argparse
import json
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from mmcompress import cli
from mmcompress.cli import data, program
from mmcompress.cli.export import PREFERENCES, STORES
from mmcompress.cli.options import give_json, prints_json, separate_choices, separate_json
from mmcompress.core.export.export import STORES as ALL_STORES
from mmcompress.datasets.files import TASKS

#: How a user comes to a verb, by the words in front of its arguments; and its tool.
TOOLS = {
    'train': 'train',
    'recover': 'recover',
    'test': 'test',
    'export': 'export',
    'convert': 'convert',
    'units': 'get_channel_units',
    'flops': 'get_flops',
    'tables': 'tables',
    'bench': 'benchmark',
    'plot': 'plot',
    'report': 'report',
    'reproduce': 'reproduce',
    'demo': 'demo',
    'data digits': 'make_digits',
    'data crop': 'make_sub_images',
}
#: Those with results as JSON, and what they need beside it.
WITH_JSON = {
    'test': ['config.py'],
    'recover': ['config.py', 'x.pth'],
    'export': ['config.py', 'x.pth'],
    'convert': ['x.pth', 'y.pth', '--from', 'dcff', '--config', 'config.py'],
    'flops': ['config.py'],
    'tables': [],
    'bench': ['config.py'],
    'report': ['work_dir'],
    'reproduce': [],
    'demo': [],
    'data crop': ['folder'],
}


def verb(name):
    return import_module(f'mmcompress.cli.{name.replace(" ", ".")}')


def run(tool, *words, trace=False):
    """Run Python; with the names of all modules that it imports, if asked."""
    options = ['-X', 'importtime'] if trace else []
    return subprocess.run(
        [sys.executable, *options, '-W', 'ignore', *map(str, words)],
        cwd=tool.ROOT,
        env=tool.environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def imported(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    assert lines
    return {line.rsplit('|', 1)[1].strip().split('.')[0] for line in lines}


@pytest.fixture(scope='session')
def script(tmp_path_factory):
    """What pip makes of the entry point."""
    path = tmp_path_factory.mktemp('bin') / 'mmcompress'
    path.write_text('import sys\nfrom mmcompress.cli import main\nsys.exit(main())\n')
    return path


@pytest.mark.parametrize('name', ['', *TOOLS])
@pytest.mark.parametrize('way', ['module', 'script', 'tool'])
def test_help_imports_no_torch(tool, script, name, way):
    if way == 'tool':
        if not name:
            return
        words, called = [f'tools/{TOOLS[name]}.py'], f'{TOOLS[name]}.py'
    else:
        words = [*(['-m', 'mmcompress'] if way == 'module' else [script]), *name.split()]
        called = f'mmcompress {name}'.strip()
    done = run(tool, *words, '--help', trace=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(f'usage: {called} ')
    assert not {'torch', 'mmengine', 'numpy', 'rich'} & imported(done)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['trian'], ["'trian'", "'train'"]),
        (['data', 'digit'], ['mmcompress data', "'digit'", "'digits'"]),
        (['--compress'], ["'--compress'"]),
    ],
    ids=str,
)
def test_an_unknown_verb(capsys, monkeypatch, words, said):
    monkeypatch.setattr(sys, 'argv', ['mmcompress', *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    text, errors = capsys.readouterr()
    assert (ended.value.code, text) == (2, '')
    assert errors.startswith('error: ')
    assert errors.count('\n') == 1
    assert all(part in errors for part in said)


def test_no_verb(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmcompress'])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert 'usage: mmcompress VERB' in capsys.readouterr().err


def test_the_verbs_are_all_there_is():
    nested = {f'data {name}' for name in data.VERBS}
    assert {*cli.VERBS} - {'data'} | nested == {*TOOLS}
    for name, tool in TOOLS.items():
        assert callable(verb(name).main)
        assert callable(verb(name).add_arguments)
        assert (program.PACKAGE.parent / 'tools' / f'{tool}.py').is_file()


def test_a_run_imports_everything(tool, script):
    """A mistake in a config is found by code that needs it all."""
    for words in (['-m', 'mmcompress', 'flops'], [script, 'flops'], ['tools/get_flops.py']):
        done = run(tool, *words, 'nowhere.py', trace=True)
        assert done.returncode == 2
        assert "error: config: there is no file 'nowhere.py'" in done.stderr
        assert 'torch' in imported(done)


def test_other_programs_import_everything_at_once(tool, tmp_path):
    """Whatever they are called, and whatever is on their command line."""
    (tmp_path / 'tools').mkdir()
    path = tmp_path / 'tools' / 'train.py'
    path.write_text(
        'import sys, mmcompress\n'
        'print("mmcompress.methods.dcff" in sys.modules, mmcompress.load_compact.__name__)\n'
    )
    done = run(tool, path, '--help', 'mmcompress')
    assert done.stdout.split() == ['True', 'load_compact'], done.stderr[-2000:]


def test_names_of_the_package_in_our_own_process(tool, tmp_path):
    """A config's own module may use them."""
    path = tmp_path / 'mmcompress'
    path.write_text(
        'import sys, mmcompress\n'
        'before = "torch" in sys.modules\n'
        'print(before, mmcompress.load_compact.__name__, hasattr(mmcompress, "nothing"))\n'
    )
    done = run(tool, path)
    assert done.stdout.split() == ['False', 'load_compact', 'False'], done.stderr[-2000:]


def test_choices_that_help_texts_repeat():
    assert STORES == ALL_STORES
    assert tuple(TASKS) == verb('data digits').TASKS
    assert PREFERENCES == ('macs', 'params', 'latency')


@pytest.mark.parametrize('name', WITH_JSON)
@pytest.mark.parametrize(
    ('given', 'where'),
    [
        ([], None),
        (['--json'], '-'),
        (['--json', 'x.json'], 'x.json'),
        (['--json=x.txt'], 'x.txt'),
    ],
    ids=str,
)
def test_json_means_the_same_everywhere(name, given, where):
    needed = WITH_JSON[name]
    for words in ([*given, *needed], [*needed, *given]):
        args = cli.parse(verb(name), words)
        assert args.json == where
        assert prints_json(args.json) == (where == '-')


def test_json_takes_no_checkpoint_for_a_file():
    args = cli.parse(verb('flops'), ['config.py', '--json', 'epoch_1.pth'])
    assert (args.checkpoint, args.json) == ('epoch_1.pth', '-')
    words = ['--json', '--json', 'a.json', 'a.json', '--shape', '3', '--json']
    expected = ['--json=-', '--json=a.json', 'a.json', '--shape', '3', '--json=-']
    assert separate_json(words) == expected


def test_a_choice_behind_onnx_is_its_value_and_a_config_is_not():
    for words, onnx in (
        (['--onnx', 'a.py', 'b.pth'], 'raw'),
        (['--onnx', 'end2end', 'a.py', 'b.pth'], 'end2end'),
        (['a.py', '--onnx', 'raw', 'b.pth'], 'raw'),
        (['a.py', 'b.pth', '--onnx'], 'raw'),
        (['a.py', '--onnx=end2end', 'b.pth'], 'end2end'),
        (['a.py', 'b.pth'], None),
    ):
        args = cli.parse(import_module('mmcompress.cli.export'), words)
        assert (args.config, args.checkpoint, args.onnx) == ('a.py', 'b.pth', onnx)
    # Where it takes no value, nothing changes.
    assert cli.parse(import_module('mmcompress.cli.bench'), ['a.py', '--onnx']).onnx is True
    assert separate_choices(['--onnx', 'raw'], argparse.ArgumentParser()) == ['--onnx', 'raw']


def test_giving_json(tmp_path, capsys):
    path = tmp_path / 'new' / 'x.json'
    for where in (None, '-', str(path)):
        give_json(dict(macs=np.float64(2.5)), where)
    assert json.loads(capsys.readouterr().out) == json.loads(path.read_text()) == dict(macs=2.5)


def counted(call, tmp_path, name, *arguments):
    """The result of a tool on the terminal, after a look that a file holds the same."""
    path = tmp_path / 'result.json'
    shown = call(name, *arguments, '--json', path)
    printed = json.loads(call(name, *arguments, '--json'))
    assert json.loads(path.read_text()) == printed
    assert shown.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown)
    return printed


def test_flops_as_json(call, tool, tmp_path):
    options = ('--cfg-options', 'model.architecture.backbone.depth=8')
    found = counted(call, tmp_path, 'get_flops', tool.DEMO, *options)
    assert [row['model'] for row in found['models']] == ['dense', 'compact']


def test_metrics_as_json(call, tool, tmp_path):
    """Of a model without weights, so without a checkpoint."""
    config = 'configs/demo/bicubic_x2_photos.py'
    options = ('--work-dir', tmp_path / 'work')
    printed = json.loads(call('test', config, *options, '--json'))
    call('test', config, *options, '--json', tmp_path / 'x.json')
    assert json.loads((tmp_path / 'x.json').read_text()) == printed
    assert any('PSNR' in key for key in printed)


def test_crops_as_json(call, tmp_path):
    (tmp_path / 'HR').mkdir()
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / 'HR' / 'a.png')
    sizes = ('--size', 8, '--step', 4)
    call('make_sub_images', tmp_path / 'HR', *sizes, '--json', tmp_path / 'x.json')
    printed = json.loads(
        call('make_sub_images', tmp_path / 'HR', *sizes, '--suffix', '_b', '--json')
    )
    first = json.loads((tmp_path / 'x.json').read_text())
    assert first['sub_images'] == printed['sub_images'] == 2


def test_earlier_names_of_options(capsys):
    for words in (['-o', 'x'], ['--out', 'x'], ['--output-path', 'x'], ['--output-path=x']):
        assert cli.parse(verb('units'), ['config.py', *words]).out == 'x'
    with pytest.raises(SystemExit):
        cli.parse(verb('units'), ['--help'])
    assert 'output-path' not in capsys.readouterr().out
    args = cli.parse(verb('units'), ['config.py', '-c', '-i', '--choice'])
    assert (args.with_channel, args.with_init_args, args.choice, args.out) == (True,) * 3 + (None,)


def test_the_earlier_name_of_the_budget(capsys):
    old = cli.parse(verb('units'), ['config.py', '--target', 'macs=0.5', 'divisor=8'])
    assert '--budget' in capsys.readouterr().err
    new = cli.parse(verb('units'), ['config.py', '--budget', 'macs=0.5', 'divisor=8'])
    assert capsys.readouterr().err == ''
    assert old.budget == new.budget == dict(macs=0.5, divisor=8)


@pytest.mark.parametrize('name', ['export', 'flops', 'bench'])
def test_shape(name):
    needed = WITH_JSON[name]
    assert cli.parse(verb(name), [*needed, '--shape', '32', '64']).shape == [32, 64]
    assert cli.parse(verb(name), needed).shape is None


def test_options_that_are_expressions_of_lists():
    """They stay texts; lists are lists."""
    words = ['a=[0.5]*2+[0.4]', 'b=[1,(2,3)]', 'c=2*[0.5]', 'd=x*y', 'e=[layer*,head]']
    found = cli.parse(verb('flops'), ['config.py', '--cfg-options', *words]).cfg_options
    assert found == dict(
        a='[0.5]*2+[0.4]', b=[1, (2, 3)], c='2*[0.5]', d='x*y', e=['layer*', 'head']
    )
