"""core/frozen.py: what is released, and what stays as fixed as it was."""

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.core.base.pretrained import has_frozen_stages, release


def backbone(frozen_stages=1, norm_eval=True, **norm_cfg):
    model = MODELS.build(
        dict(
            type='mmdet.ResNet', depth=18, stem_channels=4, base_channels=4, norm_eval=norm_eval,
            frozen_stages=frozen_stages, norm_cfg=dict(type='BN', **norm_cfg),
        )
    )  # fmt: skip
    model.train()
    return model


def fixed(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def of_norms(model):
    return {
        f'{name}.{key}'
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for key, _ in module.named_parameters()
    }


@pytest.mark.parametrize('frozen_stages', [1, 4])
def test_norms_without_gradients_in_all_stages_stay_so(frozen_stages):
    """Those of Caffe's weights: statistics stay as well."""
    model = nn.Module()
    model.backbone = backbone(frozen_stages, requires_grad=False)
    assert any('conv' in name for name in fixed(model))
    assert release(model, 'backbone', norms=False)
    model.train()
    assert fixed(model) == of_norms(model)
    assert not any(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    assert release(model, 'backbone')
    model.train()
    assert fixed(model) == set()
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize('frozen_stages', [1, 4])
@pytest.mark.parametrize('norm_eval', [True, False])
def test_norms_that_are_frozen_as_parts_of_stages_learn(frozen_stages, norm_eval):
    model = backbone(frozen_stages, norm_eval, requires_grad=True)
    assert fixed(model) & of_norms(model)
    assert release(model, norms=False)
    model.train()
    assert fixed(model) == set()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert {m.training for m in norms} == {not norm_eval}


def test_momentum_copies_stay_fixed():
    model = nn.Module()
    model.backbone = backbone()
    model.average = ExponentialMovingAverage(model.backbone)
    parts = [name for name, module in model.named_modules() if has_frozen_stages(module)]
    assert parts == ['backbone', 'average.module']
    assert [release(model, part, norms=False) for part in parts] == [True, False]
    names = dict(model.backbone.named_parameters())
    assert fixed(model) == {f'average.module.{name}' for name in names}


def test_the_teacher_stays_fixed():
    """Also when the whole model is released."""

    class SemiBaseDetector(nn.Module):
        def __init__(self):
            super().__init__()
            self.student, self.teacher = backbone(), backbone()
            self.teacher.requires_grad_(False)

    model = SemiBaseDetector()
    assert release(model)
    assert fixed(model) == {f'teacher.{name}' for name, _ in model.teacher.named_parameters()}
    assert model.teacher.frozen_stages == 1


def test_nothing_was_fixed():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert not release(model)
    model[0].bias.requires_grad_(False)
    assert release(model)
    assert fixed(model) == set()


def test_constants_stay_constants():
    """Parameters that belong to no layer, such as position embeddings."""
    model = nn.Module()
    model.table = nn.Parameter(torch.ones(2), requires_grad=False)
    assert not release(model)
    assert fixed(model) == {'table'}
