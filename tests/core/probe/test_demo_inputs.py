"""core/demo_inputs.py: which library a model is of, and batches that it accepts."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core.probe.demo_inputs import demo_batch, library_of


def test_a_plain_model_gets_images_alone():
    model = nn.Conv2d(3, 4, 3)
    assert library_of(model) == ''
    inputs, samples = demo_batch(model, (2, 3, 8, 10))
    assert inputs.shape == (2, 3, 8, 10)
    assert samples is None


def test_a_subclass_is_of_the_library_of_its_base(classifier_cfg):
    model = MODELS.build(classifier_cfg())

    class Mine(type(model)):
        pass

    assert library_of(model) == 'mmpretrain'
    model.__class__ = Mine
    assert library_of(model) == 'mmpretrain'


def test_classification(classifier_cfg):
    model = MODELS.build(classifier_cfg())
    inputs, samples = demo_batch(model, (2, 3, 32, 32))
    assert len(samples) == 2
    assert model(inputs, samples, mode='loss')['loss'].isfinite()
    assert model(inputs, samples, mode='predict')[0].pred_score.shape == (10,)


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (64, 96)])
def test_detection(library_model, height, width):
    model = library_model(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        backbone__depth=18,
        backbone__init_cfg=None,
        neck__in_channels=[64, 128, 256, 512],
    )
    inputs, samples = demo_batch(model, (1, 3, height, width))
    boxes = samples[0].gt_instances.bboxes
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes <= torch.tensor([width, height, width, height])).all()
    masks = samples[0].gt_instances.masks
    assert (masks.height, masks.width) == (height, width)
    assert masks.masks.any(axis=(1, 2)).all()
    losses = model(inputs, samples, mode='loss')
    assert 'loss_rpn_cls' in losses
    assert losses['loss_cls'].isfinite()


def test_segmentation(library_model):
    model = library_model(
        'mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=None
    ).eval()
    inputs, samples = demo_batch(model, (1, 3, 64, 64))
    assert model(inputs, samples, mode='loss')['aux.loss_ce'].isfinite()


def test_pose(library_model):
    model = library_model(
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
        backbone__depth=18,
        backbone__init_cfg=None,
        head__in_channels=512,
    ).eval()
    inputs, samples = demo_batch(model, (1, 3, 64, 96), mode='loss')
    assert model(inputs, samples, mode='loss')['loss_kpt'].isfinite()
    predicted = model(inputs, samples, mode='predict')[0].pred_instances.keypoints
    assert predicted.shape == (1, 17, 2)


def test_a_model_that_makes_its_own_samples():
    model = MODELS.build(
        dict(
            type='mmcompress.SuperResolver',
            backbone=dict(type='mmcompress.EDSR', num_blocks=1, width=4, scale=3),
        )
    )
    inputs, samples = demo_batch(model, (2, 3, 5, 6), mode='loss')
    assert [sample.gt_img.shape for sample in samples] == [(3, 15, 18)] * 2
    assert model(inputs, samples, mode='loss')['loss_l1'].isfinite()
