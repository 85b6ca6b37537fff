"""Filter basis and shared basis through the tools: training, resuming, units, export, reports."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

import mmcompress  # noqa: F401  (registers what checkpoints may hold)

# isort: split
from mmengine.config import Config
from mmengine.registry import MODELS

from mmcompress import load_compact
from mmcompress.core import CompressionError
from mmcompress.core.export.checkpoint import load_into

HEAD = """
_base_ = ['@root/configs/demo/dense_resnet20_digits.py']
train_dataloader = dict(dataset=dict(indices=128))
val_dataloader = dict(dataset=dict(indices=50))
test_dataloader = dict(dataset=dict(indices=50))
train_cfg = dict(max_epochs=2)
"""
DENSE = (
    HEAD
    + """
model = dict(backbone=dict(depth=14))
"""
)
FILTER_BASIS = """
_base_ = ['dense.py']
model = dict(
    _delete_=True,
    type='mmcompress.FilterBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='FilterBasisMutator',
        parse_cfg=dict(rule={'one': ['backbone.layer[12].*'], 'two': ['backbone.layer3.*']}),
        filter_unit_cfg=dict(
            default_args=dict(basis_bias=True),
            units=dict(
                one=dict(init_args=dict(basis_size=16, num_filters=16)),
                two=dict(init_args=dict(basis_size=8, num_filters=20)),
            ),
        ),
    ),
    init='svd',
    reconstruction=0.1,
)
load_from = '@dense'
"""
SHARED_BASIS = """
_base_ = ['dense.py']
model = dict(
    _delete_=True,
    type='mmcompress.SharedBasis',
    architecture=_base_.model,
    mutator_cfg=dict(
        type='SharedBasisMutator',
        filter_unit_cfg=dict(
            default_args=dict(norm_cfg=dict(type='BN')),
            units={'backbone.layer*': dict(init_args=dict(shared_rank=6, unique_rank=1))},
        ),
    ),
    orthogonality=0.1,
)
"""
STATIC = """
_base_ = ['@name.py']
model = dict(
    _delete_=True,
    type='mmcompress.sub_model',
    cfg=_base_.model.architecture,
    fix_subnet=_base_.model,
)
"""
NAMES = ('filter_basis', 'shared_basis')


def _state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def _resume(tool: ModuleType, config: Path, whole: Path, folder: Path) -> None:
    """Train on from the first epoch of another run, as if the second had been interrupted."""
    folder.mkdir()
    (folder / 'epoch_1.pth').symlink_to(whole / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    tool.succeed('train', config, '--work-dir', folder, '--resume')


@pytest.fixture(scope='module')
def runs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of a dense network, of both methods, and their second epoch again."""
    root = tmp_path_factory.mktemp('basis')
    dense = root / 'dense' / 'epoch_2.pth'
    texts = dict(dense=DENSE, filter_basis=FILTER_BASIS, shared_basis=SHARED_BASIS)
    texts.update({f'static_{name}': STATIC for name in NAMES})
    for name, text in texts.items():
        values = dict(root=tool.ROOT, dense=dense, name=name.removeprefix('static_'))
        for key, value in values.items():
            text = text.replace(f'@{key}', str(value))
        (root / f'{name}.py').write_text(text, encoding='utf-8')

    def train(name: str) -> None:
        tool.succeed('train', root / f'{name}.py', '--work-dir', root / name)
        if name in NAMES:
            _resume(tool, root / f'{name}.py', root / name, root / f'{name}_again')

    def from_dense() -> None:
        train('dense')
        train('filter_basis')

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(from_dense), pool.submit(train, 'shared_basis')]:
            future.result()
    return root


@pytest.fixture(scope='module')
def exports(tool: ModuleType, runs: Path) -> Path:
    """Both methods, exported by MACs and with a report, and evaluated."""

    def export(name: str) -> None:
        arguments = (runs / f'{name}.py', runs / name / 'epoch_2.pth', '--report', '--json')
        found = tool.succeed('export', *arguments, '--fold-bn')
        (runs / f'{name}.json').write_text(found)
        compact = runs / name / 'export' / 'compact.py'
        score = ('--work-dir', runs / f'{name}_test', '--json', runs / f'{name}_score.json')
        tool.succeed('test', compact, compact.with_suffix('.pth'), *score)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(export, NAMES))
    return runs


