"""The published DCFF recipes of four tasks: their networks, and the compact configs beside them.

Besides the authors' own, of CIFAR-10 and ImageNet: counts, start and schedule of their program.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.cli.launch import apply_method, build_algorithm, read_config
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.export import compare
from mmcompress.core.export.static import to_static
from mmcompress.methods.dcff import FusedConv2d

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

#: MMRazor's; what their networks count is in test_tables.py, as of all published rows.
RECIPES = (
    'mmcls/dcff/dcff_resnet50_8xb32_in1k.py',
    'mmdet/dcff/dcff_faster_rcnn_resnet50_8xb4_coco.py',
    'mmseg/dcff/dcff_pointrend_resnet50_8xb2_cityscapes.py',
    'mmpose/dcff/dcff_topdown_heatmap_resnet50_coco.py',
)

#: The authors' recipes, and the parameters that are trained where their program's are known.
AUTHORS = {
    'dcff_vgg16_300e_cifar10': None,
    'dcff_resnet56_300e_cifar10': None,
    'dcff_resnet110_300e_cifar10': None,
    'dcff_googlenet_300e_cifar10': None,
    'dcff_resnet50_90e_in1k_2.25b': 19225573,
}


@pytest.fixture(scope='module', params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A recipe and its compact config, built; the filters are fused as in training."""
    path = CONFIGS / 'pruning' / request.param
    cfg = read_config(str(path))
    compact_cfg = read_config(str(path.with_name(path.name.replace('dcff_', 'dcff_compact_'))))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        algorithm, compact = build_algorithm(cfg), build_model(compact_cfg)
        algorithm.fuse(10.0)
        yield SimpleNamespace(cfg=cfg, algorithm=algorithm, compact=compact)


def test_the_compact_config_takes_an_export(recipe: SimpleNamespace) -> None:
    """Strictly, and it then computes the same."""
    before = compare(recipe.algorithm, recipe.compact)[0]
    recipe.compact.load_state_dict(to_static(recipe.algorithm).state_dict())
    assert compare(recipe.algorithm, recipe.compact)[0] < 1e-5 < before


def test_everything_is_trained(recipe: SimpleNamespace) -> None:
    """Though the libraries freeze the first stages of detectors, for pretrained weights."""
    recipe.algorithm.train()
    assert all(p.requires_grad for p in recipe.algorithm.parameters())
    assert all(m.training for m in recipe.algorithm.modules() if isinstance(m, _BatchNorm))


