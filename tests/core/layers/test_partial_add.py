"""core/partial_add.py: a block adds only the channels that its last layer still has."""

import copy
import importlib
import pickle

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.layers.narrow import narrow
from mmcompress.core.layers.partial_add import (
    Expanded,
    PartialAdd,
    add_partially,
    partial_adds_of,
    put_among_zeros,
)
from mmcompress.models.cifar.resnet import CIFARBasicBlock


def randomize(model):
    """Weights and statistics that no two channels share; nothing that a new layer has."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.double()


def prune(model, pairs, share=0.5):
    """The model with some channels of norms zero, and one in which these are gone.

    Args:
        model: Any model.
        pairs: Name of the norm by name of the convolution.
        share: Of the channels, that are kept.

    Returns:
        Both models, and what ``add_partially`` returned for the second.
    """
    compact = randomize(model)
    masked = copy.deepcopy(compact)
    kept, of = {}, {}
    for conv, norm in pairs.items():
        layer = masked.get_submodule(norm)
        of[norm] = layer.num_features
        kept[norm] = torch.randperm(of[norm])[: max(int(of[norm] * share), 1)].sort().values
        gone = torch.ones(of[norm], dtype=torch.bool)
        gone[kept[norm]] = False
        with torch.no_grad():
            layer.weight[gone] = layer.bias[gone] = layer.running_mean[gone] = 0
        narrow(compact.get_submodule(conv), out_keep=kept[norm])
        narrow(compact.get_submodule(norm), kept[norm])
    return masked, compact, add_partially(compact, kept, of)


def assert_equal(masked, compact, channels, layout=torch.contiguous_format, modes=(True, False)):
    """Outputs and gradients of the input are the same, in training and in eval."""
    for training in modes:
        results = []
        data = torch.randn(2, channels, 6, 6).double().contiguous(memory_format=layout)
        for model in (masked, compact, copy.deepcopy(compact)):
            torch.manual_seed(1)
            x = data.clone().requires_grad_()
            out = model.train(training)(x)
            out.square().sum().backward()
            results.append((out, x.grad))
        for other in results[1:]:
            torch.testing.assert_close(other, results[0], rtol=0, atol=1e-10)


def projection(ins, outs, stride=1):
    return nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))


def block(path, *args, **kwargs):
    module, name = path.rsplit('.', 1)
    return getattr(importlib.import_module(module), name)(*args, **kwargs)


PRETRAIN = 'mmpretrain.models.backbones'
#: Arguments of blocks; the width of the input; the last convolution and its norm.
BLOCKS = {
    'cifar': (lambda: CIFARBasicBlock(8, 8, 1, 'pad'), 8, 2),
    'cifar-pad': (lambda: CIFARBasicBlock(8, 16, 2, 'pad'), 8, 2),
    'cifar-projection': (lambda: CIFARBasicBlock(8, 16, 2, 'projection'), 8, 2),
    'mmpretrain-basic': (lambda: block(f'{PRETRAIN}.resnet.BasicBlock', 8, 8), 8, 2),
    'mmpretrain-downsample': (
        lambda: block(f'{PRETRAIN}.resnet.BasicBlock', 8, 16, downsample=projection(8, 16)),
        8,
        2,
    ),
    'mmpretrain-drop-path': (
        lambda: block(f'{PRETRAIN}.resnet.BasicBlock', 8, 8, drop_path_rate=0.5),
        8,
        2,
    ),
    'mmpretrain-bottleneck': (lambda: block(f'{PRETRAIN}.resnet.Bottleneck', 16, 16), 16, 3),
    'mmpretrain-resnext': (
        lambda: block(f'{PRETRAIN}.resnext.Bottleneck', 64, 64, 16, groups=2, width_per_group=8),
        64,
        3,
    ),
    'mmdet-basic': (lambda: block('mmdet.models.backbones.resnet.BasicBlock', 8, 8), 8, 2),
    'mmdet-bottleneck': (lambda: block('mmdet.models.backbones.resnet.Bottleneck', 16, 4), 16, 3),
    'mmdet-res2net': (
        lambda: block('mmdet.models.backbones.res2net.Bottle2neck', 16, 4, scales=2, base_width=32),
        16,
        3,
    ),
    'mmseg-basic': (lambda: block('mmseg.models.backbones.resnet.BasicBlock', 8, 8), 8, 2),
    'mmpose-basic': (lambda: block('mmpose.models.backbones.resnet.BasicBlock', 8, 8), 8, 2),
}


@pytest.mark.parametrize('name', BLOCKS)
def test_a_block_adds_only_what_is_there(name):
    build, width, last = BLOCKS[name]
    pairs = {f'0.conv{last}': f'0.bn{last}'}
    masked, compact, expanded = prune(nn.Sequential(build()), pairs)
    assert expanded == []
    assert [type(m) for m in compact.modules() if isinstance(m, (PartialAdd, Expanded))] == [
        PartialAdd
    ]
    assert set(compact.state_dict()) == {*masked.state_dict(), f'0.bn{last}_add.kept'}
    assert_equal(masked, compact, width)
    assert_equal(masked, compact, width, torch.channels_last)


def test_a_block_with_checkpointing():
    net = nn.Sequential(block(f'{PRETRAIN}.resnet.BasicBlock', 8, 8, with_cp=True))
    masked, compact, expanded = prune(net, {'0.conv2': '0.bn2'})
    assert expanded == []
    assert_equal(masked.eval(), compact.eval(), 8, modes=[False])


def test_all_blocks_of_a_backbone_at_once():
    """Stages of ResNet-D (mmpretrain, mmseg's V1c), and what is frozen stays so."""
    model = block(
        f'{PRETRAIN}.resnet.ResNetV1d', depth=18, stem_channels=8, base_channels=8, norm_eval=True
    )
    blocks = [f'0.layer{i}.{j}' for i in (1, 2, 3, 4) for j in (0, 1)]
    pairs = {f'{name}.conv2': f'{name}.bn2' for name in blocks}
    masked, compact, expanded = prune(nn.Sequential(model), pairs, 0.4)
    assert expanded == []
    assert sum(isinstance(m, PartialAdd) for m in compact.modules()) == 8
    assert not any(m.training for m in compact.train()[0].modules() if hasattr(m, 'momentum'))
    x = torch.randn(2, 3, 64, 64).double()
    torch.testing.assert_close(compact(x), masked.train()(x), rtol=0, atol=1e-10)


def test_high_resolution_modules():
    """Blocks inside branches are mended; what is fused by indexing is put back as zeros."""
    from mmpose.models.backbones.hrnet import HRModule
    from mmpose.models.backbones.resnet import BasicBlock

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = HRModule(2, BasicBlock, [1, 1], [8, 16], [8, 16], True)

        def forward(self, x):
            outs = self.module([x, torch.cat([x, -x], dim=1)[:, :, ::2, ::2]])
            return outs[0].sum() + outs[1].square().sum()

    pairs = {
        'module.branches.0.0.conv2': 'module.branches.0.0.bn2',
        'module.branches.1.0.conv2': 'module.branches.1.0.bn2',
        'module.fuse_layers.0.1.0': 'module.fuse_layers.0.1.1',
    }
    pairs = {f'0.{conv}': f'0.{norm}' for conv, norm in pairs.items()}
    masked, compact, expanded = prune(nn.Sequential(Both()), pairs)
    assert expanded == ['0.module.fuse_layers.0.1.1']
    assert_equal(masked, compact, 8)


class Net(nn.Module):
    """A convolution, its norm, and what ``kind`` says between it and the shortcut."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.other = projection(8, 8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.0)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x, scale=None):
        out = self.norm(self.conv(x))
        return getattr(self, f'_{self.kind}')(x, out, scale)

    def _add(self, x, out, scale):
        assert scale is None
        return self.drop(self.relu(out)) + x

    def _torch_add(self, x, out, scale):
        return torch.add(x, out.relu())

    def _tensor_add(self, x, out, scale):
        return x.add(out)

    def _shortcut_in_place(self, x, out, scale):
        shortcut = self.other(x)
        sum_ = shortcut
        shortcut += out
        return sum_ * self.relu(shortcut - 1)

    def _add_in_place(self, x, out, scale):
        return self.other(x).add_(out)

    def _wide_out(self, x, out, scale):
        return x + out.mean((2, 3), keepdim=True)

    def _one_channel(self, x, out, scale):
        return out + x[:, :1]

    def _one_pixel(self, x, out, scale):
        return out + self.other(x.mean((2, 3), keepdim=True))

    def _used_twice(self, x, out, scale):
        return (out + x) * out.mean()

    def _activation(self, x, out, scale):
        return self.sigmoid(out) + x

    def _number(self, x, out, scale):
        return (out + 1.0) * x

    def _scaled(self, x, out, scale):
        return torch.add(x, out, alpha=0.5)

    def _doubled(self, x, out, scale):
        return out + out

    def _mixed(self, x, out, scale):
        return self.other(out) + x

    def _data(self, x, out, scale):
        return out + x if x.sum() > 0 else out - x

    def _by_mode(self, x, out, scale):
        return out + x if self.training else out - x

    def _in_a_list(self, x, out, scale):
        return sum([x, *[out]][::-1]) + torch.stack([x, out])[1]


PARTIAL = ['add', 'torch_add', 'tensor_add', 'shortcut_in_place', 'add_in_place', 'one_channel']
PARTIAL += ['one_pixel']
EXPANDED = ['wide_out', 'used_twice', 'activation', 'number', 'scaled', 'doubled', 'mixed', 'data']
EXPANDED += ['by_mode', 'in_a_list']


@pytest.mark.parametrize('kind', PARTIAL + EXPANDED)
def test_every_other_way_to_use_the_output(kind):
    masked, compact, expanded = prune(nn.Sequential(Net(kind)), {'0.conv': '0.norm'})
    assert expanded == (['0.norm'] if kind in EXPANDED else [])
    assert_equal(masked, compact, 8)
    assert_equal(masked, compact, 8, torch.channels_last)


def test_a_context_of_one_pixel_is_added_everywhere():
    class Context(nn.Module):
        def __init__(self):
            super().__init__()
            self.term = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))

        def forward(self, x):
            return x + self.term(x.mean((2, 3), keepdim=True))

    masked, compact, expanded = prune(nn.Sequential(Context()), {'0.term.0': '0.term.1'})
    assert expanded == []
    assert_equal(masked, compact, 8)
    assert_equal(masked, compact, 8, torch.channels_last)


def test_both_operands_of_an_addition():
    net = nn.Sequential(BLOCKS['mmpretrain-downsample'][0]())
    pairs = {'0.downsample.0': '0.downsample.1', '0.conv2': '0.bn2'}
    masked, compact, expanded = prune(net, pairs)
    assert expanded == ['0.downsample.1']
    assert partial_adds_of(compact) == {
        '0.bn2': dict(channels=8, of=16),
        '0.downsample.1': dict(channels=8, of=16),
    }
    assert_equal(masked, compact, 8)


def test_two_additions_in_one_block():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.norm1 = projection(8, 8)
            self.conv2, self.norm2 = projection(8, 8)

        def forward(self, x):
            x = x + self.norm1(self.conv1(x))
            return x + self.norm2(self.conv2(x))

    masked, compact, expanded = prune(nn.Sequential(Two()), dict(_pairs(2)))
    assert expanded == []
    assert partial_adds_of(compact) == {f'0.norm{i}': dict(channels=4, of=8) for i in (1, 2)}
    assert_equal(masked, compact, 8)


def _pairs(count):
    return [(f'0.conv{i}', f'0.norm{i}') for i in range(1, count + 1)]


def test_a_convolution_module_inside_a_block():
    """mmcv's ConvModule is looked into; the addition is that of the block around it."""
    from mmcv.cnn import ConvModule

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ConvModule(8, 8, 3, padding=1, norm_cfg=dict(type='BN'))

        def forward(self, x):
            return x + self.conv(x)

    masked, compact, expanded = prune(nn.Sequential(Block()), {'0.conv.conv': '0.conv.bn'})
    assert expanded == []
    assert set(compact.state_dict()) == {*masked.state_dict(), '0.conv_bn_add.kept'}
    assert_equal(masked, compact, 8)


def test_a_squeeze_and_excitation_block_sees_all_channels():
    net = nn.Sequential(block(f'{PRETRAIN}.seresnet.SEBottleneck', 16, 16, se_ratio=4))
    masked, compact, expanded = prune(net, {'0.conv3': '0.bn3'})
    assert expanded == ['0.bn3']
    assert partial_adds_of(compact) == {'0.bn3': dict(channels=8, of=16)}
    assert_equal(masked, compact, 16)


def test_a_block_in_two_places():
    shared = BLOCKS['cifar'][0]()
    masked, compact, expanded = prune(nn.Sequential(shared, shared), {'0.conv2': '0.bn2'})
    assert expanded == []
    assert compact[0] is compact[1]
    assert_equal(masked, compact, 8)


def test_a_head_keeps_its_other_methods():
    class Head(Net):
        def loss(self, x):
            return self(x).sum()

    masked, compact, expanded = prune(nn.Sequential(Head('add')), {'0.conv': '0.norm'})
    assert expanded == ['0.norm']
    x = torch.randn(2, 8, 6, 6).double()
    torch.testing.assert_close(compact.eval()[0].loss(x), masked.eval()[0].loss(x))


@pytest.mark.parametrize('in_place', [False, True])
def test_the_layout_stays(in_place):
    add = PartialAdd(torch.tensor([4, 1]), 5, 'conv', in_place)
    x, out = torch.randn(2, 5, 3, 4), torch.randn(2, 2, 3, 4)
    expected = x.index_add(1, add.kept, out)
    x, out = (t.contiguous(memory_format=torch.channels_last) for t in (x, out))
    before = x.clone()
    found = add(x, out)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, expected if in_place else before)


