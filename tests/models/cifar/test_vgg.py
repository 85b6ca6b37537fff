"""CIFARVGG: published counts, shapes, names."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from mmcompress.models import CIFARVGG
from mmcompress.registry import MODELS


class _Classifier(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = nn.Linear(512, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


@pytest.mark.parametrize(
    ('kwargs', 'expected'),
    [
        # As in DCFF, as in filter basis (their own networks, counted).
        (dict(conv_bias=True), (14728266, 313754624)),
        (dict(with_bn=False, last_pool=True), (14715594, 313201664)),
    ],
)
def test_vgg16_counts(kwargs, expected):
    info = get_model_complexity_info(
        _Classifier(CIFARVGG(16, **kwargs)).eval(), (3, 32, 32), show_table=False, show_arch=False
    )
    assert (info['params'], info['flops']) == expected


def test_vgg11_params_as_published_by_linear_conv():
    model = _Classifier(CIFARVGG(11, conv_bias=True, last_pool=True))
    assert sum(p.numel() for p in model.parameters()) == 9231114


def test_base_network_of_linear_conv():
    """Four convolutions, counted from the authors' list; a linear layer on 1024 features."""
    model = CIFARVGG((1, 1, 1, 1), widths=(32, 64, 128, 256), conv_bias=True, last_pool=True)
    assert sum(p.numel() for p in model.parameters()) + 1025 * 10 == 399626
    assert [tuple(x.shape) for x in model(torch.randn(2, 3, 32, 32))] == [(2, 256, 2, 2)]
    assert not hasattr(model, 'stage5')


@pytest.mark.parametrize(('depth', 'convs'), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_number_of_convolutions(depth, convs):
    assert sum(isinstance(m, nn.Conv2d) for m in CIFARVGG(depth).modules()) == convs


@pytest.mark.parametrize(('last_pool', 'side'), [(False, 2), (True, 1)])
def test_forward_returns_a_tuple_of_the_last_map(last_pool, side):
    out = CIFARVGG(11, last_pool=last_pool)(torch.randn(2, 3, 32, 32))
    assert [tuple(x.shape) for x in out] == [(2, 512, side, side)]


def test_names_are_those_of_the_papers():
    model = CIFARVGG(16)
    assert model.stage3.conv2.in_channels == 256
    assert [name for name, _ in model.stage1.named_children()] == [
        *('conv1', 'bn1', 'relu1'),
        *('conv2', 'bn2', 'relu2'),
        'pool',
    ]
    assert not hasattr(model.stage5, 'pool')


def test_initialization():
    model = CIFARVGG(11, conv_bias=True)
    model.init_weights()
    conv = model.stage4.conv2
    assert conv.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    assert not conv.bias.any()


def test_error_names_the_valid_depths():
    with pytest.raises(ValueError, match=r'depth=12 is unknown; valid: \(11, 13, 16, 19\)'):
        CIFARVGG(12)


@pytest.mark.parametrize('depth', [11, (1, 1, 2, 2, 2)])
def test_error_names_stages_that_do_not_match(depth):
    with pytest.raises(ValueError, match=r'is for 5 stages, widths=\(32, 64\) for 2'):
        CIFARVGG(depth, widths=(32, 64))


def test_grey_images():
    assert CIFARVGG(11, in_channels=1)(torch.randn(1, 1, 32, 32))[-1].shape == (1, 512, 2, 2)


def test_is_registered():
    assert isinstance(MODELS.build(dict(type='mmcompress.CIFARVGG', depth=11)), CIFARVGG)
