"""registry.py: our scope, and which registry resolves a bare name."""

import pytest
import torch
from mmengine import registry as root
from mmengine.registry import DefaultScope

import mmcompress
from mmcompress import registry
from mmcompress.core import DependencyAnalyzer
from mmcompress.methods.dcff import DCFF, DCFFMutator

NAMES = [
    'MODELS',
    'TASK_UTILS',
    'DATASETS',
    'TRANSFORMS',
    'METRICS',
    'HOOKS',
    'LOOPS',
    'DATA_SAMPLERS',
]


@pytest.mark.parametrize('name', NAMES)
def test_children_of_mmengine_s_roots(name):
    ours = getattr(registry, name)
    assert ours.scope == 'mmcompress'
    assert ours.parent is getattr(root, name)
    assert getattr(root, name).children['mmcompress'] is ours


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('MODELS', 'DCFF'),
        ('MODELS', 'DCFFMutator'),
        ('MODELS', 'DCFFUnit'),
        ('MODELS', 'FusedConv2d'),
        ('MODELS', 'CIFARResNet'),
        ('MODELS', 'CIFARVGG'),
        ('MODELS', 'CIFARGoogLeNet'),
        ('MODELS', 'sub_model'),
        ('TASK_UTILS', 'DependencyAnalyzer'),
        ('HOOKS', 'CompressionHook'),
        ('HOOKS', 'ReseedHook'),
        ('DATASETS', 'DigitsClassification'),
    ],
)
def test_importing_the_package_registers(name, key):
    assert getattr(root, name).get(f'mmcompress.{key}') is not None
    assert key in getattr(registry, name).module_dict


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
def test_reachable_from_every_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert root.MODELS.get('mmcompress.DCFF') is DCFF
        assert isinstance(registry.MODELS.build(dict(type='DCFFMutator')), DCFFMutator)


def test_a_bare_name_is_ours_first():
    """MMRazor has classes of the same names."""
    for name in ('DCFF', 'mmcompress.DCFF'):
        assert type(registry.MODELS.build(dict(type=name, architecture=_Net()))) is DCFF
    analyzer = registry.TASK_UTILS.build(dict(type='DependencyAnalyzer', include='a'))
    assert type(analyzer) is DependencyAnalyzer
    assert analyzer.include == ['a']


def test_the_default_scope_is_left_alone():
    """What is nested in a config of ours is the user's, and is found in the user's library."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = registry.MODELS.build(dict(type='GlobalAveragePooling'))
        assert type(model).__module__.startswith('mmpretrain')
        found = registry.MODELS.build(
            dict(
                type='DCFF',
                architecture=dict(
                    type='ImageClassifier',
                    backbone=dict(type='mmcompress.CIFARResNet', depth=8),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
                ),
            )
        )
        assert type(found.architecture).__module__.startswith('mmpretrain')
        assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


def test_the_config_is_not_changed():
    cfg = dict(type='DependencyAnalyzer', _scope_='mmcompress')
    registry.TASK_UTILS.build(cfg)
    assert cfg == dict(type='DependencyAnalyzer', _scope_='mmcompress')


def test_unknown_names():
    with pytest.raises(KeyError, match='NoSuchThing'):
        registry.MODELS.build(dict(type='NoSuchThing'))
    with pytest.raises(KeyError, match='mmcompress'):
        root.MODELS.build(dict(type='mmcompress.NoSuchThing'))


def test_the_package_has_a_version():
    assert mmcompress.__version__.count('.') >= 1


def _Net():
    return root.MODELS.build(dict(type='mmengine.TinyNet'))


def test_torch_is_the_one_of_the_tests():
    assert torch.is_tensor(_Net()(torch.zeros(1, 3, 8, 8)))
