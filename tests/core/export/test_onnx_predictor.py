"""core/export/onnx_predictor.py: predictions are those that the libraries make of the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData

from mmcompress.core.errors import CompressionError
from mmcompress.core.export.onnx_predictor import (
    OnnxPredictor,
    add_boxes,
    add_classes,
    add_keypoints,
    add_label_map,
)
from mmcompress.core.export.sessions import Session


def test_classes() -> None:
    from mmpretrain.models.heads import ClsHead
    from mmpretrain.structures import DataSample

    scores = torch.randn(3, 5)
    theirs = ClsHead()._get_predictions(scores, [DataSample() for _ in scores])
    ours = [DataSample() for _ in scores]
    softmax = scores.softmax(1).numpy()
    add_classes(dict(scores=softmax, labels=softmax.argmax(1)), ours)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.pred_score, other.pred_score)
        assert torch.equal(one.pred_label, other.pred_label)


@pytest.mark.full
def test_boxes_of_the_image_before_resizing() -> None:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import scale_boxes

    samples = [
        DetDataSample(metainfo=dict(img_shape=(40, 60), scale_factor=(0.5, 0.4))),
        DetDataSample(metainfo=dict(img_shape=(64, 64))),
    ]
    boxes = np.array([[[1, 2, 30, 20], [0, 0, 64, 64]], [[3, 4, 5, 6], [0, 0, 0, 0]]], np.float32)
    scores = np.array([[0.9, 0.8], [0.7, 0]], np.float32)
    labels = np.array([[3, 1], [2, -1]])
    add_boxes(dict(boxes=boxes, scores=scores, labels=labels), samples)
    # The margin to the largest image of the batch is none of the first image.
    inside = torch.tensor([[1, 2, 30, 20], [0, 0, 60, 40]]).float()
    theirs = scale_boxes(inside, (1 / 0.5, 1 / 0.4))
    torch.testing.assert_close(samples[0].pred_instances.bboxes, theirs)
    assert samples[0].pred_instances.labels.tolist() == [3, 1]
    assert samples[1].pred_instances.bboxes.tolist() == [[3, 4, 5, 6]]
    assert samples[1].pred_instances.scores.tolist() == [pytest.approx(0.7)]


@pytest.mark.full
@pytest.mark.parametrize('resized', [False, True])
def test_label_maps(resized: bool) -> None:
    from mmseg.models.segmentors import BaseSegmentor
    from mmseg.structures import SegDataSample

    # Squares of four pixels, whose labels are the same in either way of resizing, but at edges.
    squares = torch.eye(4)[torch.randint(4, (8, 8))].repeat_interleave(4, 0)
    logits = squares.repeat_interleave(4, 1).permute(2, 0, 1)[None]
    shape = (48, 56) if resized else (24, 28)
    meta = dict(ori_shape=shape, img_padding_size=[0, 4, 8, 0])
    theirs, ours = SegDataSample(metainfo=meta), SegDataSample(metainfo=meta)
    head = SimpleNamespace(align_corners=False)
    BaseSegmentor.postprocess_result(head, logits, [theirs])
    add_label_map(dict(label_map=logits.argmax(1).numpy()), [ours])
    one, other = ours.pred_sem_seg.data, theirs.pred_sem_seg.data
    assert one.shape == other.shape == (1, *shape)
    if resized:
        assert (one == other).float().mean() > 0.7
        inner = (slice(None), slice(3, None, 8), slice(3, None, 8))
        assert torch.equal(one[inner], other[inner])
    else:
        assert torch.equal(one, other)


@pytest.mark.full
def test_keypoints_of_the_whole_image() -> None:
    from mmpose.models.pose_estimators import TopdownPoseEstimator
    from mmpose.structures import PoseDataSample

    generator = np.random.default_rng(0)
    points = generator.uniform(0, 64, (2, 5, 2)).astype(np.float32)
    scores = generator.uniform(size=(2, 5)).astype(np.float32)

    def samples() -> list[PoseDataSample]:
        found = []
        for number in range(2):
            sample = PoseDataSample(
                metainfo=dict(
                    input_size=(64, 48),
                    input_center=np.array([30.0, 20.0 + number]),
                    input_scale=np.array([50.0, 70.0]),
                )
            )
            sample.gt_instances = InstanceData(bboxes=np.ones((1, 4)), bbox_scores=np.array([0.5]))
            found.append(sample)
        return found

    instances = [
        InstanceData(keypoints=point[None].copy(), keypoint_scores=score[None])
        for point, score in zip(points, scores, strict=True)
    ]
    ours = samples()
    estimator = SimpleNamespace(test_cfg={})
    theirs = TopdownPoseEstimator.add_pred_to_datasample(estimator, instances, None, samples())
    add_keypoints(dict(keypoints=points, scores=scores), ours)
    for one, other in zip(ours, theirs, strict=True):
        for name in ('keypoints', 'keypoint_scores', 'keypoints_visible', 'bboxes', 'bbox_scores'):
            np.testing.assert_allclose(
                one.pred_instances[name], other.pred_instances[name], rtol=1e-6, err_msg=name
            )


def test_raw_outputs_are_refused() -> None:
    raw = Session(lambda images: [], ['conv2d_52'])
    with pytest.raises(CompressionError, match='conv2d_52.*end2end'):
        OnnxPredictor(raw, BaseDataPreprocessor())
