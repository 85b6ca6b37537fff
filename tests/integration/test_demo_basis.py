"""Methods with filter units on trained networks: demos through the tools, all method files."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

import mmcompress  # noqa: F401  (registers the configs' types)

# isort: split
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmcompress import load_compact
from mmcompress.core import CompressionError
from mmcompress.core.filters.algorithm import FilterAlgorithm

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
METHODS = ('filter_basis', 'shared_basis')
#: Two blocks a stage, two batches an epoch.
SMALL = (
    'train_dataloader.dataset.indices=128',
    'val_dataloader.dataset.indices=50',
    'test_dataloader.dataset.indices=50',
    'dense.model.backbone.depth=14',
    'model.architecture.backbone.depth=14',
    'dense.train_cfg.max_epochs=2',
    'finetune.train_cfg.max_epochs=2',
)


def _run(tool: ModuleType, method: str, folder: Path) -> Path:
    """All stages of a demo."""
    config = f'configs/demo/{method}_resnet20_digits.py'
    tool.succeed('train', config, '--work-dir', folder, '--cfg-options', *SMALL)
    return folder


@pytest.fixture(scope='module')
def runs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Work dirs of both methods."""
    folders = [tmp_path_factory.mktemp(method) for method in METHODS]
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda pair: _run(tool, *pair), zip(METHODS, folders, strict=True))
        return dict(zip(METHODS, done, strict=True))


def _state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


@pytest.mark.parametrize('method', METHODS)
def test_the_exported_network_scores_as_the_trained_one(runs: dict[str, Path], method: str) -> None:
    lines = next((runs[method] / 'finetune').glob('*/vis_data/scalars.json')).read_text()
    logged = [json.loads(line) for line in lines.splitlines() if 'accuracy' in line]
    (tested,) = (runs[method] / 'test').glob('*/*.json')
    assert json.loads(tested.read_text())['accuracy/top1'] == logged[-1]['accuracy/top1'] > 0
    exported = load_compact(runs[method] / 'export' / 'compact.pth')
    assert not any('basis' in key or 'coefficients' in key for key in exported)


@pytest.mark.parametrize('method', METHODS)
def test_fine_tuning_starts_near_the_dense_network(runs: dict[str, Path], method: str) -> None:
    (log,) = (runs[method] / 'finetune').glob('*/*.log')
    errors = re.findall(
        r'(backbone\.layer\S+): {.*} keeps (\S+)% .* relative reconstruction error (\S+)',
        log.read_text(),
    )
    assert [name for name, _, _ in errors] == [f'backbone.layer{i}' for i in (1, 2, 3)]
    assert all(45 < float(keeps) <= 50 for _, keeps, _ in errors)
    assert all(0 < float(error) < 0.7 for _, _, error in errors)
    # The stem is the dense network's, four steps on.
    dense = _state(runs[method] / 'dense' / 'epoch_2.pth')['backbone.conv1.weight']
    own = _state(runs[method] / 'finetune' / 'epoch_2.pth')['architecture.backbone.conv1.weight']
    assert 0 < (own - dense).norm() < 0.3 * dense.norm()


