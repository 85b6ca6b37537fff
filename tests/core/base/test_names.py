"""core/names.py: names of modules in a config."""

import pytest
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.base.names import backbones_of, copies_in, demo_shape, matches, name_list


def test_matches():
    assert matches('backbone.layer1.0.conv1', ['backbone.layer1'])
    assert not matches('backbone.layer10.conv1', ['backbone.layer1'])
    assert matches('backbone.layer1.0.conv1', ['*.conv1'])
    assert not matches('backbone', [])


def test_name_list():
    assert name_list('a', 'key') == ['a']
    assert name_list(('a', 'b'), 'key') == ['a', 'b']
    for value in (3, ['a', 3], None):
        with pytest.raises(CompressionError, match='^key is .*; it has to be a name or a list'):
            name_list(value, 'key')


def test_demo_shape():
    assert demo_shape(None) is None
    assert demo_shape([2, 3, 4, 5]) == (2, 3, 4, 5)
    for value in (
        3,
        [1, 3],
        [1, 3, 2, 2, 2, 2],
        [1, 3, 8, 0],
        [1, 3, 8, 8.0],
        [True, 3, 8, 8],
        'abcd',
    ):
        with pytest.raises(CompressionError, match='it has to be four positive integers'):
            demo_shape(value)


def test_momentum_copies_are_no_backbones():
    class SemiBaseDetector(nn.Module):
        """Known to core/twins.py by its name."""

        def __init__(self):
            super().__init__()
            self.student = nn.ModuleDict(dict(backbone=nn.Conv2d(3, 4, 1)))
            self.teacher = nn.ModuleDict(dict(backbone=nn.Conv2d(3, 4, 1)))

    model = SemiBaseDetector()
    assert copies_in(model) == ['teacher']
    assert backbones_of(model) == ['student.backbone']
    assert copies_in(model.student) == []
    assert backbones_of(model.student) == ['backbone']
    # Of a model without any, all parts.
    assert backbones_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())) == ['0', '1']
