"""core/subnet.py: a dense architecture and widths make the exported network again."""

import copy
import json

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError, DependencyAnalyzer, sub_model
from mmcompress.core.channels.config import narrow_units
from mmcompress.core.export.folding import fold_norms
from mmcompress.core.export.static import is_sub_model, layer_widths, resize, to_static
from mmcompress.core.layers.narrow import narrow
from mmcompress.core.layers.partial_add import add_partially, partial_adds_of


def test_widths_of_a_narrowed_model_build_it_again(classifier_cfg):
    dense = MODELS.build(classifier_cfg(14)).eval()
    static = copy.deepcopy(dense)
    units = DependencyAnalyzer().analyze(dense).units.values()
    narrow_units(static, [(unit, unit.num_channels // 2 - 1) for unit in units])
    subnet = dict(layers=json.loads(json.dumps(layer_widths(dense, static))))
    built = sub_model(classifier_cfg(14), subnet)
    assert type(built) is type(dense)
    built.load_state_dict(static.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(built.eval()(x), static(x))


@MODELS.register_module(force=True)
class NoAlgorithm(nn.Module):
    def __init__(self, architecture, data_preprocessor=None):
        super().__init__()


def test_the_config_of_an_algorithm_gives_the_widths(classifier_cfg):
    algorithm = dict(type='mmcompress.DCFF', target_pruning_ratio=0.5)
    trained = MODELS.build(dict(algorithm, architecture=classifier_cfg(8)))
    built = sub_model(classifier_cfg(8), algorithm)
    assert built.training
    assert type(built.backbone.conv1) is nn.Conv2d
    assert built.backbone.conv1.out_channels == 8
    static = to_static(trained)
    built.load_state_dict(static.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(built.eval()(x), static(x))


def test_the_config_of_another_model_gives_none(classifier_cfg):
    cfg = classifier_cfg(8)
    with pytest.raises(CompressionError, match="a 'mmengine.NoAlgorithm'; it has"):
        sub_model(cfg, dict(type='mmengine.NoAlgorithm'))


def test_all_kinds_of_layers():
    dense = nn.Sequential(
        nn.Conv2d(3, 12, 3),
        nn.GroupNorm(3, 12),
        nn.Conv2d(12, 6, 3, groups=3),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6),
        nn.PReLU(6),
        nn.ConvTranspose2d(6, 4, 2),
        nn.Flatten(),
        nn.Linear(4 * 49, 3),
    )
    static = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.GroupNorm(3, 6),
        nn.Conv2d(6, 3, 3, groups=3),
        nn.Conv2d(3, 3, 3, groups=3),
        nn.BatchNorm2d(3),
        nn.PReLU(3),
        nn.ConvTranspose2d(3, 2, 2),
        nn.Flatten(),
        nn.Linear(2 * 49, 3),
    )
    widths = layer_widths(dense, static)
    assert widths['2'] == dict(in_channels=6, out_channels=3)
    assert widths['8'] == dict(in_channels=98)  # a head may have other outputs
    resize(dense, widths)
    dense.load_state_dict(static.state_dict())
    x = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(dense.eval()(x), static.eval()(x))


def partly_added(dense, kept):
    """A copy of a model whose layers have lost output channels on their own."""
    static = copy.deepcopy(dense)
    of = {name: static.get_submodule(name).num_features for name in kept}
    for name, channels in kept.items():
        conv = name.replace('bn', 'conv').replace('shortcut.1', 'shortcut.0')
        narrow(static.get_submodule(conv), out_keep=channels)
        narrow(static.get_submodule(name), channels)
    add_partially(static, kept, of)
    return static


@pytest.mark.parametrize('folded', [False, True])
def test_channels_of_a_partial_add_come_with_the_checkpoint(classifier_cfg, folded):
    cfg = classifier_cfg(14, shortcut='projection')
    dense = MODELS.build(cfg).eval()
    with torch.no_grad():
        for tensor in dense.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    kept = {
        'backbone.layer1.0.bn2': torch.tensor([1, 2, 5, 8, 15]),
        'backbone.layer1.1.bn2': torch.tensor([3]),
        'backbone.layer3.0.bn2': torch.arange(10, 60),
        # Where both operands of an addition are partial, one is put back among zeros.
        'backbone.layer3.0.shortcut.1': torch.arange(5, 25),
    }
    static = partly_added(dense, kept)
    subnet = dict(layers=layer_widths(dense, static), partial_adds=partial_adds_of(static))
    assert subnet['partial_adds'] == {
        name: dict(channels=len(channels), of=dense.get_submodule(name).num_features)
        for name, channels in kept.items()
    }
    assert subnet['layers']['backbone.layer3.0.shortcut.1'] == dict(in_channels=20, out_channels=20)
    if folded:
        subnet['folded'] = fold_norms(static)
        assert len(subnet['folded']) == 15
    built = sub_model(cfg, json.loads(json.dumps(subnet)))
    built.load_state_dict(static.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(built.eval()(x), static(x))


@pytest.mark.parametrize(
    ('partial_adds', 'says'),
    [
        ([], '`partial_adds` has to be a dict'),
        ({'backbone.bn2': 4}, "partial_adds['backbone.bn2'] is 4; it has to be"),
        ({'backbone.bn2': dict(channels=4)}, 'it has to be {"channels": k, "of": n}'),
        ({'backbone.bn2': dict(channels=0, of=8)}, 'it has to be {"channels": k, "of": n}'),
        ({'backbone.bn2': dict(channels='4', of=8)}, 'it has to be {"channels": k, "of": n}'),
        ({'backbone.bn2': dict(channels=4, of=8)}, 'which has 16 output channels'),
        ({'backbone.bn2': dict(channels=16, of=8)}, 'ones of 0 to 7'),
        ({'backbone.bn3': dict(channels=4, of=8)}, "no layer 'backbone.bn3'"),
    ],
)
def test_partial_adds_that_do_not_fit(tiny_cfg, partial_adds, says):
    with pytest.raises(CompressionError) as error:
        sub_model(tiny_cfg, dict(layers={}, partial_adds=partial_adds))
    assert says in str(error.value)


def test_nothing_changed_nothing_listed(tiny_cfg):
    model = MODELS.build(tiny_cfg)
    assert layer_widths(model, copy.deepcopy(model)) == {}


def test_from_a_file_through_the_registry(tiny_cfg, tmp_path):
    path = tmp_path / 'fix_subnet.json'
    layers = {
        'backbone.conv2': dict(in_channels=8, out_channels=5),
        'backbone.bn2': dict(in_channels=5, out_channels=5),
        'head': dict(in_channels=5, out_channels=4),
    }
    path.write_text(json.dumps(dict(layers=layers)))
    model = MODELS.build(dict(type='mmcompress.sub_model', cfg=tiny_cfg, fix_subnet=str(path)))
    assert type(model).__name__ == 'TinyNet'
    assert model(torch.randn(1, 3, 8, 8)).shape == (1, 4)
    assert model.head.in_features == 5


def test_init_cfg_replaces_those_of_the_parts(tmp_path, classifier_cfg):
    cfg = classifier_cfg()
    cfg['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='of/the/dense.pth')
    trained = MODELS.build(classifier_cfg())
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=trained.state_dict()), path)
    model = sub_model(cfg, dict(layers={}), init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


def test_the_data_preprocessor_is_handed_over(classifier_cfg):
    top = dict(type='mmpretrain.ClsDataPreprocessor', mean=[1.0] * 3, std=[1.0] * 3)
    model = sub_model(classifier_cfg(), dict(layers={}), data_preprocessor=top)
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ('layers', 'says'),
    [
        ({'backbone.conv9': dict(in_channels=3, out_channels=2)}, "no layer 'backbone.conv9'"),
        ({'backbone.relu': dict(in_channels=3, out_channels=2)}, "no layer 'backbone.relu'"),
        ({'backbone.conv1': dict(in_channels=3, out_channels=9)}, 'has 3 input and 8 output'),
        ({'backbone.conv1': dict(in_channels=3, out_channels=0)}, 'has 3 input and 8 output'),
        ({'backbone.conv1': dict(in_channels=4)}, 'has 3 input and 8 output'),
        ({'backbone.conv1': {}}, 'has 3 input and 8 output'),
        ({'backbone.conv1': dict(in_channels=3, out_channels='8')}, 'has 3 input and 8 output'),
        ({'backbone.conv1': dict(in_channels=3, out_channels=2.5)}, 'has 3 input and 8 output'),
        ({'backbone.conv1': 4}, 'has 3 input and 8 output'),
        (['backbone.conv1'], '`layers`'),
    ],
)
def test_widths_that_do_not_fit(tiny_cfg, layers, says):
    with pytest.raises(CompressionError) as error:
        sub_model(tiny_cfg, dict(layers=layers))
    assert says in str(error.value)
    assert str(error.value).startswith('fix_subnet')


def test_the_nearest_layer_is_offered(tiny_cfg):
    with pytest.raises(CompressionError, match=r"nearest are 'backbone\.conv[12]'"):
        sub_model(tiny_cfg, dict(layers={'backbone.conv3': {}}))


def test_files_that_are_no_subnet(tiny_cfg, tmp_path):
    with pytest.raises(CompressionError, match='fix_subnet: there is no file'):
        sub_model(tiny_cfg, tmp_path / 'missing.json')
    path = tmp_path / 'a.json'
    path.write_text('{"layers": {"a"')
    with pytest.raises(CompressionError, match='fix_subnet: .* not a complete JSON'):
        sub_model(tiny_cfg, path)
    with pytest.raises(CompressionError, match='has no `layers`, only channels'):
        sub_model(tiny_cfg, dict(channels={}))
    with pytest.raises(CompressionError, match='only nothing'):
        sub_model(tiny_cfg, {})


def test_is_sub_model():
    assert is_sub_model(dict(type='mmcompress.sub_model'))
    assert is_sub_model(dict(type='sub_model'))
    assert not is_sub_model(dict(type='mmcompress.DCFF'))
    assert not is_sub_model({})
