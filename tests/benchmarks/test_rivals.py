"""report/rivals.py: one question, three analyzers, the same measure for all."""

import pytest
import rivals
from torch import nn

from mmcompress.core.errors import CompressionError


class Net(nn.Module):
    """Two convolutions in the backbone; with ``fixed``, one whose width is in the code."""

    def __init__(self, fixed=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
        self.fixed = fixed

    def forward(self, inputs):
        features = self.backbone[0](inputs)
        if self.fixed:
            features = features.view(len(inputs), 8, *inputs.shape[2:])
        return self.backbone[1](features)


def test_all_three_find_the_unit():
    for record in rivals.blank('torchvision::net.py', 'Net'):
        record = rivals.fill_in(record, Net())
        assert (record.units, record.covered) == (1, 0.8)
        assert (record.half, record.reason) == ('runs', '')
        assert record.seconds > 0


def test_without_a_unit_there_is_a_reason():
    record = rivals.fill_in(rivals.blank('torchvision::net.py', 'Net')[0], Net(fixed=True))
    assert record.units == 0
    assert record.half == ''
    assert record.reason == '0 units, none of them in the backbone'


def test_a_library_that_is_not_there():
    with pytest.raises(CompressionError, match='nosuch.models cannot be imported'):
        rivals.preload(['nosuch'])
