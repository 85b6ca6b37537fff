"""compat/mmrazor/mmcls_scope.py: the scope mmcls is read as mmpretrain."""

import importlib.util

import pytest

from mmcompress import compat
from mmcompress.compat.mmrazor import mmcls_scope as remedy

compat.apply()
pytest.importorskip('mmpretrain')
if importlib.util.find_spec('mmcls'):
    pytest.skip('mmcls itself is installed', allow_module_level=True)

from mmengine.config import Config  # noqa: E402
from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402
from mmengine.hub import get_config, get_model  # noqa: E402
from mmengine.registry import MODELS, DefaultScope, Registry  # noqa: E402

CONFIG = 'mmcls::resnet/resnet50_8xb32_in1k.py'
RESNET = {'type': 'ResNet', 'depth': 18}


def test_a_type_with_the_scope():
    assert MODELS.get('mmcls.ResNet') is MODELS.get('mmpretrain.ResNet')
    assert MODELS.build({'type': 'mmcls.ClsDataPreprocessor'}).__module__.startswith('mmpretrain')


def test_a_type_with_the_scope_asked_of_another_library():
    other = Registry('model', parent=MODELS, scope='probe_library')
    try:
        assert other.get('mmcls.ResNet') is MODELS.get('mmpretrain.ResNet')
    finally:
        del MODELS._children['probe_library']


def test_a_config_built_in_the_scope():
    built = MODELS.build({**RESNET, '_scope_': 'mmcls'})
    assert type(built) is MODELS.get('mmpretrain.ResNet')


def test_a_default_scope():
    scope = DefaultScope.get_instance('test_mmcls_scope', scope_name='mmcls')
    assert scope.scope_name == 'mmpretrain'
    with DefaultScope.overwrite_default_scope('mmcls'):
        assert type(MODELS.build(RESNET)) is MODELS.get('mmpretrain.ResNet')


def test_a_base_config(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(f'_base_ = [{CONFIG!r}]\nmodel = dict(architecture=_base_.model)\n')
    architecture = Config.fromfile(file).model.architecture
    assert architecture.backbone.depth == 50
    # `_scope_` is the name before the `::`.
    assert type(MODELS.build(architecture)) is MODELS.get('mmpretrain.ImageClassifier')


def test_the_hub():
    config = get_config(CONFIG)
    assert config.model.backbone.depth == 50
    assert config.filename.endswith('mmpretrain/.mim/configs/resnet/resnet50_8xb32_in1k.py')
    assert type(get_model(CONFIG)) is MODELS.get('mmpretrain.ImageClassifier')


def test_other_scopes_are_themselves():
    assert Registry.split_scope_key('mmdet.ResNet') == ('mmdet', 'ResNet')
    assert Registry.split_scope_key('ResNet') == (None, 'ResNet')
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert DefaultScope.get_current_instance().scope_name == 'mmengine'


@pytest.mark.parametrize('present', [{'mmcls', 'mmpretrain'}, set()])
def test_nothing_is_done_when_mmcls_is_there_or_mmpretrain_is_not(monkeypatch, present):
    monkeypatch.setattr(remedy, 'is_importable', lambda name: name in present)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmcls', 'mmcls')
    before = Registry.split_scope_key, DefaultScope.__init__
    remedy.apply()
    assert (Registry.split_scope_key, DefaultScope.__init__) == before
    assert MODULE2PACKAGE['mmcls'] == 'mmcls'