def test_widths_in_attributes_are_those_of_now():
    net = nn.Sequential(BLOCKS['mmdet-res2net'][0]()).eval()
    keep = torch.tensor([0, 2])  # one channel of each of the two splits
    narrow(net[0].conv1, out_keep=keep)
    narrow(net[0].bn1, keep)
    narrow(net[0].convs[0], keep[:1], keep[:1])
    narrow(net[0].bns[0], keep[:1])
    narrow(net[0].conv3, keep, torch.arange(5))
    narrow(net[0].bn3, torch.arange(5))
    assert add_partially(net, {'0.bn3': torch.arange(5)}, {'0.bn3': 16}) == []
    assert net(torch.randn(2, 16, 6, 6)).shape == (2, 16, 6, 6)


def test_numbers_of_two_kinds():
    add = PartialAdd(torch.tensor([2, 0]), 3, 'conv')
    x, out = torch.randn(1, 3, 2, 2), torch.randn(1, 2, 2, 2, dtype=torch.bfloat16)
    found = add(x, out)
    assert found.dtype == torch.float32
    assert torch.equal(found[:, [2, 0]], x[:, [2, 0]] + out)
    assert add(x.bfloat16(), out.float()).dtype == torch.float32


def test_no_tensor_of_full_width_and_no_look_at_data():
    _, compact, _ = prune(nn.Sequential(BLOCKS['mmpretrain-basic'][0]()), {'0.conv2': '0.bn2'})
    called = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Spy():
        compact.eval()(torch.randn(1, 8, 6, 6).double())
    assert called.count('index_add') == 1
    assert not {'zeros', 'new_zeros', 'index_copy', '_local_scalar_dense', 'clone'} & set(called)


