"""Boxes of the graphs are those of the library, in two runtimes and at any size."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmcompress.core import CompressionError
from mmcompress.core.export.end2end import end_to_end
from mmcompress.core.export.onnx import export_onnx
from mmcompress.core.export.sessions import openvino_session, session

pytest.importorskip('mmdet')

SMALL = dict(backbone__base_channels=8, backbone__init_cfg=None, neck__out_channels=16)
FPN = dict(SMALL, neck__in_channels=[8, 16, 32, 64])
HEAD = dict(
    bbox_head__num_classes=4,
    bbox_head__in_channels=16,
    bbox_head__feat_channels=16,
    bbox_head__stacked_convs=1,
)
ROI = dict(
    rpn_head__in_channels=16,
    rpn_head__feat_channels=16,
    roi_head__bbox_roi_extractor__out_channels=16,
    roi_head__bbox_head__in_channels=16,
    roi_head__bbox_head__fc_out_channels=32,
    roi_head__bbox_head__num_classes=4,
    test_cfg__rpn__nms_pre=60,
    test_cfg__rpn__max_per_img=40,
    test_cfg__rcnn__score_thr=0.3,
    test_cfg__rcnn__max_per_img=20,
)
TEST = dict(test_cfg__nms_pre=50, test_cfg__score_thr=0.3, test_cfg__max_per_img=20)
#: Config, changes of it, the layers that predict, and by how much each spreads.
DETECTORS = {
    'retinanet': (
        'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
        dict(FPN, **HEAD, **TEST),
        {'bbox_head.retina_cls': 2.0, 'bbox_head.retina_reg': 0.3},
    ),
    'yolox': (
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        dict(
            backbone__widen_factor=0.125,
            neck__in_channels=[32, 64, 128],
            neck__out_channels=16,
            bbox_head__in_channels=16,
            bbox_head__feat_channels=16,
            bbox_head__num_classes=4,
            test_cfg__score_thr=0.25,
        ),
        {
            **{f'bbox_head.multi_level_conv_cls.{i}': 2.0 for i in range(3)},
            **{f'bbox_head.multi_level_conv_reg.{i}': 0.3 for i in range(3)},
            **{f'bbox_head.multi_level_conv_obj.{i}': 1.0 for i in range(3)},
        },
    ),
    'faster-rcnn': (
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        dict(FPN, **ROI, backbone__depth=18, rpn_head__anchor_generator__scales=[4]),
        {
            'rpn_head.rpn_cls': 1.0,
            'rpn_head.rpn_reg': 0.3,
            'roi_head.bbox_head.fc_cls': 2.0,
            'roi_head.bbox_head.fc_reg': 0.5,
        },
    ),
}


def lively(model, images, layers, seed=0, again=True):
    """Random weights with which activations stay of one size, and layers spread as asked for.

    Args:
        model: Changed in place.
        images: A batch.
        layers: Standard deviations of the outputs of some layers on it, by their names.
        seed: Of the weights.
        again: Draw all weights again, and norms' statistics. Not for deep networks without kinks:
            theirs are wild on any other batch, while PyTorch's own weights are small enough for
            the network to be all but linear.
    """
    torch.manual_seed(seed)
    for module in model.modules() if again else ():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        if again:
            model.extract_feat(images)
        model.eval()
        seen = {}
        hooks = [
            model.get_submodule(name).register_forward_hook(
                lambda _, __, out, name=name: seen.setdefault(name, out.transpose(0, 1).flatten(1))
            )
            for name in layers
        ]
        features = model.extract_feat(images)
        for name in ('bbox_head', 'rpn_head', 'head'):
            if hasattr(model, name) and getattr(model, name) is not None:
                getattr(model, name)(features)
        if hasattr(model, 'roi_head'):
            # The second stage sees crops of the finest map.
            side = model.roi_head.bbox_roi_extractor.roi_layers[0].output_size[0]
            crops = features[0][..., : side * 2, :side].reshape(
                -1, features[0].shape[1], side, side
            )
            model.roi_head.bbox_head(crops)
        for hook in hooks:
            hook.remove()
        for name, spread in layers.items():
            layer = model.get_submodule(name)
            middle = seen[name].mean(dim=1)
            by = spread / (seen[name] - middle[:, None]).std()
            layer.weight.mul_(by)
            layer.bias.copy_(-middle * by)
    return model


def images(*shape, seed=5):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(library_model, name):
    config, changes, layers = DETECTORS[name]
    torch.manual_seed(0)
    model = library_model(config, **changes)
    return lively(model, images(4, 3, 192, 192), layers, again=name != 'yolox')


@pytest.mark.parametrize('name', DETECTORS)
def test_boxes_are_those_of_the_library(library_model, tmp_path, name):
    model = build(library_model, name)
    # Compares with `predict` at two sizes and two batch sizes, or raises.
    found = export_onnx(model, tmp_path / 'a.onnx', (3, 96, 96), outputs='end2end')
    assert found['names'] == ['boxes', 'scores', 'labels']
    assert found['free'] == ['batch', 'height', 'width']
    assert found['onnx_differences']['boxes'] < 1e-3
    batch = images(2, 3, 128, 64)
    graph = end_to_end(model)
    for run in (session(tmp_path / 'a.onnx', 1), openvino_session(tmp_path / 'a.onnx', 1)):
        boxes, scores, labels = map(torch.from_numpy, run(batch))
        assert (labels >= 0).sum() > 5
        assert len(labels.unique()) > 2
        assert labels.dtype == torch.int64
        assert torch.equal(scores > 0, labels >= 0)
        assert (scores.diff(dim=1) <= 0).all()
        assert not boxes[labels < 0].any()
        with torch.no_grad():
            gaps = graph.differences(batch, [boxes, scores, labels], 1e-4)
        assert gaps['boxes'] < 1e-3
        assert gaps['scores'] < 1e-4
        assert gaps['labels'] == 0


def test_missing_moved_and_mislabelled_boxes_are_noticed(library_model):
    graph = end_to_end(build(library_model, 'retinanet'))
    batch = images(1, 3, 96, 96)
    with torch.no_grad():
        right = graph.expected(batch)
        assert graph.differences(batch, list(right), 1e-4) == dict(boxes=0, scores=0, labels=0)

        def gaps(change):
            boxes, scores, labels = (part.clone() for part in right)
            change(boxes, scores, labels)
            return graph.differences(batch, [boxes, scores, labels], 1e-4)

        assert gaps(lambda boxes, *_: boxes[0, 0].add_(0.5))['boxes'] == pytest.approx(0.5)
        assert gaps(lambda _, scores, __: scores[0, 0].sub_(0.1))['scores'] == pytest.approx(0.1)
        # One of ours that isn't theirs, and one of theirs that isn't ours.
        assert gaps(lambda _, __, labels: labels[0, 0].add_(5))['labels'] == 2
        assert gaps(lambda _, __, labels: labels[0, :1].fill_(-1))['labels'] == 1


def cascade(library_model):
    return library_model('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', **SMALL_BACKBONE)


def masks(library_model):
    return library_model('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', **SMALL_BACKBONE)


def soft(library_model):
    return library_model(
        DETECTORS['retinanet'][0], **SMALL_BACKBONE, test_cfg__nms=dict(type='soft_nms')
    )


SMALL_BACKBONE = dict(backbone__init_cfg=None)


@pytest.mark.parametrize(
    ('make', 'says'),
    [(cascade, 'CascadeRoIHead'), (masks, 'FCNMaskHead'), (soft, 'soft_nms')],
)
def test_what_has_no_graph_is_named(library_model, make, says):
    with pytest.raises(CompressionError, match=f'{says}.*--onnx raw'):
        end_to_end(make(library_model))
