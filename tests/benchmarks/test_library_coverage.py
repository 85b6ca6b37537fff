"""report/coverage.py: which configs belong to the family, and when a model counts."""

import library_coverage as coverage
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import nn

from mmcompress.core import DependencyAnalyzer


class Model(BaseModel):
    """A backbone of two convolutions and a head; ``fixed`` counts a width in its code."""

    def __init__(self, fixed=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1))
        self.head = nn.Conv2d(8, 2, 1)
        self.fixed = fixed

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.backbone[0](inputs)
        if self.fixed:
            features = features.view(len(inputs), 8, *inputs.shape[2:])
        out = self.head(self.backbone[1](features))
        return dict(loss=out.sum()) if mode == 'loss' else [out] if mode == 'predict' else out


def test_a_model_that_counts():
    record = coverage.check('lib::name', Model(), 'ResNet-50')
    assert record.reason == ''
    assert (record.units, record.verified, record.covered) == (2, 2, 1.0)
    assert record.seconds > 0


def test_a_model_that_does_not_count():
    record = coverage.check('lib::name', Model(fixed=True))
    assert record.covered == 0.5
    assert record.reason.startswith('50% of the widths covered; backbone.0_(0, 8)_8: ')


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_both_modes_have_to_run(mode):
    class Half(Model):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode == self.without:
                raise RuntimeError('not this one')
            return super().forward(inputs, data_samples, mode)

    model = Half()
    model.without = mode
    record = coverage.check('lib::name', model)
    assert record.covered == 1
    assert record.reason == f'{mode} (RuntimeError: not this one) of the dense model'


def test_a_mode_may_be_missing_but_not_both():
    class Tracker(Model):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode in self.without:
                raise NotImplementedError('train its parts')
            return super().forward(inputs, data_samples, mode)

    model = Tracker()
    model.without = ['loss']
    assert coverage.check('lib::name', model).reason == ''
    model.without = ['loss', 'predict']
    reason = coverage.check('lib::name', model).reason
    assert reason == 'loss and predict (not implemented) of the dense model'


def test_a_loss_may_need_a_larger_image():
    class Large(Model):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode == 'loss' and inputs.shape[-1] < 200:
                raise RuntimeError('too small')
            return super().forward(inputs, data_samples, mode)

    assert coverage.check('lib::name', Large()).reason == ''


def test_outputs_keep_their_structure():
    class Wider(Model):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode == 'predict':
                return [self.backbone(inputs)]
            return super().forward(inputs, data_samples, mode)

    # `tensor` alone shows nothing wrong.
    record = coverage.check('lib::name', Wider())
    assert 'predict of the narrow model: another structure is returned' in record.reason


def test_share_is_of_the_backbone():
    model = Model()
    units = DependencyAnalyzer(exclude='backbone.1').analyze(model).units
    assert coverage.covered_share(model, units.values()) == 0.5
    elsewhere = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    units = DependencyAnalyzer(include='0').analyze(elsewhere).units
    assert coverage.covered_share(elsewhere, units.values()) == 0  # nothing is called backbone


def test_structure():
    one = dict(a=[torch.zeros(3, 4)], b=InstanceData(boxes=torch.zeros(5, 4)))
    assert coverage.structure(one) == coverage.structure(
        dict(a=[torch.ones(2, 4)], b=InstanceData(boxes=torch.zeros(0, 4)))
    )
    for other in (
        dict(a=[torch.zeros(3, 5)], b=one['b']),
        dict(a=[torch.zeros(3, 4).long()], b=one['b']),
        dict(a=[], b=one['b']),
        dict(a=one['a'], c=one['b']),
        dict(a=one['a'], b=InstanceData(boxes=torch.zeros(5, 4), labels=torch.zeros(5))),
    ):
        assert coverage.structure(one) != coverage.structure(other)


@pytest.mark.parametrize(
    ('backbone', 'expected'),
    [
        (dict(type='ResNet', depth=50), ['ResNet-50']),
        (dict(type='mmpretrain.ResNet', depth=18), ['ResNet-18']),
        (dict(type='ResNetV1d', depth=101), ['ResNetV1d-101']),
        (dict(type='HRNet', extra={}), ['HRNet']),
        (dict(type='HRNet', arch='w18'), ['HRNet-w18']),
        (dict(type='Res2Net', depth=101), ['Res2Net-101']),
        (dict(type='ResNet', depth=152), []),
        (dict(type='SwinTransformer'), []),
        (dict(type='ICNet', backbone_cfg=dict(type='ResNetV1c', depth=50)), ['ResNetV1c-50']),
    ],
)
def test_the_family(backbone, expected):
    assert coverage.family_backbones(dict(type='A', detector=dict(backbone=backbone))) == expected


def test_configs_of_one_model_share_a_fingerprint():
    def config(**changes):
        backbone = dict(
            type='ResNet', depth=50, init_cfg=dict(type='Pretrained', checkpoint='somewhere')
        )
        return Config(dict(model=dict(type='A', backbone=backbone), **changes))

    same = config(train_cfg=dict(max_epochs=3))
    same.model.backbone.init_cfg.checkpoint = 'elsewhere'
    assert coverage.fingerprint(same) == coverage.fingerprint(config())
    other = config()
    other.model.backbone.depth = 101
    assert coverage.fingerprint(other) != coverage.fingerprint(config())
    assert coverage.fingerprint(config(default_scope='mmdet')) != coverage.fingerprint(config())


def test_nothing_is_loaded():
    model = dict(
        type='A',
        init_cfg=dict(type='Pretrained', checkpoint='x'),
        backbone=dict(type='TIMMBackbone', pretrained=True, init_cfg=dict(type='Kaiming')),
        heads=[dict(pretrained='torchvision://resnet50')],
    )
    assert coverage.without_checkpoints(model) == dict(
        type='A',
        init_cfg=None,
        backbone=dict(type='TIMMBackbone', pretrained=False, init_cfg=dict(type='Kaiming')),
        heads=[dict(pretrained=None)],
    )


def test_library_configs_are_found():
    names = coverage.config_names('mmpretrain')
    assert 'mmpretrain::resnet/resnet18_8xb32_in1k.py' in names
    assert not any('_base_' in name for name in names)
    cfg = coverage.read_library_config('mmpretrain::resnet/resnet18_8xb32_in1k.py')
    assert coverage.family_backbones(cfg.model) == ['ResNet-18']
