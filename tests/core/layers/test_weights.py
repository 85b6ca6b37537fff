"""Weights that are made of other tensors, or that several layers have."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from mmcompress.core.layers.copying import copied
from mmcompress.core.layers.weights import not_own_weights


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


def net(change):
    return nn.Sequential(nn.Conv2d(3, 4, 1), change(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4))


def doubled(conv):
    parametrize.register_parametrization(conv, 'weight', Double())
    return conv


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (nn.utils.weight_norm, 'hook'),
        (nn.utils.spectral_norm, 'hook'),
        (parametrizations.weight_norm, 'parametrization makes: WeightNorm'),
        (parametrizations.spectral_norm, 'parametrization makes: SpectralNorm'),
        (doubled, 'parametrization makes: Double'),
    ],
)
@pytest.mark.filterwarnings('ignore:.*weight_norm')
def test_weights_that_are_made(change, why):
    found = not_own_weights(net(change))
    assert list(found) == ['1']
    assert why in found['1']


def test_weights_of_two_layers():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    assert not_own_weights(model) == {}
    model[3].bias = model[0].bias  # which is no reason
    assert not_own_weights(model) == {}
    model[2].weight = model[0].weight
    assert not_own_weights(model) == {
        '0': 'a weight that another layer has too: 2',
        '2': 'a weight that another layer has too: 0',
    }


def test_a_layer_in_two_places_has_a_weight_of_its_own():
    conv = nn.Conv2d(4, 4, 1)
    assert not_own_weights(nn.Sequential(conv, nn.ReLU(), conv)) == {}


@pytest.mark.filterwarnings('ignore:.*weight_norm')
@pytest.mark.parametrize('change', [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_copies_of_weights_with_a_history(change):
    model, x = net(change), torch.randn(1, 3, 2, 2)
    model.train()(x)
    with pytest.raises(RuntimeError, match='deepcopy protocol'):
        copy.deepcopy(model)
    own = model[1].weight
    other = copied(model)
    assert model[1].weight is own
    assert torch.equal(other.eval()(x), model.eval()(x))
