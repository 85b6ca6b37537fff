"""``cut_inputs``: a convolution also loses the inputs that the block before it lost.

Transcribed here: walk over the convolutions of blocks in order, zero the rows of each that its
scalars remove, and the columns that the convolution before removed; while training goes on, zero
both again after each step.
"""

import copy
import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import Clock, CompressionError, DependencyAnalyzer
from mmcompress.core.export.export import compare, export
from mmcompress.core.export.static import layer_widths, sub_model, to_static
from mmcompress.core.layers.partial_add import PartialAdd
from mmcompress.core.layers.partial_input import Selected
from mmcompress.methods.fcf import FactorizedConv2d, FCFMutator

CLOSE = dict(rtol=0, atol=1e-9)
WIDTHS = {'bottleneck': 128, 'resnext': 256, 'se': 128, 'pre-activation': 16}
BLOCKS = {
    'basic': dict(type='mmcompress.CIFARResNet', depth=14),
    'projection': dict(type='mmcompress.CIFARResNet', depth=14, shortcut='projection'),
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


def network(name):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=BLOCKS[name],
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=WIDTHS.get(name, 64)),
    )


def fcf(name, ratio=0.5, stage='factorize', cut_inputs=True, **kwargs):
    mutator = dict(
        type='FCFMutator',
        cut_inputs=cut_inputs,
        parse_cfg=dict(input_shape=(1, 3, 32, 32)),
        **kwargs,
    )
    return MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=network(name) if isinstance(name, str) else name,
            mutator_cfg=mutator,
            target_pruning_ratio=ratio,
            stage=stage,
        )
    )


def randomize(algorithm, seed=0):
    """Scalars, norms and statistics as after training: nothing is zero or one by chance."""
    torch.manual_seed(seed)
    for module in algorithm.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
        if isinstance(module, FactorizedConv2d):
            nn.init.uniform_(module.v)
    algorithm.started.fill_(True)
    return algorithm


def in_blocks(model):
    """Convolutions of the blocks of a ResNet in order, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and '.layer' in name
        and 'shortcut' not in name
        and 'downsample' not in name
    }


def zero(convolutions, removed):
    """The authors' walk, on plain convolutions; ``removed`` has a mask of filters by name."""
    before = []
    with torch.no_grad():
        for name, conv in convolutions.items():
            gone = removed[name].nonzero().flatten()
            conv.weight[:, before] = 0
            conv.weight[gone] = 0
            before = gone


def twin_of(algorithm, name):
    """A plain network with the weights of ``algorithm``, and what its scalars remove."""
    plain = MODELS.build(network(name)).double()
    own = dict(algorithm.architecture.named_modules())
    plain.load_state_dict(
        {
            key: value
            for key, value in algorithm.architecture.state_dict().items()
            if not key.endswith(('.v', '.keep'))
        }
    )
    return plain, {key: own[key].v == 0 for key in in_blocks(plain)}


@pytest.mark.parametrize('name', ['basic', 'projection', 'bottleneck'])
def test_the_network_that_the_walk_leaves(name):
    """With their scalars in front of norms: outputs, in training too, and all gradients."""
    first = randomize(fcf(name, scale='weight')).double()
    algorithm = fcf(name, stage='finetune', scale='weight').double()
    algorithm.load_state_dict(first.state_dict())
    algorithm.settle()
    plain, removed = twin_of(algorithm, name)
    assert all(0 < int(gone.sum()) < len(gone) for gone in removed.values())
    zero(in_blocks(plain), removed)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for mode in (False, True):
        expected = plain.train(mode)(x, mode='tensor')
        found = algorithm.architecture.train(mode)(x, mode='tensor')
        torch.testing.assert_close(found, expected, **CLOSE)
        expected.square().sum().backward()
        found.square().sum().backward()
    own = dict(algorithm.architecture.named_parameters())
    masks = in_blocks(plain)
    for key, parameter in plain.named_parameters():
        gradient, layer = own[key].grad, key.removesuffix('.weight')
        expected = parameter.grad
        if layer in masks:  # what is zeroed again after a step does not count
            assert not gradient[parameter == 0].any()
            expected = torch.where(parameter == 0, 0, expected)
        torch.testing.assert_close(gradient, expected, **CLOSE, msg=key)


