"""models/tiling.py: tiles against the whole image, and orientations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcompress.models import EDSR, SRResNet, chop_forward, self_ensemble
from mmcompress.models.sr.tiling import reach


def seeded(network):
    torch.manual_seed(0)
    return network.double().eval()


def receptive_radius(network, size=41):
    """How far the gradient of the output at the middle pixel reaches in the input."""
    x = torch.rand(1, 3, size, size, dtype=torch.double, requires_grad=True)
    for parameter in network.parameters():  # no path may cancel another, no ReLU be dead
        nn.init.uniform_(parameter, 0.5, 1)
    out = network(x)
    scale = out.shape[-1] // size
    middle = slice(size // 2 * scale, (size // 2 + 1) * scale)
    out[..., middle, middle].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return max(size // 2 - int(rows.min()), int(rows.max()) - size // 2)


@pytest.mark.parametrize('tile', [8, 13, 32])
@pytest.mark.parametrize('scale', [2, 3])
def test_tiles_give_the_whole(tile, scale):
    network = seeded(EDSR(num_blocks=1, width=4, scale=scale))
    x = torch.rand(2, 3, 35, 24, dtype=torch.double)
    with torch.no_grad():
        whole = network(x)
        chopped = chop_forward(network, x, scale, tile, overlap=reach(network))
        torch.testing.assert_close(chopped, whole, rtol=0, atol=1e-10)
        if tile < 32:
            shorter = chop_forward(network, x, scale, tile, overlap=2)
            assert (shorter - whole).abs().max() > 1e-5


def test_the_network_sees_tiles_only():
    seen = []

    def network(x):
        seen.append(tuple(x.shape[2:]))
        return x

    x = torch.rand(1, 3, 20, 9)
    assert torch.equal(chop_forward(network, x, 1, 8, 2), x)
    assert seen == [(10, 9), (10, 3), (12, 9), (12, 3), (6, 9), (6, 3)]
    seen.clear()
    assert torch.equal(chop_forward(network, x, 1, 20, 2), x)
    assert seen == [(20, 9)]


@pytest.mark.parametrize(
    ('network', 'bound', 'radius'),
    [
        (EDSR(num_blocks=2, width=2, scale=2), 8, 8),
        (SRResNet(num_blocks=1, width=2, scale=4), 10, 9),
    ],
)
def test_reach_is_a_bound(network, bound, radius):
    assert reach(network) == bound
    assert receptive_radius(network.double().eval()) == radius


def test_reach_of_dilated_and_flat_kernels():
    layers = nn.Sequential(nn.Conv2d(3, 3, 3, dilation=4), nn.Conv2d(3, 3, (1, 7)), nn.ReLU())
    assert reach(layers) == 4 + 3


def test_reach_of_windows_without_channels():
    layers = nn.Sequential(
        nn.MaxPool2d(3, stride=1, padding=1),
        nn.AvgPool2d((1, 5), 1),
        nn.MaxPool2d(3, 1, dilation=2),
    )
    assert reach(layers) == 1 + 2 + 2
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(5, 1, 2)).double()
    x = torch.rand(1, 3, 20, 17, dtype=torch.double)
    with torch.no_grad():
        assert torch.allclose(chop_forward(network, x, 1, 8, reach(network)), network(x))


def test_the_ensemble_of_a_network_without_direction_is_the_network():
    x = torch.rand(2, 3, 6, 9, dtype=torch.double)

    def nearest(x):
        return F.interpolate(x, scale_factor=2, mode='nearest') ** 2

    torch.testing.assert_close(self_ensemble(nearest, x), nearest(x), rtol=0, atol=1e-12)


def test_the_ensemble_turns_with_the_image():
    network = seeded(EDSR(num_blocks=1, width=4, scale=2))
    x = torch.rand(1, 3, 6, 9, dtype=torch.double)
    with torch.no_grad():
        turned = torch.rot90(x, 1, (-2, -1)).flip(-1)
        expected = torch.rot90(self_ensemble(network, x), 1, (-2, -1)).flip(-1)
        torch.testing.assert_close(self_ensemble(network, turned), expected, rtol=0, atol=1e-12)
        assert (network(turned) - torch.rot90(network(x), 1, (-2, -1)).flip(-1)).abs().max() > 1e-3


def test_the_ensemble_is_the_mean_of_eight():
    seen = []

    def network(x):
        seen.append(x)
        return x + x.new_tensor(len(seen))

    x = torch.rand(1, 1, 3, 3)
    torch.testing.assert_close(self_ensemble(network, x), x + 4.5)
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 8