@pytest.mark.parametrize('name', NAMES)
def test_resumed_equals_uninterrupted(runs: Path, name: str) -> None:
    """Bit for bit, with the dense weights in the buffers; the dense network isn't read again."""
    one, other = (_state(runs / folder / 'epoch_2.pth') for folder in (name, f'{name}_again'))
    state = one['state_dict']
    assert state.keys() == other['state_dict'].keys()
    for key, value in state.items():
        assert torch.equal(value, other['state_dict'][key]), key
    for part in ('optimizer', 'param_schedulers'):
        assert repr(one[part]) == repr(other[part])
    teachers = [key for key in state if key.endswith('.teacher')]
    assert len(teachers) == (12 if name == 'filter_basis' else 0)
    assert len([key for key in state if 'shared_basis' in key]) == (2 if teachers else 3)
    moments = one['optimizer']['state'].values()
    assert all(moment['momentum_buffer'].any() for moment in moments)


def test_the_log_says_what_is_lost_and_the_losses_by_name(runs: Path) -> None:
    logs = {name: next((runs / name).glob('*/*.log')).read_text() for name in NAMES}
    for unit, size in dict(one=16, two=20).items():
        (line,) = [text for text in logs['filter_basis'].splitlines() if f' {unit}: {{' in text]
        assert f"'num_filters': {size}" in line
        assert 0 < float(line.split('relative reconstruction error ')[1]) < 1
    assert 'loss_reconstruction' in logs['filter_basis']
    assert 'loss_orthogonality' in logs['shared_basis']
    assert 'relative reconstruction' not in logs['shared_basis']


@pytest.mark.parametrize('name', NAMES)
def test_the_exported_network_does_what_the_trained_one_does(exports: Path, name: str) -> None:
    """By its score in a fresh process, and by outputs that a score would hide."""
    compact = exports / name / 'export' / 'compact.py'
    lines = next((exports / name).glob('*/vis_data/scalars.json')).read_text().splitlines()
    trained = next(json.loads(line) for line in lines[::-1] if 'accuracy' in line)
    assert (
        json.loads((exports / f'{name}_score.json').read_text())['accuracy/top1']
        == trained['accuracy/top1']
    )
    outputs = []
    for config, weights in (
        (exports / f'{name}.py', exports / name / 'epoch_2.pth'),
        (compact, compact.with_suffix('.pth')),
    ):
        model = MODELS.build(Config.fromfile(config).model).eval()
        load_into(model, weights)
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        outputs.append(model(images).detach())
    assert not any('mmcompress.methods' in type(m).__module__ for m in model.modules())
    assert outputs[0].std() > 1e-3
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_the_report_of_an_export(exports: Path, name: str) -> None:
    result = json.loads((exports / f'{name}.json').read_text())
    dense, exported = result['report']
    state = _state(exports / name / 'epoch_2.pth')['state_dict']
    buffers = ('running_mean', 'running_var', 'num_batches_tracked', 'teacher', 'dense_loaded',
               'shortcut.source')  # fmt: skip
    stored = sum(value.numel() for key, value in state.items() if not key.endswith(buffers))
    assert exported['stored_params'] == stored < exported['runtime_params']
    compact = load_compact(exports / name / 'export' / 'compact.pth')
    at_run_time = sum(v.numel() for k, v in compact.items() if not k.endswith(buffers))
    assert exported['runtime_params'] == at_run_time
    assert dense['stored_params'] == dense['runtime_params'] == 172_506
    assert exported['macs'] < dense['macs']
    assert exported['latency_ms'] > 0
    assert sum(result['forms'].values()) == (12 if name == 'filter_basis' else 6)
    assert result['max_difference'] < 1e-5


