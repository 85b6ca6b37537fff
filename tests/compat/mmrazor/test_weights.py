"""compat/mmrazor/weights.py: the file that MMRazor's validation loop leaves."""

import pytest
import torch

from mmcompress.compat.mmrazor.weights import static_weights

STATE = {
    'architecture.backbone.weight': torch.ones(1),
    'mutator.units.0.mutable_channel.mask': torch.ones(2),
    'data_preprocessor.mean': torch.zeros(3),
}


def test_the_network_s_own_names():
    found = static_weights(dict(state_dict=STATE))
    assert list(found) == ['state_dict']
    assert found['state_dict'] == {'backbone.weight': STATE['architecture.backbone.weight']}


@pytest.mark.parametrize(
    'content',
    [
        dict(state_dict=STATE, meta={}),  # a checkpoint of MMRazor's training
        dict(state_dict={'architecture.weight': torch.ones(1)}),
        dict(state_dict={'weight': torch.ones(1)}),
        dict(state_dict=3),
        [1],
    ],
)
def test_everything_else_stays(content):
    assert static_weights(content) is content
