"""Shared basis: what training starts from, and the terms of the method files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

METHODS = Path(__file__).resolve().parents[3] / 'configs/_base_/methods'


# Fine-tuning


@pytest.mark.parametrize('depth', [18, 50])
def test_fine_tuning_starts_with_a_small_loss(depth: int) -> None:
    """From a dense network, filters are orthonormal: the loss is that of the network."""
    compression = Config.fromfile(METHODS / f'shared_basis_r{depth}.py').compression
    architecture = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.ResNet', depth=depth, stem_channels=32, base_channels=32),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=4,
            in_channels=256 if depth == 18 else 1024,
        ),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dense = MODELS.build(architecture)
        algorithm = MODELS.build(dict(compression, architecture=architecture))
    algorithm.architecture.load_state_dict(dense.state_dict(), strict=False)
    losses = algorithm.own_losses()
    assert list(losses) == ['loss_orthogonality']
    assert float(losses['loss_orthogonality'].detach()) < 1e-6


@pytest.mark.parametrize('path', sorted(METHODS.glob('shared_basis_*.py')), ids=lambda p: p.stem)
def test_method_files_count_shared_filters_only(path: Path) -> None:
    compression = Config.fromfile(path).compression
    assert compression.orthogonality_terms.unique is False
    assert compression.orthogonality == 10.0