@pytest.mark.parametrize('name', NAMES)
def test_counts(call, exports: Path, name: str) -> None:
    """Dense, compact and static; the export is the static one, its norms folded."""
    rows = json.loads(call('get_flops', exports / f'{name}.py', '--json'))['models']
    assert [row['model'] for row in rows] == ['dense', 'compact', 'static']
    counts = {row['model']: row for row in rows}
    report = json.loads((exports / f'{name}.json').read_text())['report']
    assert counts['compact']['params'] == report[1]['stored_params']
    assert counts['static']['params'] > counts['compact']['params']
    assert counts['static']['macs'] <= counts['compact']['macs']
    compact = exports / name / 'export' / 'compact.py'
    rows = json.loads(call('get_flops', compact, '--json'))['models']
    assert [row['model'] for row in rows] == ['dense', 'compact']
    assert rows[1]['params'] == report[1]['runtime_params'] < counts['static']['params']
    assert rows[1]['macs'] == report[1]['macs'] < counts['static']['macs']
    # The config alone gives the same network, norms not folded.
    rows = json.loads(call('get_flops', exports / f'static_{name}.py', '--json'))['models']
    assert rows[1]['params'] == counts['static']['params']
    assert rows[1]['macs'] == counts['static']['macs']


@pytest.mark.parametrize('name', NAMES)
def test_a_static_network_of_the_config_is_trained(call, exports: Path, name: str) -> None:
    cfg = Config.fromfile(exports / f'static_{name}.py')
    model = MODELS.build(cfg.model)
    assert not any('mmcompress.methods' in type(m).__module__ for m in model.modules())
    assert model.training
    before = {key: value.clone() for key, value in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    assert len(parameters) == len({id(p) for p in parameters.values()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    features = model.extract_feat(torch.randn(4, 3, 32, 32))
    model.head.fc(features[-1]).square().sum().backward()
    optimizer.step()
    for key in parameters:
        assert not torch.equal(parameters[key], before[key]), key


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('prefer', ['params', 'latency'])
def test_forms_by_preference(call, runs: Path, tmp_path: Path, name: str, prefer: str) -> None:
    arguments = (runs / f'{name}.py', runs / name / 'epoch_2.pth', '--out', tmp_path / 'out')
    result = json.loads(call('export', *arguments, '--prefer', prefer, '--json'))
    assert set(result['forms']) <= {'merged', 'factored'}
    assert result['max_difference'] < 1e-5
    assert (tmp_path / 'out' / 'compact.pth').is_file()
    assert 'report' not in result


def test_onnx(call, runs: Path, tmp_path: Path) -> None:
    arguments = ('--out', tmp_path / 'out', '--onnx', '--fold-bn', '--json')
    paths = (runs / 'filter_basis.py', runs / 'filter_basis' / 'epoch_2.pth')
    result = json.loads(call('export', *paths, *arguments))
    assert result['onnx_difference'] < 1e-4
    assert (tmp_path / 'out' / 'compact.onnx').is_file()


@pytest.mark.parametrize('name', NAMES)
def test_units_of_a_config(call, tool: ModuleType, runs: Path, tmp_path: Path, name: str) -> None:
    """Written to a file, read again in both places, edited by hand; other files stay."""
    config, path = runs / f'{name}.py', tmp_path / 'units.json'
    call('get_channel_units', config, '-c', '-i', '-o', path)
    written = json.loads(path.read_text())
    units = written['filter_unit_cfg']['units']
    assert all(set(unit) == {'init_args', 'layers', 'choice'} for unit in units.values())
    assert json.loads(call('get_channel_units', config, '-c', '-i')) == written
    launch = tool.module('get_channel_units')
    defaults = written['filter_unit_cfg']['default_args']
    shapes = []
    for unit_cfg in (None, str(path), dict(units=str(path), default_args=defaults)):
        cfg = launch.load_config(config)
        if unit_cfg is not None:
            cfg.model.mutator_cfg.filter_unit_cfg = unit_cfg
        model = launch.build_model(cfg)
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    assert shapes[0] == shapes[1] == shapes[2]
    # Keep ratios alone replace a file of units, and serve as target_pruning_ratio.
    call('get_channel_units', config, '--choice', '-o', path)
    choices = json.loads(path.read_text())
    assert choices == {unit: entry.pop('choice') for unit, entry in units.items()}
    for unit in units.values():
        for key in ('num_filters', 'shared_rank'):
            unit['init_args'].pop(key, None)
    cfg.model.mutator_cfg.filter_unit_cfg = written['filter_unit_cfg']
    cfg.model.target_pruning_ratio = str(path)
    model = launch.build_model(cfg)
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes[0]
    before = config.read_text()
    with pytest.raises(CompressionError, match='--out'):
        call('get_channel_units', config, '-c', '-o', config)
    assert config.read_text() == before


def test_units_of_a_dense_config_are_channel_units(call, runs: Path) -> None:
    found = json.loads(call('get_channel_units', runs / 'dense.py', '-i'))
    assert 'backbone.layer1.0.conv1_(0, 16)_16' in found['channel_unit_cfg']['units']


MISTAKES = {
    'budget': (['get_channel_units', '{config}', '--target', 'macs=0.5'], 'budget'),
    'budget in the config': (
        ['train', '{config}', '--cfg-options', 'model.target.macs=0.5'], 'budget',
    ),
    'no dense weights': (
        ['train', '{config}', '--cfg-options', 'load_from=nowhere.pth'], "no file 'nowhere.pth'",
    ),
    'both sizes': (
        ['train', '{config}', '--cfg-options', 'model.target_pruning_ratio=0.5'], 'remove one',
    ),
    'initialisation': (
        ['get_flops', '{config}', '--cfg-options', 'model.init=sdv'], "init is 'sdv'",
    ),
    'unit of nothing': (
        ['train', '{config}', '--cfg-options',
         'model.mutator_cfg.filter_unit_cfg.units.x.choice=0.5'], "'x' matches no filter unit",
    ),
    'checkpoint of another rank': (
        ['export', '{config}', '{checkpoint}', '--out', '{out}', '--cfg-options',
         'model.mutator_cfg.filter_unit_cfg.units.{unit}.init_args.{rank}=3'], 'of another model',
    ),
    'checkpoint of the dense network': (
        ['export', '{config}', '{dense}', '--out', '{out}'], 'of another model',
    ),
    'settings of units': (
        ['train', '{config}', '--cfg-options',
         'model.mutator_cfg.filter_unit_cfg.default_args.coefficient_bias=3'],
        'coefficient_bias of filter unit .* is 3',
    ),
    'benchmark': (['benchmark', '{config}'], 'a basis instead of making them narrower'),
}  # fmt: skip


@pytest.mark.parametrize('case', MISTAKES)
def test_mistakes(call, runs: Path, tmp_path: Path, case: str) -> None:
    """One sentence, before anything is written."""
    for name in NAMES:
        (command, *arguments), message = MISTAKES[case]
        is_shared = name == 'shared_basis'
        values = dict(
            config=runs / f'{name}.py',
            checkpoint=runs / name / 'epoch_2.pth',
            dense=runs / 'dense' / 'epoch_2.pth',
            out=tmp_path / 'out',
            unit='backbone.layer*' if is_shared else 'one',
            rank='shared_rank' if is_shared else 'num_filters',
        )
        arguments = [argument.format(**values) for argument in arguments]
        if command == 'train':
            arguments[1:1] = ['--work-dir', tmp_path / 'out']
        if is_shared and 'units.backbone.layer*' in arguments[-1]:
            continue  # no name for --cfg-options
        with pytest.raises(CompressionError, match=message) as raised:
            call(command, *arguments)
        assert '\n' not in str(raised.value)
        assert not (tmp_path / 'out').exists()


def test_nothing_to_start_from(call, runs: Path, tmp_path: Path) -> None:
    """Told before a work dir is made; a backbone's own Pretrained weights would do."""
    out = tmp_path / 'out'
    command = ['train', runs / 'filter_basis.py', '--work-dir', out, '--cfg-options']
    with pytest.raises(CompressionError, match="init is 'svd', but no dense weights"):
        call(*command, 'load_from=None')
    with pytest.raises(CompressionError, match='reconstruction is set, but no dense weights'):
        call(*command, 'load_from=None', 'model.init=kaiming', 'model.reconstruction=1.0')
    assert not out.exists()
