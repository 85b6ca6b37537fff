"""core/base/demo.py: what a model is run on, as a user gives it."""

import copy
import json
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import DataLoader, Dataset

import mmcompress
from mmcompress.core import CompressionError
from mmcompress.core.base.build import build_model
from mmcompress.core.base.demo import demo_of, name_dataloader
from mmcompress.core.channels.analyzer import DependencyAnalyzer
from mmcompress.core.export.export import compare
from mmcompress.core.export.static import to_static
from mmcompress.core.probe.example import Example


@MODELS.register_module(force=True)
class TwoCameras(BaseModel):
    """Takes a dict of a color and an infrared image, of no size that anybody would guess."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = nn.ModuleDict(dict(rgb=nn.Conv2d(3, 8, 3), ir=nn.Conv2d(1, 8, 3)))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if not isinstance(inputs, dict):
            raise TypeError('inputs has to be a dict')
        features = sum(self.backbone[name](inputs[name]) for name in ('rgb', 'ir'))
        logits = self.head(features.relu()).mean((2, 3))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(logits, torch.as_tensor(data_samples)))
        return logits


@DATASETS.register_module(force=True)
class Cameras(Dataset):
    """Pairs of images, with a label that losses take."""

    def __init__(self, side=11):
        self.side = side

    def __len__(self):
        return 4

    def __getitem__(self, index):
        images = dict(rgb=torch.randn(3, self.side, self.side), ir=torch.randn(1, 11, 11))
        return dict(inputs=images, data_samples=index % 2)


def pairs():
    """A callable that a config names."""
    return dict(rgb=torch.randn(1, 3, 9, 9), ir=torch.randn(1, 1, 9, 9))


UNIT = 'backbone.rgb_(0, 8)_8'
LOADER = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(type='Cameras'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)


@pytest.mark.parametrize(
    'demo',
    [
        pairs(),
        pairs,
        lambda model: pairs() if isinstance(model, TwoCameras) else None,
        f'{__name__}.pairs',
        dict(rgb=(1, 3, 9, 9), ir=[1, 1, 9, 9]),
        dict(inputs=pairs(), data_samples=[1]),
        (pairs(),),
        LOADER,
        DataLoader(Cameras(), batch_size=2),
    ],
    ids=['dict', 'callable', 'of a model', 'name', 'shapes', 'arguments', 'tuple', 'cfg', 'loader'],
)
@pytest.mark.parametrize('method', ['Magnitude', 'FilterBasis'])
def test_a_model_that_takes_a_dict(demo, method, tmp_path):
    config = dict(type=f'mmcompress.{method}', architecture=dict(type='TwoCameras'))
    if method == 'FilterBasis':
        config['mutator_cfg'] = dict(
            parse_cfg=dict(rule='layer', include='backbone', min_channels=1)
        )
    model = MODELS.build(dict(config, target_pruning_ratio=0.5, demo_inputs=demo))
    assert model.mutator.units
    if method == 'Magnitude':
        assert list(model.mutator.units) == [UNIT]
    json.dumps(model.mutator.config_template(True, True))
    assert isinstance(copy.deepcopy(model).mutator.demo, Example)


@pytest.mark.parametrize('demo', [pairs(), pairs, DataLoader(Cameras(), batch_size=2)])
def test_in_python(demo, tmp_path):
    compact = mmcompress.compress(TwoCameras(), 'dcff', demo, target_pruning_ratio=0.5)
    assert list(compact.mutator.units) == [UNIT]
    compact(pairs(), mode='tensor')
    static = mmcompress.export(compact, tmp_path / 'out')
    assert static.backbone['rgb'].out_channels == static.head.in_channels == 4


def test_a_batch_of_data_reaches_the_losses():
    demo = demo_of(LOADER, TwoCameras())
    assert demo.images.shape == (1, 3, 11, 11)
    assert demo.run(TwoCameras(), mode='loss')['loss'].isfinite()
    assert torch.equal(demo.images, demo_of(LOADER, TwoCameras()).images), 'the same every time'


def test_a_tensor_is_a_size_with_samples_to_match(classifier_cfg):
    """A model of mmengine gets data samples; any other gets the tensor."""
    model = MODELS.build(classifier_cfg())
    demo = demo_of(torch.randn(2, 3, 32, 32), model)
    assert demo == demo_of([2, 3, 32, 32], model) == (2, 3, 32, 32)
    assert pickle.loads(pickle.dumps(demo)).key == 'demo_inputs'
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(demo_of(images, nn.Conv2d(3, 4, 3)).images, images)


def test_a_plain_model_with_a_dict_of_its_own():
    class Net(nn.Module):
        def forward(self, batch):
            return batch['image']

    found = demo_of(pairs() | dict(image=torch.ones(1)), Net())
    assert found.run(Net()).shape == (1,)


def test_three_dimensions():
    """The batch reaches the model, and the reason is the method's."""
    model = BaseModelOf(nn.Conv3d(2, 8, 3), nn.ReLU(), nn.Conv3d(8, 4, 3))
    demo = demo_of(torch.randn(1, 2, 5, 6, 7), model)
    assert list(DependencyAnalyzer(input_shape=demo).analyze(model).units) == [
        'backbone.0_(0, 8)_8'
    ]
    with pytest.raises(CompressionError, match='backbone.0 is a Conv3d, not a plain Conv2d'):
        mmcompress.compress(model, 'magnitude', demo, target_pruning_ratio=0.5)


