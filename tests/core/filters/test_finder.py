"""core/filter_finder.py: units of small networks and of the libraries' backbones."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionError, FilterFinder
from mmcompress.core.filters import finder as filter_finder
from mmcompress.models import CIFARVGG, CIFARResNet
from mmcompress.registry import TASK_UTILS

RESNETS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Net(nn.Module):
    """A model that is its backbone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone) if isinstance(backbone, dict) else backbone

    def forward(self, x):
        return self.backbone(x)


def conv(c_in, c_out, k=3, **kwargs):
    return nn.Conv2d(c_in, c_out, k, **dict(padding=k // 2 if isinstance(k, int) else 0) | kwargs)


class ResBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)

    def forward(self, x):
        return x + self.conv2(self.conv1(x).relu())


class EDSR(nn.Module):
    """Super-resolution: a head, residual blocks at one size, and an upsampler behind them."""

    def __init__(self, blocks=3, width=16):
        super().__init__()
        self.head = conv(3, width)
        self.body = nn.Sequential(*(ResBlock(width) for _ in range(blocks)), conv(width, width))
        self.tail = nn.Sequential(
            conv(width, 4 * width), nn.PixelShuffle(2), conv(width, 4 * width), nn.PixelShuffle(2),
            conv(width, 3),
        )  # fmt: skip

    def forward(self, x):
        x = self.head(x)
        return self.tail(x + self.body(x))


def find(model, rule='layer', alike=('kernel_size',), **kwargs):
    model = model if hasattr(model, 'backbone') or 'include' in kwargs else Net(model)
    units = FilterFinder(rule, **kwargs).find(model, alike)
    order = [name for name, _ in model.named_modules()]
    firsts = [order.index(layers[0]) for layers in units.values()]
    assert firsts == sorted(firsts)
    for layers in units.values():
        assert layers == sorted(layers, key=order.index)
    assert len({name for layers in units.values() for name in layers}) == sum(
        len(layers) for layers in units.values()
    )
    return units


def counts(*args, **kwargs):
    return {name: len(layers) for name, layers in find(*args, **kwargs).items()}


# Rules


def test_layers():
    units = find(CIFARResNet(8, shortcut='projection'))
    assert units == {
        name: [name]
        for stage in (1, 2, 3)
        for name in [f'backbone.layer{stage}.0.conv1', f'backbone.layer{stage}.0.conv2']
    }


def test_blocks():
    assert find(CIFARResNet(14), 'block') == {
        block: [f'{block}.conv1', f'{block}.conv2']
        for block in (f'backbone.layer{i}.{j}' for i in (1, 2, 3) for j in (0, 1))
    }


def test_stages():
    assert find(CIFARResNet(14, shortcut='projection'), 'stage') == {
        f'backbone.layer{i}': [f'backbone.layer{i}.{j}.conv{k}' for j in (0, 1) for k in (1, 2)]
        for i in (1, 2, 3)
    }


def test_the_network():
    assert counts(CIFARResNet(20), 'network') == {'network': 18}
    assert counts(nn.ModuleDict(dict(a=conv(16, 16), b=conv(16, 16))), 'block', include='*') == {
        'network': 2
    }


def test_given_patterns():
    """The residual groups of the filter-basis authors' ResNet-56."""
    rule = {
        'group3': 'backbone.layer3.[1-8]',
        'group1': ['backbone.layer1.*', 'backbone.layer2.0.conv1'],
        'group2': ['backbone.layer2.[1-8]', 'backbone.layer2.0.conv2', 'backbone.layer3.0'],
    }
    units = find(CIFARResNet(56), rule)
    assert {name: len(layers) for name, layers in units.items()} == {
        'group1': 19, 'group2': 19, 'group3': 16,
    }  # fmt: skip
    assert list(units) == ['group1', 'group2', 'group3']
    assert units['group1'][-1] == 'backbone.layer2.0.conv1'
    assert find(CIFARResNet(8), ['backbone.layer1', '*.layer3.0.conv2']) == {
        'backbone.layer1': ['backbone.layer1.0.conv1', 'backbone.layer1.0.conv2'],
        '*.layer3.0.conv2': ['backbone.layer3.0.conv2'],
    }


# Positions, first blocks


def test_by_position():
    units = find(CIFARResNet(14), 'stage', by_position=True)
    assert units['backbone.layer2.conv1'] == ['backbone.layer2.0.conv1', 'backbone.layer2.1.conv1']
    assert list(units) == [f'backbone.layer{i}.conv{k}' for i in (1, 2, 3) for k in (1, 2)]
    assert counts(CIFARResNet(14), 'network', by_position=True) == {
        'network.conv1': 6, 'network.conv2': 6,
    }  # fmt: skip
    assert counts(CIFARResNet(14), {'g': 'backbone.layer3'}, by_position=True) == {
        'g.conv1': 2, 'g.conv2': 2,
    }  # fmt: skip
    assert list(find(CIFARResNet(8), 'block', by_position=True)) == list(find(CIFARResNet(8)))


def test_without_first_blocks():
    units = find(CIFARResNet(20), 'stage', skip_first_block=True)
    assert units == {
        f'backbone.layer{i}': [f'backbone.layer{i}.{j}.conv{k}' for j in (1, 2) for k in (1, 2)]
        for i in (1, 2, 3)
    }
    kept = [name for layers in units.values() for name in layers]
    for rule in ('layer', 'block', 'network'):
        units = find(CIFARResNet(20), rule, skip_first_block=True)
        assert [name for layers in units.values() for name in layers] == kept, rule
    assert counts(CIFARResNet(20), 'stage', skip_first_block=True, by_position=True) == {
        f'backbone.layer{i}.conv{k}': 2 for i in (1, 2, 3) for k in (1, 2)
    }


# Unlike layers


def test_unlike_layers_are_split():
    model = CIFARResNet(14)
    assert counts(model, 'stage', ('kernel_size', 'in_channels', 'groups')) == {
        'backbone.layer1': 4, 'backbone.layer2_c16': 1, 'backbone.layer2_c32': 3,
        'backbone.layer3_c32': 1, 'backbone.layer3_c64': 3,
    }  # fmt: skip
    block = nn.Sequential(
        conv(16, 16),
        conv(16, 32, 5),
        conv(32, 16),
        conv(16, 16, (1, 3), stride=(1, 2)),
        conv(16, 16),
    )
    assert find(block, 'block', ('kernel_size', 'in_channels'), kernel_size=[3, 5]) == {
        'backbone_3x3_c16': ['backbone.0', 'backbone.4'],
        'backbone_5x5_c16': ['backbone.1'],
        'backbone_3x3_c32': ['backbone.2'],
    }
    assert counts(block, 'block', ('out_channels', 'stride'), kernel_size=[3, (1, 3)]) == {
        'backbone_s1x1': 3, 'backbone_s1x2': 1,
    }  # fmt: skip
    assert counts(block, 'layer', ('kernel_size', 'in_channels')) == {
        f'backbone.{i}': 1 for i in range(5)
    }
    assert counts(block, 'block', ()) == {'backbone': 5}


def test_names_are_unique():
    model = CIFARResNet(8)
    rule = {'a': 'backbone.layer1', 'a.conv2': 'backbone.layer2'}
    names = list(find(model, {**rule, 'a.conv1': '*.layer3.0.conv1'}, by_position=True))
    assert names == ['a.conv1', 'a.conv2', 'a.conv2.conv1', 'a.conv2.conv2', 'a.conv1.conv1']
    rule = {'a': 'backbone.layer[12].0.conv1', 'a_c32': 'backbone.layer3.0.conv1'}
    rule['a_c16'] = 'backbone.layer2.0.conv2'
    assert list(find(model, rule, ('out_channels', 'in_channels'))) == [
        'a_n16', 'a_n32', 'a_c16', 'a_c32',
    ]  # fmt: skip
    rule = {'u': ['*.layer1.0.conv1', '*.layer3.0.conv2'], 'u_c16': '*.layer2.0.conv1'}
    assert list(find(model, rule, ('in_channels',))) == ['u_c16', 'u_c16_2', 'u_c64']


# Architectures


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg', 'mmpose'])
@pytest.mark.parametrize('depth', list(RESNETS))
def test_resnets_of_the_libraries(library, depth):
    model = Net(dict(type=f'{library}.ResNet', depth=depth))
    each = 2 if depth < 50 else 1
    blocks = [(i, j) for i, n in enumerate(RESNETS[depth], start=1) for j in range(n)]
    assert counts(model, 'block') == {f'backbone.layer{i}.{j}': each for i, j in blocks}
    assert counts(model, 'stage', skip_first_block=True) == {
        f'backbone.layer{i}': each * (n - 1) for i, n in enumerate(RESNETS[depth], start=1)
    }
    every = each + (2 if depth >= 50 else 0)
    found = counts(model, 'stage', (), kernel_size='any', input_shape=(1, 3, 32, 32))
    shortcuts = [depth >= 50, 1, 1, 1]
    assert found == {
        f'backbone.layer{i}': every * n + shortcut
        for i, (n, shortcut) in enumerate(zip(RESNETS[depth], shortcuts, strict=True), start=1)
    }


@pytest.mark.parametrize(
    ('name', 'changes', 'stem'),
    [
        ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', dict(backbone__init_cfg=None), 0),
        ('mmseg::fcn/fcn_r50-d8_4xb2-80k_cityscapes-512x1024.py', dict(pretrained=None), 2),
        (
            'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
            dict(backbone__init_cfg=None),
            0,
        ),
    ],
    ids=['mmdet', 'mmseg', 'mmpose'],
)
def test_whole_models(library_model, name, changes, stem):
    """Dilated stages have one size but are not one stage; a deep stem is a stage."""
    stages = {f'backbone.layer{i}': n for i, n in enumerate(RESNETS[50], start=1)}
    assert counts(library_model(name, **changes), 'stage') == {
        **({'backbone.stem': stem} if stem else {}),
        **stages,
    }


def test_cifar_vgg():
    expected = {f'backbone.stage{i}': n for i, n in enumerate((1, 2, 3, 3, 3), start=1)}
    assert counts(CIFARVGG(16), 'stage') == counts(CIFARVGG(16), 'block') == expected


def test_vgg():
    """All layers stand side by side, in wrappers, with pools between the stages."""
    model = Net(dict(type='mmpretrain.VGG', depth=16, norm_cfg=dict(type='BN')))
    assert counts(model, 'stage') == {
        'backbone.features.0-1': 1, 'backbone.features.3-4': 2, 'backbone.features.6-8': 3,
        'backbone.features.10-12': 3, 'backbone.features.14-16': 3,
    }  # fmt: skip
    assert find(model, 'stage')['backbone.features.0-1'] == ['backbone.features.1.conv']
    assert counts(model, 'block') == {'backbone.features': 12}


def test_densenet():
    model = Net(dict(type='mmpretrain.DenseNet', arch='121'))
    sizes = (6, 12, 24, 16)
    assert counts(model, 'stage') == {f'backbone.stages.{i}': n for i, n in enumerate(sizes)}
    assert counts(model, 'block') == {
        f'backbone.stages.{i}.block.{j}': 1 for i, n in enumerate(sizes) for j in range(n)
    }
    assert counts(model, 'network', by_position=True) == {'network.conv2': 58}
    assert {layers[0] for layers in find(model, kernel_size=1).values()} > {
        f'backbone.transitions.{i}.conv' for i in range(3)
    }


def test_mobilenet_v2():
    """The expansion in the first block of a stage still has the size of the stage before."""
    model = Net(dict(type='mmpretrain.MobileNetV2'))
    kwargs = dict(kernel_size=1, skip_first_block=True, by_position=True)
    units = find(model, 'stage', **kwargs)
    expansions = {f'backbone.layer{i}': n - 1 for i, n in enumerate((2, 3, 4, 3, 3), start=2)}
    assert {name: len(units[f'{name}.0.conv']) for name in expansions} == expansions
    assert {name: len(units[f'{name}.2.conv']) for name in expansions} == expansions
    assert len(units) == 2 * len(expansions)
    assert units['backbone.layer2.0.conv'] == ['backbone.layer2.1.conv.0.conv']
    blocks = counts(model, 'block', kernel_size=1)
    assert blocks['backbone.layer1.0.conv'] == 1
    assert blocks['backbone.layer4.2.conv'] == 2


def test_resnext():
    model = Net(dict(type='mmpretrain.ResNeXt', depth=50))
    stages = {f'backbone.layer{i}': n - 1 for i, n in enumerate(RESNETS[50], start=1)}
    assert counts(model, 'stage', groups=32, skip_first_block=True) == stages
    with pytest.raises(CompressionError, match=r'groups is 1 and it has 32 \(16 in all'):
        find(model, 'stage')


def test_squeeze_and_excitation():
    model = Net(dict(type='mmpretrain.SEResNet', depth=50))
    stages = {f'backbone.layer{i}': n for i, n in enumerate(RESNETS[50], start=1)}
    assert counts(model, 'stage') == stages
    units = find(model, 'stage', kernel_size='any')
    layers = [name for unit in units.values() for name in unit]
    assert not any('se_layer' in name for name in layers)
    assert any('se_layer' in name for name in find(model, kernel_size='any'))


def test_split_attention():
    """Here the layer in the middle is one with gates, and a pool behind it makes maps smaller."""
    model = Net(dict(type='mmpretrain.ResNeSt', depth=50))
    stages = {f'backbone.layer{i}': n for i, n in enumerate(RESNETS[50], start=1)}
    assert counts(model, 'stage', groups=2) == stages


def test_edsr():
    model = EDSR()
    everything = FilterFinder(include=['head', 'body', 'tail']).find(model)
    assert FilterFinder().find(model).keys() == everything.keys()
    assert find(model, 'block', include='body') == {
        **{f'body.{i}': [f'body.{i}.conv1', f'body.{i}.conv2'] for i in range(3)},
        'body': ['body.3'],
    }
    assert counts(model, 'stage', include='*') == {'body': 7, 'tail.0': 1, 'tail.2': 1}
    assert counts(Net(model), 'stage', include='backbone.body') == {'backbone.body': 7}
    assert counts(model, 'stage', include='body', skip_first_block=True) == {'body': 5}


# What runs otherwise


class Odd(nn.Module):
    """A layer that is not run, and a head that runs on two sizes."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(conv(16, 16), conv(16, 16, stride=2), conv(16, 16))
        self.backbone.unused = conv(16, 16)
        self.head = nn.Sequential(conv(16, 16), conv(16, 16))

    def forward(self, x):
        high = self.backbone[0](x)
        low = self.backbone[2](self.backbone[1](high))
        return self.head(high).mean() + self.head(low).mean()


def test_layers_that_do_not_run_or_run_twice(monkeypatch):
    said = []
    monkeypatch.setattr(filter_finder, 'print_log', lambda text, **kwargs: said.append(text))
    units = find(Odd(), 'stage', include='*')
    assert units == {
        'backbone.0': ['backbone.0'],
        'backbone.1-2': ['backbone.1', 'backbone.2'],
        'head': ['head.0', 'head.1'],
    }
    reason = 'the forward pass does not run it, or on pooled maps alone'
    assert said == [f'left alone: backbone.unused: {reason}']
    assert 'backbone.unused' in find(Odd())


def test_the_architecture_is_untouched(rng_state):
    model = Net(CIFARResNet(8)).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    tensors, generators = [id(p) for p in model.parameters()], rng_state()
    first = find(model, 'stage', skip_first_block=False)
    assert find(model, 'stage') == first
    assert rng_state() == generators
    assert [id(p) for p in model.parameters()] == tensors
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())


def test_no_forward_pass_is_needed_but_for_stages():
    class Broken(Net):
        def forward(self, x):
            raise ValueError('no')

    model = Broken(CIFARResNet(8))
    for rule in ('layer', 'block', 'network', ['backbone.layer1']):
        assert find(model, rule)
    with pytest.raises(CompressionError, match='the forward pass of Broken accepts no demo batch'):
        find(model, 'stage')


# Errors


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(rule='stages'), "parse_cfg.rule is 'stages'; the nearest rules are 'stage'"),
        (dict(rule=None), 'parse_cfg.rule is None; it has to be one of layer, block, stage, netw'),
        (dict(rule={}), 'parse_cfg.rule is {}; it has to be'),
        (dict(rule={3: 'a'}), 'parse_cfg.rule is {3'),
        (dict(rule=['a', 3]), 'parse_cfg.rule is .* it has to be a name or a list of names'),
        (dict(rule={'a': 3}), r"parse_cfg.rule\['a'\] is 3; it has to be a name"),
        (dict(rule={'a': []}), r"parse_cfg.rule\['a'\] is \[\]; a unit has a name and at least"),
        (dict(rule={'': 'a'}), r"parse_cfg.rule\[''\] is"),
        (dict(skip_first_block=1), 'parse_cfg.skip_first_block is 1; it has to be True or False'),
        (dict(by_position='yes'), "parse_cfg.by_position is 'yes'; it has to be True or False"),
        (dict(input_shape=(3, 32, 32)), 'parse_cfg.input_shape is .* four positive integers'),
        (dict(by_position=True), "by_position is True, but by parse_cfg.rule 'layer'"),
        (dict(rule=['a'], skip_first_block=True), 'leave first blocks out of its patterns'),
        (dict(groups=-1), 'parse_cfg.groups is -1'),
    ],
    ids=str,
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        TASK_UTILS.build(dict(type='FilterFinder', **kwargs))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(rule={'a': ['backbone.layer1', 'backbone.layer4']}),
            r"parse_cfg.rule\['a'\]: 'backbone.layer4' matches no convolution of Net; .*'backb",
        ),
        (
            dict(rule={'a': 'backbone.layer1', 'b': '*.conv2'}),
            "backbone.layer1.0.conv2 is in 'a' and in 'b'; a layer belongs to one unit",
        ),
        (dict(rule=['backbone.conv1']), 'conv1 is not eligible: parse_cfg.min_channels is 16 and'),
        (
            dict(rule=['backbone.layer3.0.conv1'], exclude='*.conv1'),
            'backbone.layer3.0.conv1 is not eligible: parse_cfg.exclude leaves it out',
        ),
        (dict(rule=['backbone.layer2.0.shortcut']), 'kernel_size is None, any larger than 1x1'),
        (
            dict(min_channels=99),
            r'min_channels is 99 and .* output channels \(7 in all, such',
        ),
        (dict(rule='stage', skip_first_block=True), 'leaves out the first block of its stage'),
        (dict(include='bakbone'), "parse_cfg.include: 'bakbone' matches no convolution of Net"),
    ],
    ids=str,
)
def test_what_does_not_fit(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        find(Net(CIFARResNet(8, shortcut='projection')), **kwargs)


def test_no_convolution():
    with pytest.raises(CompressionError, match='Net has no convolution to compress'):
        find(Net(nn.Linear(2, 2)))
