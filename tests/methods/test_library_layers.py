"""Models of the libraries with layers of their own kind, each small."""

import pytest
from mmdet.models import DETR  # noqa: F401
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmseg.models.backbones import DDRNet  # noqa: F401
from torch import nn

from mmcompress.core.base.rehearsal import perturb
from mmcompress.core.export.export import compare
from mmcompress.core.export.static import make_compact, subnet_of, to_static
from mmcompress.core.layers.copying import copied
from mmcompress.registry import MODELS

#: See ``conftest.py``.
REHEARSES = True


def equal(dense, method, **options):
    """An algorithm, and its export rebuilt from the dense model, with equal outputs."""
    algorithm = MODELS.build(
        dict(type=method, architecture=copied(dense), target_pruning_ratio=0.5, **options)
    )
    for module in algorithm.modules():
        if isinstance(module, nn.BatchNorm2d):
            perturb(module)
    algorithm.mutator.pretend_trained(algorithm.architecture)
    static = to_static(algorithm)
    rebuilt = copied(dense)
    make_compact(rebuilt, subnet_of(algorithm, static, dense, {}))
    rebuilt.load_state_dict(static.state_dict())
    difference, _ = compare(algorithm, rebuilt, relative=True)
    assert difference < 1e-5
    return algorithm, rebuilt.eval()


@pytest.mark.parametrize('method', ['DCFF', 'Magnitude'])
def test_adaptive_padding(method):
    """EfficientNet pads as TensorFlow does; all of its units can be narrow."""
    dense = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.EfficientNet', arch='b0', out_indices=(2,)),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=24),
        )
    )
    options = dict(mutator_cfg=dict(parse_cfg=dict(exclude=['backbone.layers.[3-6]'])))
    algorithm, rebuilt = equal(dense, method, **options)
    assert not algorithm.mutator.refused
    conv = rebuilt.backbone.layers[2][0].expand_conv.conv
    assert type(conv).__name__ == 'Conv2dAdaptivePadding'
    assert conv.weight.shape[:2] == (48, 8)


class Segments(BaseModel):
    def __init__(self):
        super().__init__()
        norm = dict(type='BN', requires_grad=True)
        self.backbone = MODELS.build(
            dict(type='mmseg.DDRNet', channels=8, ppm_channels=16, norm_cfg=norm)
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


@pytest.mark.parametrize('method', ['DCFF', 'FCF'])
def test_two_resolutions(method):
    algorithm, _ = equal(Segments(), method)
    assert len(algorithm.mutator.units) > 20


@pytest.mark.parametrize(('scope', 'width'), [('unit', 256), ('filter', 512)])
def test_a_transformer_behind_the_backbone(scope, width):
    """DETR: frozen stages and norms; what reads the backbone becomes narrower with it."""
    cfg = get_config('mmdet::detr/detr_r50_8xb2-150e_coco.py').model
    cfg.backbone.update(depth=18, init_cfg=None)
    cfg.neck.in_channels = [512]
    for part in (cfg.encoder, cfg.decoder):
        part.num_layers = 1
    dense = MODELS.build(dict(cfg, _scope_='mmdet'))
    algorithm, rebuilt = equal(dense, 'FCF', mutator_cfg=dict(scope=scope))
    assert all(name.startswith('backbone') for name in algorithm.mutator.units)
    assert rebuilt.neck.convs[0].conv.in_channels == width
    assert rebuilt.backbone.layer4[1].conv1.out_channels == 256
    assert rebuilt.backbone.layer4[1].conv1.in_channels == width