def test_our_scalars_and_their_inputs():
    """Ours behind the norms: the same columns are zero, a removed filter puts out nothing."""
    algorithm = randomize(fcf('projection')).double()
    algorithm.binarize()
    plain = MODELS.build(network('projection')).double().eval()
    ops = in_blocks(algorithm.architecture)
    state = {
        key.replace('.norm.', '.'): value
        for key, value in algorithm.architecture.state_dict().items()
        if not key.endswith(('.v', '.keep'))
    }
    plain.load_state_dict(state)
    removed = {name: op.v == 0 for name, op in ops.items()}
    zero(in_blocks(plain), removed)
    with torch.no_grad():
        for name, gone in removed.items():
            norm = plain.get_submodule(name.replace('conv', 'bn'))
            norm.weight[gone] = norm.bias[gone] = 0
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(algorithm.architecture.eval()(x), plain(x), **CLOSE)


def test_before_scalars_are_rounded_nothing_is_cut():
    """Stage 1 trains the same network with and without."""
    x = torch.randn(2, 3, 32, 32)
    outputs, dense = [], MODELS.build(network('projection')).state_dict()
    for cut_inputs in (True, False):
        algorithm = fcf('projection', cut_inputs=cut_inputs)
        algorithm.load_state_dict(dense, strict=False)
        randomize(algorithm)
        outputs.append(algorithm.architecture.eval()(x))
        algorithm.binarize()
        outputs.append(algorithm.architecture(x))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.allclose(outputs[1], outputs[3])


def readers(mutator):
    """By layer, the layers whose filters it reads with the first channel."""
    units = mutator.units
    return {
        layer: {units[name].config.producers[0].name: start for name, start in sources.items()}
        for layer, sources in mutator.cuts.items()
    }


def block(stage, index, conv):
    return f'backbone.layer{stage}.{index}.conv{conv}'


@pytest.mark.parametrize('name', ['basic', 'projection'])
def test_which_convolution_reads_which(name):
    """The first one behind the stem reads nothing that is cut; stages follow one another."""
    assert readers(fcf(name).mutator) == {
        block(1, 1, 1): {block(1, 0, 2): 0},
        block(2, 0, 1): {block(1, 1, 2): 0},
        block(2, 1, 1): {block(2, 0, 2): 0},
        block(3, 0, 1): {block(2, 1, 2): 0},
        block(3, 1, 1): {block(3, 0, 2): 0},
    }
    # With their scalars each convolution reads the one before.
    names = list(in_blocks(fcf(name).architecture))
    expected = {after: {before: 0} for before, after in itertools.pairwise(names)}
    assert readers(fcf(name, scale='weight').mutator) == expected


def test_which_convolution_of_bottlenecks_reads_which():
    found = readers(fcf('bottleneck').mutator)
    assert found[block(1, 1, 1)] == {block(1, 0, 3): 0}
    assert found[block(2, 0, 1)] == {block(1, 2, 3): 0}
    assert len(found) == 15


def test_behind_a_convolution_that_keeps_everything():
    """It is the block before, and has lost nothing."""
    mutator = fcf('projection', skip=['*layer2.0.conv2', '*shortcut*']).mutator
    assert block(2, 1, 1) not in mutator.cuts
    assert block(2, 0, 1) in mutator.cuts