def test_evaluating_what_training_starts_from(
    tool: ModuleType, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """test.py takes the dense checkpoint; that of another network is none."""
    test = tool.module('test')

    def read(method: str) -> Config:
        config = str(CONFIGS / f'demo/{method}_resnet20_digits_finetune.py')
        arguments = ['test.py', config, '--cfg-options', 'model.architecture.backbone.depth=14']
        monkeypatch.setattr(sys, 'argv', arguments)
        args = test.parse_args()
        return test.load_config(args.config, cfg_options=args.cfg_options)

    cfg = read('linear_conv')
    cfg.load_from = str(runs['filter_basis'] / 'dense' / 'epoch_2.pth')
    init_default_scope('mmpretrain')
    test.check(cfg, test.build_model(cfg))
    cfg = read('filter_basis')
    cfg.load_from = str(runs['filter_basis'] / 'dense' / 'epoch_2.pth')
    test.check(cfg, test.build_model(cfg))
    cfg.load_from = str(runs['filter_basis'] / 'finetune' / 'epoch_2.pth')
    test.check(cfg, test.build_model(cfg))
    cfg.model.architecture.backbone.depth = 20
    with pytest.raises(CompressionError, match='is of another model than FilterBasis: '):
        test.check(cfg, test.build_model(cfg))
    cfg.load_from = str(runs['filter_basis'] / 'dense' / 'epoch_2.pth')
    with pytest.raises(CompressionError, match='is of another model than ImageClassifier: '):
        test.check(cfg, test.build_model(cfg))


# Method files

#: By method file: configs of dense models.
DENSE = {
    'r18': [
        'mmpretrain::resnet/resnet18_8xb32_in1k.py',
        'demo/dense_faster-rcnn_r18_digits.py',
        'demo/dense_fcn_r18_digits.py',
        'demo/dense_heatmap_r18_digits.py',
    ],
    'r34': ['mmpretrain::resnet/resnet34_8xb32_in1k.py'],
    'r50': [
        'mmpretrain::resnet/resnet50_8xb32_in1k.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    ],
}
SERVED = [
    (method, size, config)
    for method in (*METHODS, 'linear_conv')
    for size, configs in DENSE.items()
    # One of each size is enough for the third method: what is found is the same.
    for config in (configs if method in METHODS else configs[-1:])
]
#: 3x3 convolutions of the blocks, and of those that aren't the first of their stage.
CONVS = {'r18': (16, 8), 'r34': (32, 24), 'r50': (16, 12)}


def _algorithm(tool: ModuleType, method: str, size: str, config: str) -> FilterAlgorithm:
    """What ``--compress`` makes of a config."""
    path = config if '::' in config else str(CONFIGS / config)
    command = ['train.py', path, '--compress', str(CONFIGS / f'_base_/methods/{method}_{size}.py')]
    train = tool.module('train')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', command)
        args = train.parse_args()
        cfg = train.load_config(args.config, args.compress)
    return train.build_model(cfg)


@pytest.mark.parametrize(('method', 'size', 'config'), SERVED)
def test_one_method_file_serves_all_tasks(
    tool: ModuleType, method: str, size: str, config: str
) -> None:
    """Half of the 3x3 convolutions of the blocks, and nothing else."""
    algorithm = _algorithm(tool, method, size, config)
    units = algorithm.mutator.units
    layers = [layer for unit in units.values() for layer in unit.layers]
    assert all(re.fullmatch(r'backbone\.layer[1-4]\.\d\.conv[12]', layer) for layer in layers)
    every, later = CONVS[size]
    if method != 'shared_basis':
        assert len(layers) == len(units) == every
    else:
        assert list(units) == [f'backbone.layer{i}' for i in (1, 2, 3, 4)]
        assert len(layers) == later
        assert not any('.0.' in layer for layer in layers)
    assert all(0.48 < unit.choice <= 0.5 for unit in units.values())
    convs = algorithm.architecture.backbone.modules()
    left = [conv for conv in convs if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)]
    deep_stem = 3 if 'point_rend' in config or 'fcn' in config else 0
    assert len(left) == every - len(layers) + deep_stem


@pytest.mark.parametrize('method', [*METHODS, 'linear_conv'])
@torch.no_grad()
def test_pretrained_backbones_are_fitted(method: str, tmp_path: Path) -> None:
    """The weights that an ``init_cfg`` of the backbone names are what the filters are made of."""
    cfg = Config.fromfile(CONFIGS / f'_base_/methods/{method}_r18.py')
    init_default_scope('mmpretrain')
    backbone = dict(type='ResNet', depth=18, stem_channels=32, base_channels=32)
    dense = MODELS.build(backbone)
    state = {f'backbone.{name}': tensor for name, tensor in dense.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'dense.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'dense.pth'), prefix='backbone')
    model = dict(
        type='ImageClassifier',
        backbone=dict(backbone, init_cfg=pretrained),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=256),
    )
    algorithm = MODELS.build(dict(cfg.compression, architecture=model))
    algorithm.init_weights()
    algorithm.start(None)
    for unit in algorithm.mutator.units.values():
        assert 0 < unit.error < 0.75
        missed = sum(
            float((op.filters() - state[f'{layer}.weight']).square().sum())
            for layer, op in unit.ops.items()
        )
        total = sum(float(state[f'{layer}.weight'].square().sum()) for layer in unit.layers)
        assert unit.error == pytest.approx((missed / total) ** 0.5, rel=1e-4)
    kept = algorithm.architecture.state_dict()
    same = [name for name in state if name in kept and torch.equal(kept[name], state[name])]
    assert {'backbone.conv1.weight', 'backbone.layer2.0.downsample.0.weight'} <= {*same}
