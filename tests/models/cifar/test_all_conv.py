"""AllConv: published count, layers, shapes, dropout in training only."""

import pytest
import torch
from torch import nn

from mmcompress.models import AllConv
from mmcompress.registry import MODELS


def _literal(in_channels: int, classes: int) -> nn.Sequential:
    """The network as its authors list it; dropout does nothing in evaluation."""
    return nn.Sequential(
        *(nn.Conv2d(in_channels, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 1), nn.ReLU()),
        *(nn.Conv2d(192, classes, 1), nn.ReLU()),
    )


@pytest.mark.parametrize(('in_channels', 'classes'), [(3, 10), (1, 7)])
def test_is_the_listed_network(in_channels, classes):
    torch.manual_seed(0)
    model = AllConv(classes, in_channels).eval()
    expected = _literal(in_channels, classes)
    expected.load_state_dict(
        dict(zip(expected.state_dict(), model.state_dict().values(), strict=True))
    )
    x = torch.randn(2, in_channels, 32, 32)
    (out,) = model(x)
    assert out.shape == (2, classes, 8, 8)
    assert torch.equal(out, expected(x))
    assert out.any()


def test_params_as_counted_from_the_authors_list():
    assert sum(p.numel() for p in AllConv().parameters()) == 1369738


def test_dropout_in_training_only():
    drops = {n: m.p for n, m in AllConv().layers.named_children() if isinstance(m, nn.Dropout)}
    assert drops == {'drop0': 0.2, 'drop3': 0.5, 'drop6': 0.5}
    torch.manual_seed(0)
    model, x = AllConv(), torch.randn(1, 3, 16, 16)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.AllConv')), AllConv)
