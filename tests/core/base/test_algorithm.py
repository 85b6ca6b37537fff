"""core/algorithm.py: building an algorithm, and its clock."""

import copy
import pickle

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope

from mmcompress.core import ChannelUnit, Clock, CompressionAlgorithm, CompressionError
from mmcompress.core.base.build import build_architecture
from mmcompress.core.channels.mutator import ChannelMutator
from mmcompress.registry import MODELS as OURS


@OURS.register_module(force=True)
class NothingUnit(ChannelUnit):
    """A unit that leaves its layers as they are."""

    def prepare(self, architecture):
        return []


@OURS.register_module(force=True)
class NothingMutator(ChannelMutator):
    """The smallest method there can be."""


MUTATOR = dict(type='NothingMutator', channel_unit_cfg=dict(type='NothingUnit'))


def clock(iteration=0):
    return Clock(0, iteration, 1, 10, False)


def test_consumers_are_narrowed_whatever_the_unit_does(tiny_cfg):
    model = CompressionAlgorithm(tiny_cfg, MUTATOR, target_pruning_ratio=0.5)
    assert model.architecture.backbone.conv1.out_channels == 4
    assert model.architecture.head.in_features == 8
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    assert model.mutator.choice_template == dict.fromkeys(model.mutator.units, 0.5)


def test_an_architecture_that_is_built_already(tiny_cfg):
    architecture = MODELS.build(tiny_cfg)
    model = CompressionAlgorithm(architecture, MUTATOR)
    assert model.architecture is architecture


def test_train_step_needs_the_time(tiny_cfg):
    model = CompressionAlgorithm(tiny_cfg, MUTATOR)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    batch = dict(inputs=[torch.randn(3, 8, 8)] * 2, data_samples=[0, 1])
    with pytest.raises(CompressionError, match='mmcompress.CompressionHook'):
        model.train_step(batch, optimizer)
    model.tick(clock())
    assert model.train_step(batch, optimizer)['loss'].isfinite()


def test_the_data_preprocessor_at_the_top_is_handed_over(classifier_cfg):
    top = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=10, mean=[1.0] * 3, std=[1.0] * 3)
    cfg = dict(
        type='mmcompress.DCFF',
        architecture=classifier_cfg(),
        mutator_cfg=dict(type='DCFFMutator'),
        data_preprocessor=top,
    )
    model = MODELS.build(cfg)
    assert type(model.data_preprocessor).__name__ == 'ClsDataPreprocessor'
    assert model.data_preprocessor is model.architecture.data_preprocessor
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 1, 1]


def test_the_architecture_s_own_data_preprocessor_comes_first(classifier_cfg):
    own = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=10, mean=[2.0] * 3, std=[1.0] * 3)
    top = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=10, mean=[1.0] * 3, std=[1.0] * 3)
    model = build_architecture(dict(classifier_cfg(), data_preprocessor=own), top)
    assert model.data_preprocessor.mean.flatten().tolist() == [2, 2, 2]


def test_a_bare_name_is_looked_up_in_the_default_scope(classifier_cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cfg = classifier_cfg()
        cfg['type'] = 'ImageClassifier'
        model = MODELS.build(dict(type='mmcompress.DCFF', architecture=cfg))
        assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'
    assert type(model.architecture).__name__ == 'ImageClassifier'


def test_the_model_of_a_library_s_config():
    model = build_architecture(
        dict(cfg_path='mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py', pretrained=False)
    )
    assert type(model.backbone).__name__ == 'MobileNetV2'


def test_a_config_without_a_type():
    with pytest.raises(CompressionError, match='model.architecture has no `type`, only backbone'):
        build_architecture(dict(backbone=dict(type='ResNet')))
    with pytest.raises(CompressionError, match='only nothing'):
        build_architecture({})


def test_wrong_ratios_are_told_at_once(tiny_cfg):
    with pytest.raises(CompressionError, match='target_pruning_ratio'):
        CompressionAlgorithm(tiny_cfg, MUTATOR, target_pruning_ratio=2.0)
    with pytest.raises(CompressionError, match='matches no channel unit'):
        CompressionAlgorithm(tiny_cfg, MUTATOR, target_pruning_ratio={'backbone.conv9*': 0.5})


PRETRAINED = dict(type='Pretrained', checkpoint='nowhere.pth')


@pytest.fixture
def watched(classifier_cfg):
    """An algorithm whose backbone may be loaded by itself, and the weights of a dense network."""
    cfg = classifier_cfg(8)
    cfg['backbone']['init_cfg'] = PRETRAINED
    dense = MODELS.build(cfg).state_dict()
    kind = dict(type='mmcompress.FCF', architecture=cfg, target_pruning_ratio=0.5)
    return MODELS.build(kind), dense


def part(state, prefix='backbone.'):
    return {k.removeprefix(prefix): v.clone() for k, v in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize('through', ['itself', 'deepcopy', 'pickle'])
def test_a_part_that_is_loaded_by_itself(watched, through):
    algorithm, dense = watched
    if through == 'deepcopy':
        algorithm = copy.deepcopy(algorithm)
    if through == 'pickle':
        algorithm = pickle.loads(pickle.dumps(algorithm))
    assert not algorithm.loaded
    algorithm.architecture.backbone.load_state_dict(part(dense), strict=True)
    assert algorithm.loaded
    assert through != 'deepcopy' or not watched[0].loaded
    weight = algorithm.state_dict()['architecture.backbone.conv1.weight']
    assert torch.equal(weight, dense['backbone.conv1.weight'])


def test_a_static_model_loads_what_it_has(watched):
    """Nothing of the algorithm that it was made of comes along."""
    algorithm, _ = watched
    static = copy.deepcopy(algorithm.architecture)
    state = part(static.state_dict())
    static.backbone.load_state_dict(state, strict=True)
    assert not algorithm.loaded
    del algorithm
    assert static.backbone.load_state_dict(state, strict=True).missing_keys == []