class BaseModelOf(BaseModel):
    """Layers in mmengine's form."""

    def __init__(self, *layers):
        super().__init__()
        self.backbone = nn.Sequential(*layers)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.randn(3, 8), 'demo_inputs: .*TwoCameras does not accept them'),
        (torch.randn(1, 3, 1, 4, 8, 8), 'demo_inputs: .*TwoCameras does not accept them'),
        ((1, 3), r'demo_inputs is \(1, 3\); it has to be four positive integers'),
        ([1, 3, 8, -8], 'demo_inputs is .*-8'),
        ('dataloader', 'only the tools know .* demo_inputs=_base_.train_dataloader'),
        ('dataloaders', "demo_inputs is 'dataloaders'; a word has to be 'dataloader'"),
        ('no.such.function', "demo_inputs is 'no.such.function'; .* dotted name of a callable"),
        (f'{__name__}.LOADER', 'or the dotted name of a callable'),
        (lambda: None, 'demo_inputs was called and returned .NoneType'),
        (lambda: 1 / 0, 'demo_inputs was called and raised ZeroDivisionError'),
        (dict(LOADER, dataset=dict(type='Cameras', side='big')), 'the data cannot be loaded'),
        (3, "demo_inputs is 'int' without a tensor"),
        (torch.randn(1, 5, 9, 9), 'demo_inputs: .*TwoCameras accepts no demo batch of 1x5x9x9'),
        (dict(rgb=torch.randn(1, 3, 9, 9)), 'demo_inputs: .*TwoCameras does not accept them'),
    ],
)
def test_mistakes(value, message):
    config = dict(type='mmcompress.Magnitude', architecture=dict(type='TwoCameras'))
    with pytest.raises(CompressionError, match=message):
        MODELS.build(dict(config, target_pruning_ratio=0.5, demo_inputs=value))


def test_the_key_that_the_user_gave():
    """No error names a key that he didn't give."""
    model = BaseModelOf(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    for images in (torch.randn(1, 3, 5, 8, 8), torch.randn(3, 8), torch.randn(2, 5, 8, 8)):
        with pytest.raises(CompressionError, match='example_inputs') as found:
            mmcompress.compress(model, 'dcff', images, target_pruning_ratio=0.5)
        assert 'input_shape' not in str(found.value)


def test_given_twice():
    cfg = dict(parse_cfg=dict(input_shape=(1, 3, 8, 8)))
    images = torch.randn(1, 3, 8, 8)
    with pytest.raises(CompressionError, match="parse_cfg has 'input_shape' .* or example_inputs"):
        mmcompress.compress(
            nn.Conv2d(3, 8, 3), 'dcff', images, mutator_cfg=cfg, target_pruning_ratio=0.5
        )
    with pytest.raises(CompressionError, match='example_inputs and demo_inputs'):
        mmcompress.compress(nn.Conv2d(3, 8, 3), 'dcff', images, demo_inputs=images)


def test_the_word_dataloader_means_the_data_of_the_config():
    model = dict(demo_inputs='dataloader')
    cfg = Config(dict(model=model, test_dataloader=dict(dataset=1), train_dataloader=LOADER))
    name_dataloader(cfg)
    assert cfg.model.demo_inputs == LOADER
    with pytest.raises(CompressionError, match="model.demo_inputs is 'dataloader'"):
        name_dataloader(Config(dict(model=model)))


@MODELS.register_module(force=True)
class OneSize(BaseModel):
    """Takes images of 40 x 40 alone."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.head = nn.Linear(8 * 40 * 40, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.head(self.backbone(inputs).flatten(1))


@pytest.mark.parametrize('method', ['DCFF', 'FilterBasis'])
def test_the_config_s_own_images_come_before_an_error(method):
    """In the analysis, the rehearsal, and when an export is compared."""
    model = dict(
        type=f'mmcompress.{method}', architecture=dict(type='OneSize'), target_pruning_ratio=0.5
    )
    if method == 'FilterBasis':
        model['mutator_cfg'] = dict(parse_cfg=dict(rule='stage', min_channels=1))
    crop = dict(type='CenterCrop', crop_size=40)
    cfg = Config(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=[crop]))))
    algorithm = build_model(cfg)
    assert algorithm.mutator.units
    assert compare(algorithm, to_static(algorithm))[0] < 1e-5
    with pytest.raises(CompressionError, match='accepts no demo batch .* `demo_inputs`'):
        MODELS.build(model)
