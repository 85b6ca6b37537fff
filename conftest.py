"""What the examples in docstrings (`make doctest`) take for granted."""

from typing import Any

import pytest
import torch

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

from mmengine.registry import MODELS, DefaultScope  # isort: skip


@pytest.fixture(scope='session')
def resnet18() -> Any:
    """A classifier of mmpretrain; examples only look at it."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='mmpretrain.ResNet', depth=18),
                neck=dict(type='mmpretrain.GlobalAveragePooling'),
                head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=512),
            )
        )


@pytest.fixture(autouse=True)
def _names_of_examples(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        names = request.getfixturevalue('doctest_namespace')
        names.update(torch=torch, resnet18=request.getfixturevalue('resnet18'))