@pytest.mark.parametrize('name', ['mmpretrain-downsample', 'mmdet-bottleneck'])
def test_traced_and_written_as_onnx(name, tmp_path):
    from mmcompress.core.export.onnx import export_onnx

    build, width, last = BLOCKS[name]
    pairs = {f'0.conv{last}': f'0.bn{last}'}
    _, compact, _ = prune(nn.Sequential(build()), pairs)
    compact = compact.float().eval()
    with torch.no_grad():
        traced = torch.jit.trace(compact, torch.randn(2, width, 6, 6))
        x = torch.randn(3, width, 8, 8)
        torch.testing.assert_close(traced(x), compact(x))
    report = export_onnx(compact, tmp_path / 'a.onnx', (width, 6, 6))
    assert report['onnx_difference'] < 1e-5
    assert not scatters(tmp_path / 'a.onnx')


def scatters(path):
    """Nodes of an ONNX file that few runtimes know."""
    import onnx

    return [n.op_type for n in onnx.load(path).graph.node if n.op_type.startswith('Scatter')]


@pytest.mark.parametrize('kind', ['activation', 'shortcut_in_place', 'add_in_place', 'one_channel'])
def test_other_uses_as_onnx(kind, tmp_path):
    from mmcompress.core.export.onnx import export_onnx

    _, compact, _ = prune(nn.Sequential(Net(kind)), {'0.conv': '0.norm'})
    assert export_onnx(compact.float(), tmp_path / 'a.onnx', (8, 6, 6))['onnx_difference'] < 1e-5
    assert not scatters(tmp_path / 'a.onnx')