@pytest.mark.parametrize('scale', ['output', 'weight'])
@pytest.mark.parametrize('cut_inputs', [False, True])
@pytest.mark.parametrize('name', BLOCKS)
def test_exported_equals_trained(name, cut_inputs, scale):
    algorithm = randomize(fcf(name, cut_inputs=cut_inputs, scale=scale).double())
    algorithm.binarize()
    algorithm.eval()
    static = to_static(algorithm)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        data = x.contiguous(memory_format=layout)
        one = algorithm.architecture(data)
        other = static.to(memory_format=layout)(data)
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)
    assert one.std() > 0.01
    widths = {
        layer.removesuffix('.layer').removesuffix('.layer'): module
        for layer, module in static.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    for unit in algorithm.mutator.units.values():
        assert widths[unit.config.producers[0].name].out_channels == unit.width
    for layer, sources in algorithm.mutator.cuts.items():
        lost = sum(algorithm.mutator.units[s].num_channels // 2 for s in sources)
        dense = algorithm.architecture.get_submodule(layer).in_channels
        assert widths[layer].in_channels <= dense - lost
    selected = any(isinstance(m, Selected) for m in static.modules())
    assert selected == bool(algorithm.mutator.cuts)
    assert selected == (scale == 'weight' or (cut_inputs and name != 'pre-activation'))
    if name == 'projection' and scale == 'output':
        assert any(isinstance(m, PartialAdd) for m in static.modules())


@pytest.mark.parametrize('fold', [False, True])
@pytest.mark.parametrize('scale', ['output', 'weight'])
@pytest.mark.parametrize('name', ['projection', 'bottleneck'])
def test_an_export_is_built_again(name, scale, fold, tmp_path):
    algorithm = randomize(fcf(name, stage='finetune', scale=scale))
    algorithm.binarize()
    algorithm.eval()
    cfg = Config(dict(model=dict(architecture=network(name)), data_preprocessor=None))
    shape = (3, 32, 32) if (name, scale, fold) == ('projection', 'output', False) else None
    done = export(algorithm, cfg, tmp_path / 'out', fold_bn=fold, onnx_shape=shape)
    assert done['max_difference'] < 1e-5
    assert shape is None or Path(done['onnx']).is_file()
    subnet = json.loads((tmp_path / 'out/fix_subnet.json').read_text())
    layer = 'backbone.layer2.1.conv1'
    unit = algorithm.mutator.units[next(iter(algorithm.mutator.cuts[layer]))]
    expected = dict(channels=unit.width, of=unit.num_channels)
    assert subnet['partial_inputs'][layer] == expected
    assert subnet['layers'][layer]['in_channels'] == unit.width
    assert set(subnet['partial_inputs']) == set(algorithm.mutator.cuts)


def test_the_untrained_network_takes_an_export():
    """As compact configs do: of the algorithm's config, with the state of an export."""
    algorithm = randomize(fcf('projection'))
    algorithm.binarize()
    static = to_static(algorithm)
    config = dict(
        type='mmcompress.FCF',
        mutator_cfg=dict(type='FCFMutator', cut_inputs=True),
        target_pruning_ratio=0.5,
    )
    compact = sub_model(network('projection'), config)
    compact.load_state_dict(static.state_dict())
    assert compare(algorithm, compact)[0] < 1e-5
    dense = MODELS.build(network('projection'))
    assert layer_widths(dense, static)[block(2, 1, 1)] == dict(in_channels=16, out_channels=16)


@pytest.mark.parametrize(
    ('partial', 'says'),
    [
        ([], '`partial_inputs` has to be a dict'),
        ({'backbone.conv2': 4}, r"partial_inputs\['backbone.conv2'\] is 4; it has to be"),
        ({'backbone.conv2': dict(channels=2)}, r"partial_inputs\['backbone.conv2'\] is"),
        ({'backbone.conv9': dict(channels=2, of=4)}, "no layer 'backbone.conv9'"),
        ({'backbone.conv2': dict(channels=3, of=8)}, '3 channels are given'),
    ],
    ids=str,
)
def test_partial_inputs_that_do_not_fit(tiny_cfg, partial, says):
    with pytest.raises(CompressionError, match=says):
        sub_model(tiny_cfg, dict(layers={}, partial_inputs=partial))


@pytest.mark.parametrize(
    ('first', 'second', 'says'),
    [
        (dict(cut_inputs=True), dict(cut_inputs=False), 'cut_inputs is False, but True'),
        (dict(cut_inputs=False), dict(cut_inputs=True), 'cut_inputs is True, but False'),
        (dict(scale='weight'), dict(scale='output'), "scale is 'output', but 'weight'"),
        (dict(scale='output'), dict(scale='weight'), "scale is 'weight', but 'output'"),
    ],
    ids=str,
)
def test_both_stages_agree(first, second, says):
    state = randomize(fcf('basic', **first)).state_dict()
    algorithm = fcf('basic', stage='finetune', **second)
    before = copy.deepcopy(algorithm.state_dict())
    with pytest.raises(CompressionError, match=f'mutator_cfg.{says} in the loaded checkpoint'):
        algorithm.load_state_dict(state)
    assert all(torch.equal(value, before[key]) for key, value in algorithm.state_dict().items())


def test_a_dense_network_and_older_checkpoints_do_not_say():
    dense = MODELS.build(network('basic')).state_dict()
    algorithm = fcf('basic', scale='weight')
    algorithm.load_state_dict(dense, strict=False)
    assert bool(algorithm.cut_inputs)
    assert bool(algorithm.scales_weight)
    state = randomize(fcf('basic', cut_inputs=False)).state_dict()
    del state['cut_inputs'], state['scales_weight']
    fcf('basic', stage='finetune', cut_inputs=False).load_state_dict(state)
    with pytest.raises(CompressionError, match='cut_inputs is True, but False'):
        fcf('basic', stage='finetune').load_state_dict(state)


def finetune(algorithm, steps, state=None):
    """Some steps of stage 2, from ``state`` or from the beginning; returns where it stands."""
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    wrapper = OptimWrapper(optimizer)
    if state is not None:
        algorithm.load_state_dict(state['model'])
        wrapper.load_state_dict(state['optimizer'])
    algorithm.train().start(wrapper)
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(6, 3, 16, 16, generator=generator)
        labels = torch.randint(3, (6,), generator=generator)
        algorithm.tick(Clock(0, step, 1, 40, step == 0))
        output = algorithm.architecture(x, mode='tensor')
        wrapper.update_params(F.cross_entropy(output, labels))
    return dict(
        model=copy.deepcopy(algorithm.state_dict()),
        optimizer=copy.deepcopy(wrapper.state_dict()),
    )


@pytest.mark.parametrize('scale', ['output', 'weight'])
def test_resumed(scale):
    """To the last bit as if it had not stopped."""
    first = randomize(fcf('projection', scale=scale)).state_dict()
    ends = []
    for parts in ([range(6)], [range(3), range(3, 6)]):
        algorithm, state = fcf('projection', stage='finetune', scale=scale), None
        algorithm.load_state_dict(first)
        for steps in parts:
            if state is not None:
                algorithm = fcf('projection', stage='finetune', scale=scale)
            state = finetune(algorithm, steps, state)
        ends.append(state['model'])
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key
    changed = [k for k, v in ends[0].items() if not torch.equal(v, first[k])]
    assert any(key.endswith('conv1.weight') for key in changed)


def test_rounded_by_another_config():
    """A checkpoint of stage 2 is the same network under the config of stage 1."""
    algorithm = randomize(fcf('projection', stage='finetune'))
    algorithm.binarize()
    again = fcf('projection')
    again.load_state_dict(algorithm.state_dict())
    x = torch.randn(2, 3, 32, 32)
    one, other = (a.architecture.eval()(x) for a in (algorithm, again))
    assert torch.equal(one, other)


@pytest.mark.parametrize('scale', ['output', 'weight'])
def test_a_template_builds_the_same_again(scale, monkeypatch):
    dense = MODELS.build(network('projection'))
    mutator, model = FCFMutator(cut_inputs=True, scale=scale), copy.deepcopy(dense)
    mutator.prepare_from_supernet(model, 0.5)
    short = mutator.config_template()
    assert (short['cut_inputs'], short['scale']) == (True, scale)
    written = json.loads(json.dumps(mutator.config_template(True, True)))
    monkeypatch.setattr(DependencyAnalyzer, 'analyze', None)
    again = MODELS.build(dict(written, type='mmcompress.FCFMutator'))
    again.prepare_from_supernet(copy.deepcopy(dense))
    assert again.cuts == mutator.cuts
    assert again.config_template(True, True) == mutator.config_template(True, True)
    # Split units do not say themselves what reads them.
    hand = MODELS.build(dict(written, type='mmcompress.FCFMutator', cut_inputs=True))
    with pytest.raises(CompressionError, match='cut_inputs is True, but the channels of'):
        hand.prepare_from_supernet(copy.deepcopy(dense))


def test_a_template_of_a_network_without_sums():
    """There is nothing to cut, and stages still agree that it would be."""
    algorithm = fcf(dict(type='TinyNet'))
    assert not algorithm.mutator.cuts
    template = algorithm.mutator.config_template(True, True)
    assert template['cut_inputs'] == {}
    again = MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=dict(type='TinyNet'),
            mutator_cfg=template,
            stage='finetune',
        )
    )
    again.load_state_dict(randomize(algorithm).state_dict())
    assert bool(again.cut_inputs)


