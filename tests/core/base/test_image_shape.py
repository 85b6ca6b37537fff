"""core/base/image_shape.py: one answer to the question which size images have."""

import pytest
from mmengine.config import Config

from mmcompress.core import CompressionError
from mmcompress.core.base.image_shape import count_budget_at_own_size, image_shape


def config(*steps, **more):
    """A config with a test pipeline of some transforms."""
    return Config(dict(test_dataloader=dict(dataset=dict(pipeline=list(steps))), **more))


CROP = dict(type='CenterCrop', crop_size=224)


def test_the_shape():
    """The one asked for, else the config's, else that of the pipelines; and no nonsense."""
    cfg = config(CROP, dict(type='PackInputs'))
    assert image_shape(cfg) == (3, 224, 224)
    cfg.flops_shape = (800, 1280)
    assert image_shape(cfg) == (3, 800, 1280)
    assert image_shape(cfg, [64]) == (3, 64, 64)
    cfg.flops_shape = 32
    assert image_shape(cfg) == (3, 32, 32)
    cfg.data_preprocessor = dict(mean=[33.3], std=[76.9])
    assert image_shape(cfg) == (1, 32, 32)
    inner = dict(backbone=dict(in_channels=3))
    cfg.model = dict(architecture=inner, backbone=dict(in_channels=4))  # of a child config
    assert image_shape(cfg) == (4, 32, 32)
    cfg.model = None
    cfg.flops_shape = 'big'
    with pytest.raises(CompressionError, match="flops_shape is 'big'"):
        image_shape(cfg)
    assert image_shape(cfg, [3, 20, 40]) == (3, 20, 40)
    cfg.flops_shape = (2, 20, 40)
    assert image_shape(cfg) == (2, 20, 40)
    for wrong in ([1, 2, 3, 4], [0]):
        with pytest.raises(CompressionError, match=f'--shape is {" ".join(map(str, wrong))}'):
            image_shape(cfg, wrong)


@pytest.mark.parametrize(
    ('dataset', 'size'),
    [
        (dict(type='CIFAR10', pipeline=[]), (32, 32)),
        (dict(type='RepeatDataset', dataset=dict(pipeline=[CROP])), (224, 224)),
        (dict(type='ConcatDataset', datasets=[dict(pipeline=[CROP])]), (224, 224)),
        (
            dict(dataset=dict(pipeline=[]), pipeline=[dict(type='Resize', scale=(1333, 800))]),
            (800, 1344),
        ),
        (dict(pipeline=[dict(type='Resize', scale=[(640, 480), (96, 96)]), CROP]), (224, 224)),
    ],
    ids=['of one size', 'repeated', 'several', 'padded', 'several scales'],
)
def test_data_sets_in_data_sets(dataset, size):
    """The preprocessor pads sides to a multiple; where that changes nothing it doesn't show."""
    model = dict(data_preprocessor=dict(mean=[0, 0, 0], pad_size_divisor=32))
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), model=model))
    assert image_shape(cfg) == (3, *size)


def test_types_may_be_classes():
    cfg = Config(dict(val_dataloader=dict(dataset=dict(pipeline=[]))))
    cfg.val_dataloader.dataset.type = type('CIFAR100', (), {})
    assert image_shape(cfg) == (3, 32, 32)


def test_a_config_without_data():
    assert image_shape(Config(dict(default_scope='mmpose'))) == (3, 256, 192)
    with pytest.raises(CompressionError, match='no image size; give one with --shape'):
        image_shape(Config(dict(model=dict(type='A'))))


def test_a_size_that_the_algorithm_is_given():
    """Before that of the pipeline; that of the budget comes first."""
    model = dict(architecture=dict(), mutator_cfg=dict(parse_cfg=dict(input_shape=(1, 4, 50, 60))))
    cfg = config(CROP, model=model)
    assert image_shape(cfg) == (4, 50, 60)
    cfg.model.demo_inputs = (2, 1, 30, 40)
    assert image_shape(cfg) == (1, 30, 40)
    cfg.model.budget = dict(macs=0.5, input_shape=(3, 8, 8))
    assert image_shape(cfg) == (3, 8, 8)
    cfg.flops_shape = 7
    assert image_shape(cfg) == (3, 7, 7)


@pytest.mark.parametrize('key', ['budget', 'target'])
def test_the_size_of_a_budget_is_written_down(key):
    """Where the algorithm couldn't know: nothing that is given changes."""
    cfg = config(CROP, model={'architecture': {}, key: dict(macs=0.5)})
    count_budget_at_own_size(cfg)
    assert cfg.model[key] == dict(macs=0.5, input_shape=(3, 224, 224))
    for given in (dict(demo_inputs='dataloader'), dict(demo_inputs=(1, 3, 8, 8))):
        cfg = config(CROP, model={'architecture': {}, key: dict(macs=0.5), **given})
        count_budget_at_own_size(cfg)
        assert cfg.model[key] == dict(macs=0.5)
    cfg = config(CROP, model={'architecture': {}, key: dict(macs=1, input_shape=(1, 2, 3))})
    count_budget_at_own_size(cfg)
    assert cfg.model[key].input_shape == (1, 2, 3)
    unknown = Config(dict(model={'architecture': {}, key: dict(macs=0.5)}))
    count_budget_at_own_size(unknown)
    assert unknown.model[key] == dict(macs=0.5)
