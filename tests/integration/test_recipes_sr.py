"""The recipes of super-resolution: networks of the published sizes, training as published."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmcompress.cli.launch import read_config
from mmcompress.core.errors import CompressionError
from mmcompress.report.models import dense_and_compact, report

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = {
    file.stem: file
    for folder in ('dense', 'pruning/mmsr/filter_basis')
    for file in sorted(CONFIGS.glob(f'{folder}/*_div2k.py'))
}
METHODS = [stem for stem in FILES if not stem.startswith('dense_')]

#: Blocks whose count no paper prints, by hand: bases, their biases, coefficients, biases.
BY_HAND = {
    'filter_basis_s256-b32-shared_edsr_x4_300e_div2k': 32 * 256 * 9 + 2 * (32 + 256 * 32 + 256),
    'filter_basis_s32-b32_srresnet_x4_300e_div2k': (
        2 * (32 * 32 * 9 + 32 + 2 * 64 + 64 * 64 + 64 + 2 * 64) + 1
    ),
}


@functools.cache
def _read(stem: str) -> Config:
    return read_config(str(FILES[stem]))


def _models(stem: str) -> dict[str, nn.Module]:
    cfg = _read(stem)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return dense_and_compact(cfg)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize('stem', BY_HAND)
def test_sizes_by_hand(stem: str) -> None:
    blocks = _models(stem)['compact'].backbone.blocks
    assert {_size(part) for part in blocks} == {BY_HAND[stem]}


def test_on_the_command_line(tool: ModuleType) -> None:
    stem, block = 'filter_basis_s128-b40_edsr8_x4_300e_div2k', 'backbone.blocks.0'
    arguments = [FILES[stem], '--json', '--shape', 8, '--module', block]
    rows = json.loads(tool.succeed('get_flops', *arguments))['models']
    counted = {row['model']: row for row in rows}
    whole, part = 2157211, 102736
    assert counted['compact']['params'] == whole
    # A multiplication for each weight and pixel; biases are none, as mmengine counts.
    macs = (part - 2 * (128 + 40)) * 8 * 8
    assert counted['compact']['modules'] == [dict(name=block, params=part, macs=macs)]
    assert counted['dense']['modules'][0]['params'] == 295168


def test_a_module_that_is_not_there() -> None:
    model = _models('dense_srresnet_x4_300e_div2k')['dense']
    with pytest.raises(CompressionError, match=r"SuperResolver has no module 'backbone.block.0'"):
        report('dense', model, (3, 8, 8), ['backbone.block.0'])


@pytest.mark.parametrize('stem', FILES)
def test_published_training(stem: str) -> None:
    """On the data of their scale, 48 pixels in (SRResNet 24); a dense network is trained alike."""
    cfg = _read(stem)
    compressed = stem in METHODS
    architecture = cfg.model.architecture if compressed else cfg.model
    scale = int(stem.split('_x')[1][0])
    assert architecture.backbone.scale == scale
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-4)
    schedule = dict(type='MultiStepLR', by_epoch=True, milestones=[200], gamma=0.1)
    assert cfg.param_scheduler == schedule
    assert cfg.train_cfg.max_epochs == 300
    train = cfg.train_dataloader
    assert train.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    pixels = 24 if 'srresnet' in stem else 48
    assert (train.dataset.scale, train.dataset.pipeline[0].patch) == (scale, pixels * scale)
    assert cfg.val_dataloader.dataset.scale == scale
    assert cfg.flops_shape == (3, pixels, pixels)
    assert cfg.custom_imports.imports == ['mmcompress']
    assert {'compression', 'reseed'} < set(cfg.default_hooks)
    assert cfg.default_hooks.reseed.type == 'mmcompress.ReseedHook'
    if compressed:
        act_last = dict(act_last=True) if 'srresnet' in stem else {}
        rule = 'block' if '-shared_' in stem else 'layer'
        assert cfg.model.mutator_cfg.parse_cfg.rule == rule
        twins = [
            other
            for other in set(FILES) - set(METHODS)
            if dict(_read(other).model.backbone, **act_last) == architecture.backbone
        ]
        assert len(twins) == 1


def test_the_activation_behind_the_coefficients() -> None:
    """SRResNet's blocks with a basis: norms and activations behind every convolution."""
    backbone = _models('filter_basis_s64-b14_srresnet_x4_300e_div2k')['compact'].backbone
    for block in backbone.blocks:
        for op in (block.conv1, block.conv2):
            assert isinstance(op.norm, nn.BatchNorm2d)
            assert op.act is block.act is backbone.act
        assert block.act_last
    assert isinstance(backbone.act, nn.PReLU)
    slopes = [key for key, _ in backbone.named_parameters() if key.startswith('act')]
    assert slopes == ['act.weight']