@pytest.fixture(scope='module', params=AUTHORS)
def authors(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A recipe of the authors, its network as training starts it."""
    cfg = read_config(str(CONFIGS / f'pruning/mmcls/dcff/{request.param}.py'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        algorithm = build_algorithm(cfg)
        algorithm.init_weights()
        yield SimpleNamespace(
            name=request.param, cfg=cfg, algorithm=algorithm, trained=AUTHORS[request.param]
        )


def test_layers_that_the_authors_fuse(authors: SimpleNamespace) -> None:
    """All of them, also of full width; in ResNet-50 all but the four downsampling ones."""
    if authors.trained is not None:
        assert sum(p.numel() for p in authors.algorithm.parameters()) == authors.trained
    layers = authors.algorithm.architecture.backbone.named_modules()
    convs = {name: layer for name, layer in layers if isinstance(layer, nn.Conv2d)}
    plain = [name for name, layer in convs.items() if not isinstance(layer, FusedConv2d)]
    expected = [f'layer{i}.0.downsample.0' for i in (1, 2, 3, 4)] if 'in1k' in authors.name else []
    assert plain == expected
    for name, layer in convs.items():
        assert name in plain or all(layer.mixes), name
    if 'vgg' in authors.name:
        features = authors.algorithm.architecture.extract_feat(
            torch.randn(2, 3, 32, 32), stage='backbone'
        )
        assert features[-1].shape == (2, 76, 1, 1)


def test_start_of_the_authors(authors: SimpleNamespace) -> None:
    """Normal by fan in (CIFAR ResNets), uniform by fan in (VGG, GoogLeNet), normal by fan out."""
    model = authors.algorithm.architecture
    layers = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    if 'in1k' not in authors.name:
        layers.append(model.head.fc)
    for layer in layers:
        weight = layer.weight.detach()
        fan_in, size = weight[0].numel(), weight.numel()
        if '_resnet50_' in authors.name:
            fan_in = weight[:, 0].numel()
        if 'vgg' in authors.name or 'googlenet' in authors.name:
            bound = fan_in**-0.5
            assert weight.abs().max() <= bound
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=4 / size**0.5)
        else:
            # four standard errors, and the smaller ones of small layers are wider still
            assert float(weight.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=4 / size**0.5)
            assert weight.abs().max() > 1.5 * (2 / fan_in) ** 0.5


def _rates(cfg: Config, batches: int) -> Iterator[tuple[int, int, float]]:
    """Epoch, batch and learning rate; of epochs behind the warm-up the first batch only."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optim_wrapper.optimizer.lr)
    found = []
    for part in cfg.param_scheduler:
        scheduler = {key: value for key, value in part.items() if key != '_scope_'}
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        if scheduler.pop('convert_to_iter_based', False):
            found.append(kind.build_iter_from_epoch(optimizer, **scheduler, epoch_length=batches))
        else:
            found.append(kind(optimizer, **scheduler))
    for epoch in range(cfg.train_cfg.max_epochs):
        for batch in range(batches if epoch < 5 else 1):
            yield epoch, batch, optimizer.param_groups[0]['lr']
            for scheduler in found:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in found:
            if scheduler.by_epoch:
                scheduler.step()


@pytest.mark.parametrize(
    ('name', 'base', 'epochs', 'momentum'),
    [
        ('dcff_resnet50_90e_in1k_2.25b', 0.1, 90, 0.9),
        ('dcff_resnet50_90e_in1k_0.96b', 0.1, 90, 0.9),
        ('dcff_resnet50_180e_in1k_1.02b', 0.01, 180, 0.99),
    ],
)
def test_schedule_of_the_authors(name: str, base: float, epochs: int, momentum: float) -> None:
    """Steps at 30, 60 and 80, or half a cosine; five epochs of warm-up, batch by batch."""
    cfg = read_config(str(CONFIGS / f'pruning/mmcls/dcff/{name}.py'))
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', base, momentum)
    assert optimizer.weight_decay == 1e-4
    assert cfg.train_dataloader.batch_size * 8 == 256
    batches = 5005
    seen = 0
    for epoch, batch, found in _rates(cfg, batches):
        if epochs == 90:
            expected = base * 0.1 ** (epoch // 30 + (epoch >= 80))
        else:
            expected = 0.5 * base * (1 + math.cos(math.pi * (epoch - 5) / (epochs - 5)))
        if epoch < 5:
            expected *= (1 + batch + epoch * batches) / (5 * batches)
        # The authors' cosine is on its way up during the warm-up, 0.2 % below its top at first.
        apart = 0.0021 if epochs == 180 and epoch < 5 else 1e-9
        assert found == pytest.approx(expected, rel=apart, abs=1e-12), (epoch, batch)
        seen += 1
    assert seen == 5 * batches + epochs - 5


def test_schedules_of_mmrazor() -> None:
    """The detector's 120 epochs; PointRend's learning rate ends at 80,000 of 160,000."""
    detector = read_config(
        str(CONFIGS / 'pruning/mmdet/dcff/dcff_faster_rcnn_resnet50_8xb4_coco.py')
    )
    assert detector.train_cfg.max_epochs == 120
    assert detector.param_scheduler.milestones == [60, 80, 95]
    assert detector.optim_wrapper.optimizer.lr == 0.04
    pointrend = read_config(
        str(CONFIGS / 'pruning/mmseg/dcff/dcff_pointrend_resnet50_8xb2_cityscapes.py')
    )
    assert pointrend.train_cfg.max_iters == 160000
    poly = pointrend.param_scheduler[1]
    assert (poly.type, poly.begin, poly.end, poly.eta_min) == ('PolyLR', 200, 80000, 1e-4)


@pytest.mark.parametrize(
    'backbone', ['mmpretrain.ResNetV1d', 'mmdet.ResNet', 'mmseg.ResNetV1c', 'mmpose.ResNet']
)
@pytest.mark.parametrize('depth', [18, 34, 50, 101])
def test_method_files_fit_every_library(backbone: str, depth: int) -> None:
    """One file a depth: no pattern in vain, and every block becomes narrower."""
    cfg = SimpleNamespace(
        model=dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type=backbone, depth=depth),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(
                type='mmpretrain.LinearClsHead',
                num_classes=2,
                in_channels=2048 if depth >= 50 else 512,
            ),
        )
    )
    path = str(CONFIGS / f'_base_/methods/dcff_r{depth}.py')
    apply_method(cfg, read_config(path), path)
    keep = MODELS.build(cfg.model).mutator.choice_template
    inner = {name: ratio for name, ratio in keep.items() if '.conv1_' in name and 'layer' in name}
    assert len(inner) == {18: 8, 34: 16, 50: 16, 101: 33}[depth]
    widths = {name: (ratio, int(name.rsplit('_', 1)[1])) for name, ratio in inner.items()}
    # The nearest multiple of 16.
    assert {dense: {ratio for ratio, total in widths.values() if total == dense}
            for dense in (64, 128, 256, 512)} == {
        64: {0.75}, 128: {0.625}, 256: {0.625, 0.6875} if depth >= 50 else {0.6875}, 512: {0.6875}
    }  # fmt: skip
    streams = [ratio for ratio in keep.values() if 0.87 < ratio < 0.91]
    assert len(streams) == (4 if depth >= 50 else 3)
    assert all(ratio == 1 for name, ratio in keep.items() if 'layer' not in name)


