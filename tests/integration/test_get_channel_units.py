"""tools/get_channel_units.py on the published config, and its file back in a config."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import ModuleType

import pytest

R50 = 'configs/pruning/mmcls/dcff/dcff_resnet50_8xb32_in1k.py'


def test_published_command(tool: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / 'resnet_cls.json'
    tool.succeed('get_channel_units', R50, '-c', '-i', f'--output-path={path}')
    units = json.loads(path.read_text())['channel_unit_cfg']['units']
    assert len(units) == 37
    assert units['backbone.layer4.0.conv3_(0, 2048)_2048']['choice'] == 0.9
    assert units['backbone.conv1_(0, 64)_64']['init_args']['num_channels'] == 64
    for unit in units.values():
        assert unit['channels']['output_related']
        assert unit['channels']['input_related']

    # Back into a config: as widths, and as units that need no analysis.
    by_ratio = _compact(tool, f'model.target_pruning_ratio={path}')
    by_units = _compact(
        tool, f'model.mutator_cfg.channel_unit_cfg={path}', 'model.target_pruning_ratio=None'
    )
    assert by_ratio == by_units == (15163623, 2248866576)


def _compact(tool: ModuleType, *options: str) -> tuple[int, int]:
    out = tool.succeed('get_flops', R50, '--json', '--cfg-options', *options)
    (compact,) = [row for row in json.loads(out)['models'] if row['model'] == 'compact']
    return compact['params'], compact['macs']


def test_choices_are_keep_ratios_on_standard_output(tool: ModuleType) -> None:
    choices = json.loads(tool.succeed('get_channel_units', tool.DEMO, '--choice'))
    assert len(choices) == 12
    assert set(choices.values()) == {0.75}


def test_budget_to_ratios_and_back(tool: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / 'ratios.json'
    path.write_text('{"backbone.conv1_(0, 16)_16": 0.5}')
    budget = ('--target', 'macs=0.55', 'input_shape=3,32,32', '--choice', '-o', path)
    done = tool.run_tool('get_channel_units', tool.DEMO, *budget)
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = [line for line in done.stderr.splitlines() if 'budget: ' in line]
    ratios = json.loads(path.read_text())
    assert len(ratios) == 12
    assert 'of an earlier run' not in ratios

    option = f'model.target_pruning_ratio={path}'
    back = tool.succeed('get_channel_units', tool.DEMO, '--choice', '--cfg-options', option)
    assert json.loads(back) == ratios
    flops = tool.succeed('get_flops', tool.DEMO, '--json', '--cfg-options', option)
    dense, compact = json.loads(flops)['models']
    assert 0.545 < compact['macs'] / dense['macs'] <= 0.55
    # Counted by get_flops, computed by the budget: the average pool makes the difference.
    reached = int(log.split('budget: ')[1].split()[0].replace(',', ''))
    assert abs(reached - compact['macs']) < 1e-3 * dense['macs']


def test_budget_of_a_library_s_dense_config(tool: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / 'units.json'
    dense = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
    budget = ('--target', 'params=0.5', 'divisor=8', 'input_shape=3,32,32')
    tool.succeed('get_channel_units', dense, *budget, '-c', '-i', '-o', path)
    units = json.loads(path.read_text())['channel_unit_cfg']['units']
    for unit in units.values():
        assert unit['choice'] * unit['init_args']['num_channels'] % 8 == 0
    method = 'configs/_base_/methods/dcff_r18.py'
    # The method file would round to multiples of 16.
    options = (
        f'model.target_pruning_ratio={path}',
        'model.mutator_cfg.channel_unit_cfg.default_args.divisor=1',
    )
    back = tool.succeed(
        'get_channel_units', dense, '--compress', method, '--choice', '--cfg-options', *options
    )
    assert json.loads(back) == {name: unit['choice'] for name, unit in units.items()}


@pytest.mark.parametrize('compress', [(), ('--compress', 'dcff')], ids=['dense', 'compressed'])
def test_a_budget_counts_at_the_size_of_the_other_tools(tool: ModuleType, compress: tuple) -> None:
    """The images of the config, not those that are common in its library."""
    config = 'configs/demo/dense_faster-rcnn_r18_digits.py'
    budget = ('--budget', 'macs=0.6', '--choice')
    done = tool.run_tool('get_channel_units', config, *compress, *budget)
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = [line for line in done.stderr.splitlines() if 'budget: ' in line]
    assert log.endswith('at 3x96x96')
    flops = json.loads(tool.succeed('get_flops', config, *compress, '--json'))
    assert flops['shape'] == [3, 96, 96]
    counted = int(log.split(' of ')[1].split()[0].replace(',', ''))
    assert counted == pytest.approx(flops['models'][0]['macs'], rel=1e-3)


def test_dense_config(tool: ModuleType) -> None:
    out = tool.succeed('get_channel_units', 'configs/demo/dense_resnet20_digits.py')
    units = json.loads(out)['channel_unit_cfg']['units']
    assert units['backbone.layer1.0.conv1_(0, 16)_16'] == {'choice': 1.0}


def test_the_plan_is_in_the_log(tool):
    done = tool.run_tool('get_channel_units', 'configs/demo/dcff_resnet20_digits.py', '--choice')
    assert done.returncode == 0, done.stderr[-2000:]
    plan = [line for line in done.stderr.splitlines() if 'plan: ' in line]
    assert '12 of 12 units are compressed' in plan[0]
    assert 'whole model at 3x32x32: parameters 0.27 -> 0.15 M (54%)' in plan[2]
    assert plan[3].endswith('plan: next: mmcompress train configs/demo/dcff_resnet20_digits.py')
    assert len(json.loads(done.stdout)) == 12, 'and not in what can be piped'


def test_a_budget_in_the_command_that_comes_next(tool: ModuleType, tmp_path: Path) -> None:
    """It builds what the units are of."""
    config = 'configs/demo/dense_resnet20_digits.py'
    words = (config, '--compress', 'dcff', '--choice')
    done = tool.run_tool('get_channel_units', *words, '--budget', 'macs=0.5', 'divisor=4')
    (line,) = [line for line in done.stderr.splitlines() if 'next: ' in line]
    verb, *rest = shlex.split(line.split('next: mmcompress ')[1])
    assert verb == 'train'
    assert tool.succeed('get_channel_units', *rest, '--choice') == done.stdout
