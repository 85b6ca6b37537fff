"""AllConv: published count, layers, shapes, dropout in training only."""

import pytest
import torch
from torch import nn

from mmcompress.models import AllConv
from mmcompress.registry import MODELS


def _literal(in_channels: int, classes: int, padding: int = 0) -> nn.Sequential:
    """The network as its authors list it; dropout does nothing in evaluation."""
    return nn.Sequential(
        *(nn.Conv2d(in_channels, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 1, padding=padding), nn.ReLU()),
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


def test_conv8_padded_as_in_the_authors_program():
    torch.manual_seed(0)
    model = AllConv(conv8_padding=1).eval().double()
    expected = _literal(3, 10, padding=1).double()
    expected.load_state_dict(
        dict(zip(expected.state_dict(), model.state_dict().values(), strict=True))
    )
    nn.init.normal_(expected[14].bias)
    model.layers.conv8.bias.data.copy_(expected[14].bias)
    x = torch.randn(2, 3, 32, 32, dtype=torch.double)
    (out,) = model(x)
    assert out.shape == (2, 10, 10, 10)
    torch.testing.assert_close(out, expected(x), rtol=0, atol=1e-12)
    plain = AllConv().double()
    plain.load_state_dict(model.state_dict())
    inner = plain.eval()(x)[0]
    torch.testing.assert_close(out[:, :, 1:-1, 1:-1], inner, rtol=0, atol=1e-12)


def test_dropout_in_evaluation_too():
    torch.manual_seed(0)
    model, x = AllConv(dropout_in_evaluation=True).eval(), torch.randn(1, 3, 16, 16)
    assert not torch.equal(model(x)[0], model(x)[0])
    drops = {n: m.p for n, m in model.layers.named_children() if isinstance(m, nn.Dropout)}
    assert drops == {'drop0': 0.2, 'drop3': 0.5, 'drop6': 0.5}
    ones = torch.ones(200, 100)
    dropped = model.layers.drop3(ones)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    plain = AllConv()
    plain.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    (expected,) = plain.train()(x)
    torch.manual_seed(1)
    assert torch.equal(model(x)[0], expected)


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