def test_slurm_test_finds_the_export_in_the_work_dir(
    tool: ModuleType, trained: Path, tmp_path: Path
) -> None:
    """As the method's users know it; the metric is the algorithm's own, to the last digit."""
    work_dir = tmp_path / 'work'
    compact = tmp_path / 'compact.py'
    compact.write_text(
        f"_base_ = ['{tool.ROOT / tool.DEMO}']\n"
        "model = dict(_delete_=True, type='mmcompress.sub_model', "
        'cfg=_base_.model.architecture, fix_subnet=_base_.model)\n'
    )
    small = [option.replace('model.architecture', 'model.cfg') for option in tool.SMALL]

    arguments = (tool.DEMO, trained / 'epoch_3.pth')
    out = ('-o', work_dir / 'export')
    tool.succeed('export', *arguments, *out, '--cfg-options', *tool.SMALL)
    options = ['--json', tmp_path / 'compact.json', '--cfg-options', *small]
    done = subprocess.run(
        ['sh', 'tools/slurm_test.sh', 'part', 'job', compact, work_dir, *options],
        cwd=tool.ROOT,
        env=dict(tool.environment(), PATH=f'{_srun(tmp_path)}:{os.environ["PATH"]}'),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    where = ('--work-dir', tmp_path / 'own', '--json', tmp_path / 'own.json')
    tool.succeed('test', *arguments, *where, '--cfg-options', *tool.SMALL)
    own, exported = (json.loads((tmp_path / f'{n}.json').read_text()) for n in ('own', 'compact'))
    assert own == exported


def test_nothing_exported_yet(tool: ModuleType, tmp_path: Path) -> None:
    cfg = Config(dict(model=dict(type='mmcompress.sub_model'), work_dir=str(tmp_path / 'work')))
    with pytest.raises(CompressionError, match=r'no .*work/export/compact.pth .*mmcompress export'):
        tool.module('test').checkpoint_of(cfg, None, None)


def _srun(folder: Path) -> Path:
    """A folder with stand-ins for Slurm: one task, on this machine."""
    tools = folder / 'bin'
    tools.mkdir(exist_ok=True)
    scripts = {
        'scontrol': 'echo 127.0.0.1\n',
        'srun': 'while [ "$1" != -u ]; do program=$1; shift; done\n'
        'SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_NODELIST=x exec "$program" "$@"\n',
    }
    for name, text in scripts.items():
        (tools / name).write_text(f'#!/bin/sh\n{text}')
        (tools / name).chmod(0o755)
    return tools
