"""methods/fcf/mutator.py: what gets scalars, and what goes in the end."""

import copy
import json

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError, DependencyAnalyzer
from mmcompress.core.channels.gate import Gate
from mmcompress.core.export.static import to_static
from mmcompress.methods.fcf import FactorizedConv2d, FCFMutator, FCFUnit

LAYERS = [f'backbone.layer{i}.0.conv{j}' for i in (1, 2, 3) for j in (1, 2)]


@pytest.fixture
def dense(classifier_cfg):
    return MODELS.build(classifier_cfg())


def prepared(dense, target=0.5, **kwargs):
    mutator, model = FCFMutator(**kwargs), copy.deepcopy(dense)
    mutator.prepare_from_supernet(model, target)
    return mutator, model


def names(mutator):
    return [unit.config.producers[0].name for unit in mutator.units.values()]


def ops(model):
    return [name for name, m in model.named_modules() if isinstance(m, FactorizedConv2d)]


def random_network(model):
    """Scalars and norms as after training: nothing is zero or one by chance."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
        if isinstance(module, FactorizedConv2d) and module._owner is None:
            nn.init.uniform_(module.v)


def test_every_convolution_of_a_block_has_its_own_scalars(dense):
    mutator, model = prepared(dense)
    assert names(mutator) == LAYERS
    assert ops(model) == LAYERS
    assert all(type(unit) is FCFUnit for unit in mutator.units.values())
    assert [unit.partial for unit in mutator.units.values()] == [False, True] * 3
    assert sum(isinstance(m, Gate) for m in model.modules()) == 6
    vs = [p for name, p in model.named_parameters() if name.endswith('.v')]
    assert [len(v) for v in vs] == [16, 16, 32, 32, 64, 64]
    assert [unit.width for unit in mutator.units.values()] == [8, 8, 16, 16, 32, 32]


def test_one_vector_a_channel_unit(classifier_cfg):
    dense = MODELS.build(classifier_cfg(shortcut='projection'))
    mutator, model = prepared(dense, scope='unit')
    assert names(mutator) == [
        'backbone.conv1', LAYERS[0], LAYERS[2], LAYERS[3], LAYERS[4], LAYERS[5],
    ]  # fmt: skip
    block = model.backbone.layer2[0]
    assert block.shortcut[0].scales is block.conv2.v
    assert model.backbone.layer1[0].conv2.scales is model.backbone.conv1.v
    assert sum(p.numel() for n, p in model.named_parameters() if n.endswith('.v')) == 224


def test_dense_weights_are_the_same_network(dense):
    for scope in ('filter', 'unit'):
        mutator, model = prepared(dense, scope=scope)
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(model(x), dense(x), rtol=0, atol=1e-6)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1)
        state = dense.state_dict()
        mutator.load_dense(state)
        model.load_state_dict(state, strict=True)
        torch.testing.assert_close(model(x), dense(x), rtol=0, atol=1e-6)


def test_skipped(dense):
    mutator, model = prepared(dense, skip=['*layer3*', '*layer1.0.conv1'])
    assert names(mutator) == LAYERS[1:4]
    assert ops(model) == LAYERS[1:4]
    mutator, _ = prepared(MODELS.build(dict(type='TinyNet')))
    assert names(mutator) == ['backbone.conv2'], 'the stem reads the image'


class Mobile(BaseModel):
    """Stem, expansion, depthwise, projection and an add, as in MobileNetV2."""

    def __init__(self, act='relu', norm=True, depthwise_bias=False, data_preprocessor=None):
        super().__init__()
        bn = nn.BatchNorm2d if norm else lambda n: nn.Identity()
        self.backbone = nn.ModuleDict(
            dict(
                stem=nn.Sequential(nn.Conv2d(3, 6, 3), bn(6), nn.ReLU6()),
                dw0=nn.Sequential(nn.Conv2d(6, 6, 3, groups=6, bias=False), bn(6), nn.ReLU6()),
                pw0=nn.Sequential(nn.Conv2d(6, 4, 1), bn(4)),
                expand=nn.Sequential(nn.Conv2d(4, 12, 1), bn(12), nn.ReLU6()),
                dw=nn.Sequential(
                    nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), bn(12), nn.ReLU6()
                ),
                project=nn.Sequential(nn.Conv2d(12, 4, 1), bn(4)),
            )
        )
        self.head = nn.Linear(4, 5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        b = self.backbone
        x = b['pw0'](b['dw0'](b['stem'](inputs)))
        x = x + b['project'](b['dw'](b['expand'](x)))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize('scope', ['filter', 'unit'])
def test_depthwise_convolutions_follow(scope):
    """They have no filters of their own to remove, and the stem stays, whatever follows it."""
    dense = Mobile()
    mutator, model = prepared(dense, scope=scope)
    convolutions = ['backbone.pw0.0', 'backbone.expand.0', 'backbone.project.0']
    assert ops(model) == convolutions
    assert len(mutator.units) == (3 if scope == 'filter' else 2)
    expand = next(u for u in mutator.units.values() if 'expand' in u.name)
    assert not expand.partial
    random_network(model)
    with torch.no_grad():
        gone = [0, 3, 4, 5, 8, 9]
        expand.op.v[gone] = 0
        x = model.backbone['pw0'](model.backbone['dw0'](model.backbone['stem'](torch.randn(
            2, 3, 8, 8))))  # fmt: skip
        inner = model.backbone['dw'][:2](model.backbone['expand'](x))
    assert not inner[:, gone].any()
    assert inner[:, [1, 2, 6, 7, 10, 11]].flatten(2).any(2).all()


def test_a_network_without_convolutions():
    class Linear(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 4))

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.backbone(inputs[:, :, :2, :2])

    with pytest.raises(CompressionError, match='Linear has no convolution'):
        prepared(Linear())


BLOCKS = {
    'basic': dict(type='mmcompress.CIFARResNet', depth=8),
    'projection': dict(type='mmcompress.CIFARResNet', depth=8, shortcut='projection'),
    'bottleneck': dict(
        type='mmpretrain.ResNet', depth=50, stem_channels=8, base_channels=8, expansion=2
    ),
    'resnext': dict(
        type='mmpretrain.ResNeXt', depth=50, groups=4, width_per_group=2, stem_channels=8,
        base_channels=8,
    ),
    'se': dict(type='mmpretrain.SEResNet', depth=50, stem_channels=8, base_channels=8,
               expansion=2, se_ratio=4),
    'pre-activation': dict(
        type='mmpretrain.DenseNet',
        arch=dict(growth_rate=4, depths=[2, 2], init_channels=8),
    ),
}  # fmt: skip


WIDTHS = {'bottleneck': 128, 'resnext': 256, 'se': 128, 'pre-activation': 16}


def small(name):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=BLOCKS[name],
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=WIDTHS.get(name, 64)),
    )


@pytest.mark.parametrize('scope', ['filter', 'unit'])
@pytest.mark.parametrize('name', BLOCKS)
def test_exported_equals_trained(name, scope):
    algorithm = MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=small(name),
            mutator_cfg=dict(type='FCFMutator', scope=scope, parse_cfg=dict(
                input_shape=(1, 3, 32, 32))),
            target_pruning_ratio=0.5,
        )
    )  # fmt: skip
    random_network(algorithm)
    algorithm.binarize()
    algorithm.eval()
    static = to_static(algorithm)
    x = torch.randn(2, 3, 32, 32)
    one, other = algorithm.architecture(x), static(x)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert one.std() > 0.01
    for unit in algorithm.mutator.units.values():
        assert unit.op.v.sum() == unit.width
        assert (unit.rows.sum(1) == unit.width // unit.groups).all()
        conv = static.get_submodule(unit.config.producers[0].name)
        assert conv.out_channels == unit.width
    if name == 'resnext':
        assert max(unit.groups for unit in algorithm.mutator.units.values()) == 4
    count = [
        sum(p.numel() for p in m.backbone.parameters()) for m in (static, algorithm.architecture)
    ]
    assert count[0] < 0.8 * count[1]


@pytest.mark.parametrize('norm', ['GN', 'LN2d'])
def test_norms_over_channels_are_refused(norm):
    args = dict(type='GN', num_groups=2) if norm == 'GN' else dict(type='LN2d')
    backbone = dict(BLOCKS['bottleneck'], norm_cfg=args)
    dense = MODELS.build(dict(small('bottleneck'), backbone=backbone))
    with pytest.raises(CompressionError, match='no channel unit of ImageClassifier'):
        prepared(dense, parse_cfg=dict(input_shape=(1, 3, 32, 32)))
    mutator = FCFMutator(parse_cfg=dict(input_shape=(1, 3, 32, 32)))
    with pytest.raises(CompressionError):
        mutator.prepare_from_supernet(copy.deepcopy(dense), 0.5)
    assert any('whose statistics would change' in why for why in mutator.refused.values())


@pytest.mark.parametrize('with_channels', [False, True])
@pytest.mark.parametrize('widths', ['identical', 'magnitude'])
@pytest.mark.parametrize('scope', ['filter', 'unit'])
def test_a_template_builds_the_same_again(dense, scope, widths, with_channels, monkeypatch):
    skip = ['*layer1.0.conv2', '*shortcut*']
    given = dict(scope=scope, widths=widths, skip=skip if scope == 'filter' else skip[1:])
    mutator, model = prepared(dense, **given)
    written = json.loads(json.dumps(mutator.config_template(with_channels, with_channels)))
    assert {key: written[key] for key in given} == given
    if with_channels:
        monkeypatch.setattr(DependencyAnalyzer, 'analyze', None)
    again, other = MODELS.build(dict(written, type='mmcompress.FCFMutator')), copy.deepcopy(dense)
    again.prepare_from_supernet(other, 0.5 if widths == 'magnitude' else None)
    assert list(again.units) == list(mutator.units)
    assert other.state_dict().keys() == model.state_dict().keys()
    assert [u.width for u in again.units.values()] == [u.width for u in mutator.units.values()]
    for one, unit in zip(again.units.values(), mutator.units.values(), strict=True):
        assert set(one.config.channels) == set(unit.config.channels)
    assert ops(other) == ops(model)


def test_the_file_as_a_target(dense, tmp_path):
    mutator, _ = prepared(dense, {'*layer2*': 0.25, '*': 0.75})
    path = tmp_path / 'units.json'
    path.write_text(json.dumps(mutator.config_template()))
    again, _ = prepared(dense, str(path))
    assert again.choice_template == mutator.choice_template


def test_a_file_of_the_analyzer_may_name_what_is_not_compressed(dense):
    """As long as it keeps everything there."""
    found = DependencyAnalyzer().analyze(dense).units
    residual = [name for name in found if name.startswith('backbone.conv1_')]
    assert len(residual) == 1
    target = {name: 1.0 if name in residual else 0.5 for name in found}
    units = {name: dict(choice=ratio) for name, ratio in target.items()}
    for kwargs in (dict(target=target), dict(target=None, channel_unit_cfg=dict(units=units))):
        mutator, _ = prepared(dense, **kwargs)
        assert mutator.choice_template[f'{LAYERS[0]}_(0, 16)_16'] == 0.5
    target[residual[0]] = 0.5
    with pytest.raises(CompressionError, match='has to keep all channels: with scope="filter"'):
        prepared(dense, target)


def test_keep_ratios_by_name(dense):
    mutator, _ = prepared(dense, {'*conv1*': 0.25, f'{LAYERS[5]}_(0, 64)_64': 0.51})
    assert [unit.width for unit in mutator.units.values()] == [4, 16, 8, 32, 16, 32]
    with pytest.raises(
        CompressionError, match="'backbone.layr1.*nearest names are 'backbone.layer"
    ):
        prepared(dense, {'backbone.layr1.0.conv1_(0, 16)_16': 0.5})


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(scope='filters'), "mutator_cfg.scope is 'filters'.*filter, unit"),
        (dict(widths='same'), "mutator_cfg.widths is 'same'.*identical, magnitude"),
        (dict(scope=None), 'mutator_cfg.scope is None'),
        (dict(skip='*layer1*'), "mutator_cfg.skip is '\\*layer1\\*'.*a list"),
        (dict(skip=[1]), r'mutator_cfg.skip is \[1\]'),
        (dict(skip=['*layr1*']), "'\\*layr1\\*' matches no convolution.*layer1"),
        (dict(widths='magnitude', target=None), 'target_pruning_ratio is None.*one number'),
        (dict(widths='magnitude', target={'*': 0.5}), 'target_pruning_ratio is .*one number'),
        (dict(target=0), 'target_pruning_ratio is 0'),
        (dict(widths='magnitude', target=1.5), 'target_pruning_ratio is 1.5'),
        (dict(widths='magnitude', target=True), 'target_pruning_ratio is True'),
    ],
    ids=str,
)
def test_wrong_arguments(dense, kwargs, message):
    with pytest.raises(CompressionError, match=message):
        prepared(dense, **kwargs)


def test_a_budget_is_for_channel_units(classifier_cfg):
    def build(scope):
        return MODELS.build(
            dict(
                type='mmcompress.FCF',
                architecture=classifier_cfg(),
                mutator_cfg=dict(type='FCFMutator', scope=scope),
                budget=dict(macs=0.6, input_shape=(3, 32, 32)),
            )
        )

    with pytest.raises(CompressionError, match='budget needs scope="unit"'):
        build('filter')
    assert all(0 < ratio <= 1 for ratio in build('unit').mutator.choice_template.values())
