"""EDSR: published counts, shapes, the residual scale, the mean."""

import pytest
import torch

from mmcompress.models import EDSR
from mmcompress.registry import MODELS


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ('settings', 'whole', 'block'),
    [
        (dict(num_blocks=8, width=128), 3696667, 295168),
        (dict(num_blocks=32, width=256, res_scale=0.1), 43089947, 1180160),
    ],
)
def test_published_counts(settings, whole, block):
    with torch.device('meta'):
        network = EDSR(**settings, scale=4, mean=(114.4, 111.5, 103.0))
    assert size(network) == whole
    assert size(network.blocks[0]) == block


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_shapes(scale):
    out = EDSR(num_blocks=1, width=4, scale=scale)(torch.rand(2, 3, 5, 7))
    assert out.shape == (2, 3, 5 * scale, 7 * scale)


def test_grey_images():
    assert EDSR(1, 4, 2, in_channels=1)(torch.rand(1, 1, 5, 5)).shape == (1, 1, 10, 10)


def test_residuals_are_scaled():
    one, tenth = EDSR(1, 4, 2), EDSR(1, 4, 2, res_scale=0.1)
    tenth.load_state_dict(one.state_dict())
    x = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(tenth.blocks(x) - x, 0.1 * (one.blocks(x) - x))


def test_the_mean_is_taken_off_and_added():
    mean = torch.tensor([10.0, 20.0, 30.0])
    plain, shifted = EDSR(1, 4, 2), EDSR(1, 4, 2, mean=mean.tolist())
    shifted.load_state_dict(plain.state_dict(), strict=False)
    x = torch.rand(1, 3, 5, 6)
    colour = mean.view(3, 1, 1)
    torch.testing.assert_close(shifted(x + colour), plain(x) + colour, rtol=1e-5, atol=1e-4)
    fixed = {name for name, p in shifted.named_parameters() if not p.requires_grad}
    assert {name.split('.')[0] for name in fixed} == {'sub_mean', 'add_mean'}


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(scale=5), r'scale=5 is unknown; valid: \(2, 3, 4, 8\)'),
        (dict(mean=(1, 2)), 'has to be 3 numbers, one for each channel'),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        EDSR(num_blocks=1, width=4, **settings)


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.EDSR', num_blocks=1, width=4)), EDSR)
