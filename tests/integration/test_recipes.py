"""The published DCFF recipes of four tasks: their networks, and the compact configs beside them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.cli.launch import apply_method, build_algorithm, read_config
from mmcompress.core.base.build import build_model
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.export import compare
from mmcompress.core.export.static import to_static

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

#: Parameters and MACs in millions as published, and what separates our parameters from them.
RECIPES = {
    'mmcls/dcff/dcff_resnet50_8xb32_in1k.py': (15.16, 2260, 0),
    # An ImageNet classifier behind the 1843 channels of the backbone, which no detector has.
    'mmdet/dcff/dcff_faster_rcnn_resnet50_8xb4_coco.py': (33.31, 168320, 1843 * 1000 + 1000),
    'mmseg/dcff/dcff_pointrend_resnet50_8xb2_cityscapes.py': (18.43, 74410, 0),
    'mmpose/dcff/dcff_topdown_heatmap_resnet50_coco.py': (26.95, 4290, 0),
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
        yield SimpleNamespace(
            cfg=cfg, algorithm=algorithm, compact=compact, published=RECIPES[request.param]
        )


def test_published_figures(tool: ModuleType, recipe: SimpleNamespace) -> None:
    get_flops = tool.module('get_flops')
    params, macs, apart = recipe.published
    counted = get_flops.report('compact', recipe.compact, get_flops.image_shape(recipe.cfg, None))
    assert round((counted['params'] + apart) / 1e6, 2) == params
    assert counted['macs'] / 1e6 == pytest.approx(macs, rel=0.005)


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
    assert set(inner.values()) == {0.65, 0.7}
    streams = [ratio for ratio in keep.values() if ratio == 0.9]
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
    with pytest.raises(CompressionError, match=r'no .*work/export/compact.pth .* tools/export.py'):
        tool.module('test').checkpoint_of(cfg, SimpleNamespace(checkpoint=None))


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