def test_units_of_the_analyzer_say_what_reads_them():
    dense = MODELS.build(network('projection'))
    units = {
        name: unit.as_dict() for name, unit in DependencyAnalyzer().analyze(dense).units.items()
    }
    mutator = FCFMutator(dict(units=units), cut_inputs=True)
    mutator.prepare_from_supernet(copy.deepcopy(dense), 0.5)
    assert mutator.cuts == fcf('projection').mutator.cuts


@pytest.mark.parametrize(
    ('kwargs', 'says'),
    [
        (dict(cut_inputs=1), 'cut_inputs is 1; it has to be True or False'),
        (dict(cut_inputs=True, scope='unit'), "cut_inputs is True and scope is 'unit'"),
        (dict(cut_inputs={'backbone.convx': {block(1, 0, 2): 0}}), "'backbone.convx' is no conv"),
        (dict(cut_inputs={block(1, 1, 1): {'head': 0}}), "'head' is no convolution"),
        (dict(cut_inputs={block(1, 1, 1): {block(1, 0, 2): 1}}), 'does not read the 16 channels'),
        (dict(cut_inputs={block(1, 1, 1): {block(1, 0, 2): 'a'}}), "from 'a' on"),
        (dict(cut_inputs={block(1, 1, 1): 3}), 'cut_inputs is {.*it has to be True or False'),
        (dict(threshold='above'), "threshold is 'above'; it has to be one of inclusive, exclusive"),
    ],
    ids=str,
)
def test_wrong_arguments(kwargs, says):
    with pytest.raises(CompressionError, match=f'mutator_cfg.(cut_inputs: .*)?{says}'):
        FCFMutator(**kwargs).prepare_from_supernet(MODELS.build(network('projection')), 0.5)


class Concatenated(BaseModel):
    """A convolution that reads a sum behind other channels."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            dict(
                stem=nn.Conv2d(3, 4, 3, bias=False),
                side=nn.Conv2d(4, 6, 1, bias=False),
                first=nn.Conv2d(4, 8, 1, bias=False),
                block=nn.Conv2d(8, 8, 3, padding=1, bias=False),
                reads=nn.Conv2d(14, 5, 1, bias=False),
            )
        )
        self.head = nn.Linear(5, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        b = self.backbone
        x = b['stem'](inputs)
        side, x = b['side'](x), b['first'](x)
        x = x + b['block'](x.relu())
        return self.head(b['reads'](torch.cat([side, x], 1)).mean((2, 3)))


def test_behind_a_concatenation():
    """Channels of ``side`` are gone, those of the sum are there and not read."""
    algorithm = randomize(fcf(Concatenated(), skip=['*stem*']).double())
    assert readers(algorithm.mutator)['backbone.reads'] == {'backbone.block': 6}
    algorithm.binarize()
    static = to_static(algorithm.eval())
    reads = static.backbone['reads']
    assert (reads.of, reads.layer.in_channels) == (3 + 8, 3 + 4)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(static(x), algorithm.architecture(x), **CLOSE)