def test_places_are_those_of_the_channels_that_were_loaded():
    add, other = (PartialAdd(torch.tensor(kept), 5, 'conv') for kept in ([4, 1], [0, 2]))
    add.load_state_dict(other.state_dict())
    assert add.places.tolist() == [0, 2, 1, 2, 2]
    assert set(add.state_dict()) == {'kept'}
    out = torch.randn(2, 2, 3, 3)
    expected = torch.zeros(2, 5, 3, 3).index_copy(1, other.kept, out)
    assert torch.equal(put_among_zeros(out, add.places), expected)


def test_compiled():
    build, width, _ = BLOCKS['mmpretrain-basic']
    _, compact, _ = prune(nn.Sequential(build()), {'0.conv2': '0.bn2'})
    compiled = torch.compile(compact.eval(), backend='aot_eager', fullgraph=True)
    x = torch.randn(2, width, 6, 6).double()
    torch.testing.assert_close(compiled(x), compact(x))


def test_pickled():
    _, compact, _ = prune(nn.Sequential(BLOCKS['cifar'][0]()), {'0.conv2': '0.bn2'})
    again = pickle.loads(pickle.dumps(compact.eval()))
    x = torch.randn(2, 8, 6, 6).double()
    assert torch.equal(again(x), compact(x))
    assert partial_adds_of(again) == partial_adds_of(compact)


@pytest.mark.parametrize(
    ('name', 'kept', 'says'),
    [
        ('0.bn9', [0, 1], "no layer '0.bn9'; the nearest are '0.bn"),
        ('0.relu', [0, 1], "no layer '0.relu'"),
        ('0.bn2', [0, 1], "2 channels are given for layer '0.bn2', which has 8"),
        ('0.bn2', range(1, 9), 'have to be 8 different ones of 0 to 7'),
        ('0.bn2', [0] * 8, 'have to be 8 different ones of 0 to 7'),
        ('0.bn2', range(-1, 7), 'have to be 8 different ones of 0 to 7'),
    ],
)
def test_what_does_not_fit(name, kept, says):
    model = nn.Sequential(BLOCKS['cifar'][0]())
    with pytest.raises(CompressionError) as error:
        add_partially(model, {name: torch.tensor(list(kept))}, {name: 8})
    assert says in str(error.value)
    assert type(model[0]) is CIFARBasicBlock
