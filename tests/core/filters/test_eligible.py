"""core/conv_filter.py: which convolutions are eligible, and why others are not."""

import pytest
from mmcv.cnn import ConvModule
from mmcv.ops import ModulatedDeformConv2dPack
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.filters.eligible import ConvFilter
from mmcompress.core.filters.tree import ConvTree, convolutions_of


class Zoo(nn.Module):
    """Convolutions of every kind."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            dict(
                stem=nn.Conv2d(3, 32, 7, stride=2),
                plain=ConvModule(32, 32, 3),
                strided=nn.Conv2d(32, 32, 3, stride=2),
                oblong=nn.Conv2d(32, 32, (1, 7), stride=(1, 2)),
                point=nn.Conv2d(32, 32, 1),
                grouped=nn.Conv2d(32, 64, 3, groups=4),
                narrow=nn.Conv2d(64, 8, 5),
                transposed=nn.ConvTranspose2d(32, 32, 3),
                deformable=ModulatedDeformConv2dPack(32, 32, 3),
                volume=nn.Conv3d(32, 32, 3),
            )
        )
        self.head = nn.Conv2d(32, 32, 3)


def eligible(model=None, **kwargs):
    model = model or Zoo()
    names = list(convolutions_of(model))
    found = ConvFilter(**kwargs)
    found.included(model, ConvTree(names))
    refused = found.refused(model, names)
    return [name.removeprefix('backbone.') for name in names if name not in refused]


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        (dict(), 'plain.conv strided oblong'),
        (dict(kernel_size=3), 'plain.conv strided'),
        (dict(kernel_size=[3, (1, 7)]), 'plain.conv strided oblong'),
        (dict(kernel_size=[1, [1, 7]]), 'oblong point'),
        (dict(kernel_size=(1, 7)), 'oblong'),
        (dict(kernel_size=1), 'point'),
        (dict(kernel_size='any'), 'plain.conv strided oblong point'),
        (dict(groups='any'), 'plain.conv strided oblong grouped'),
        (dict(groups=4), 'grouped'),
        (dict(stride=1), 'plain.conv'),
        (dict(stride=2), 'strided'),
        (dict(min_channels=8), 'plain.conv strided oblong narrow'),
        (dict(min_channels=3), 'stem plain.conv strided oblong narrow'),
        (dict(min_channels=33, kernel_size='any', groups='any'), ''),
        (dict(include='*'), 'plain.conv strided oblong head'),
        (dict(include=['backbone.plain', 'head']), 'plain.conv head'),
        (dict(exclude='backbone.str*'), 'plain.conv oblong'),
        (dict(include='*', exclude=['backbone']), 'head'),
    ],
    ids=str,
)
def test_constraints(kwargs, expected):
    assert eligible(**kwargs) == expected.split()


def test_every_refusal_has_a_reason():
    model = Zoo()
    why = ConvFilter(exclude='*.strided').refused(model, list(convolutions_of(model)))
    assert why == {
        'backbone.stem': 'parse_cfg.min_channels is 16 and it has 3 input and 32 output channels',
        'backbone.strided': 'parse_cfg.exclude leaves it out',
        'backbone.point': 'parse_cfg.kernel_size is None, any larger than 1x1, and it has 1x1',
        'backbone.grouped': 'parse_cfg.groups is 1 and it has 4',
        'backbone.narrow': 'parse_cfg.min_channels is 16 and it has 64 input and 8 output channels',
        'backbone.transposed': 'it is no plain 2-d convolution',
        'backbone.deformable': 'it is no plain 2-d convolution',
        'backbone.volume': 'it is no plain 2-d convolution',
        'head': 'parse_cfg.include (backbone) leaves it out',
    }
    assert ConvFilter(kernel_size=[5], stride=1).refused(model, ['backbone.oblong']) == {
        'backbone.oblong': 'parse_cfg.kernel_size is [5] and it has 1x7'
    }
    assert ConvFilter(stride=1).refused(model, ['backbone.oblong']) == {
        'backbone.oblong': 'parse_cfg.stride is 1 and it has 1x2'
    }


def test_momentum_copies_are_never_eligible():
    class SemiBaseDetector(nn.Module):
        """Known to core/twins.py by its name."""

        def __init__(self):
            super().__init__()
            self.student = nn.ModuleDict(dict(backbone=nn.Conv2d(32, 32, 3)))
            self.teacher = nn.ModuleDict(dict(backbone=nn.Conv2d(32, 32, 3)))

    assert eligible(SemiBaseDetector()) == ['student.backbone']
    assert eligible(SemiBaseDetector(), include='*') == ['student.backbone']


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(include='bakbone'), "parse_cfg.include: 'bakbone' .* nearest names are 'backbone'"),
        (dict(exclude=['head', 'backbone.plan']), "parse_cfg.exclude: 'backbone.plan' matches no"),
        (dict(include='backbone.plain.bn'), 'matches no convolution of Zoo'),
    ],
    ids=str,
)
def test_names_that_fit_no_convolution(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        eligible(**kwargs)


def test_no_backbone():
    with pytest.raises(CompressionError, match="include is None, .* ModuleDict has no .* 'body'"):
        eligible(nn.ModuleDict(dict(body=nn.Conv2d(32, 32, 3), backbone=nn.ReLU())))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(include=3), 'parse_cfg.include is 3; it has to be a name'),
        (dict(exclude=None), 'parse_cfg.exclude is None; it has to be a name'),
        (dict(groups=0), "parse_cfg.groups is 0; it has to be a positive integer or 'any'"),
        (dict(groups='all'), "parse_cfg.groups is 'all'; it has to be"),
        (dict(stride=(1, 1)), r'parse_cfg.stride is \(1, 1\); it has to be'),
        (dict(stride=True), 'parse_cfg.stride is True; it has to be'),
        (dict(min_channels=1.5), 'parse_cfg.min_channels is 1.5; it has to be a positive integer$'),
        (dict(min_channels='any'), "parse_cfg.min_channels is 'any'"),
        (dict(kernel_size=0), 'parse_cfg.kernel_size is 0; it has to be a size such as 3'),
        (dict(kernel_size='3x3'), "parse_cfg.kernel_size is '3x3'"),
        (dict(kernel_size=[]), r'parse_cfg.kernel_size is \[\]'),
        (dict(kernel_size=(3, 3, 3)), 'parse_cfg.kernel_size is'),
        (dict(kernel_size=[3, 'any']), 'parse_cfg.kernel_size is'),
        (dict(kernel_size=True), 'parse_cfg.kernel_size is True'),
    ],
    ids=str,
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(CompressionError, match=message):
        ConvFilter(**kwargs)
