"""A batch that any OpenMMLab model accepts: random images and data samples to match.

The analyzer runs the model's own forward pass on it. Which kind of data sample a model wants
is read off the library its classes come from, so that nothing is imported that the model does
not already use.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def library_of(model: nn.Module) -> str:
    """Name of the task library that ``model``'s class comes from, or ``''``.

    A user's own class counts as belonging to the library of its nearest base class.
    """
    for base in type(model).__mro__:
        library = base.__module__.split('.')[0]
        if library in _SAMPLES:
            return library
    return ''


def demo_batch(model: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, list[Any] | None]:
    """Random images and, where the model's library is known, ground truth for them.

    Args:
        model: An OpenMMLab model.
        shape: ``(N, C, H, W)``.

    Returns:
        ``Tensor[N, C, H, W]`` and a list of N data samples (``None`` for plain models).
    """
    inputs = torch.randn(shape)
    build = _SAMPLES.get(library_of(model))
    if build is None:
        return inputs, None
    return inputs, [build(model, shape[2], shape[3]) for _ in range(shape[0])]


def _metainfo(height: int, width: int) -> dict:
    size = (height, width)
    return dict(
        img_id=0,
        img_path='demo.png',
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        batch_input_shape=size,
        scale_factor=(1.0, 1.0),
        flip=False,
        flip_direction=None,
    )


def _classification(model: nn.Module, height: int, width: int) -> Any:
    from mmpretrain.structures import DataSample

    return DataSample(metainfo=_metainfo(height, width)).set_gt_label(0)


def _detection(model: nn.Module, height: int, width: int) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData

    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.6], [0.3, 0.2, 0.9, 0.9]])
    boxes = boxes * torch.tensor([width, height, width, height])
    sample = DetDataSample(metainfo=_metainfo(height, width))
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    sample.gt_instances = InstanceData(
        bboxes=boxes,
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=BitmapMasks(masks.numpy(), height, width),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    semantic = torch.zeros(1, height, width, dtype=torch.long)
    sample.gt_sem_seg = PixelData(sem_seg=semantic)
    return sample


def _segmentation(model: nn.Module, height: int, width: int) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=_metainfo(height, width))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, height, width, dtype=torch.long))
    sample.gt_edge_map = PixelData(data=torch.zeros(1, height, width, dtype=torch.long))
    return sample


def _pose(model: nn.Module, height: int, width: int) -> Any:
    from mmengine.structures import InstanceData, PixelData
    from mmpose.structures import PoseDataSample

    joints = getattr(getattr(model, 'head', None), 'out_channels', None) or 17
    box = torch.tensor([[0.0, 0.0, float(width), float(height)]]).numpy()
    sample = PoseDataSample(
        metainfo=dict(
            _metainfo(height, width),
            input_size=(width, height),
            input_center=box[0, 2:] / 2,
            input_scale=box[0, 2:],
            flip_indices=list(range(joints)),
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=box,
        bbox_centers=box[:, 2:] / 2,
        bbox_scales=box[:, 2:],
        bbox_scores=box[:, 0] + 1,
        keypoints=torch.zeros(1, joints, 2).numpy(),
        keypoints_visible=torch.ones(1, joints).numpy(),
    )
    sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, joints))
    sample.gt_fields = PixelData(heatmaps=torch.zeros(joints, height // 4, width // 4))
    return sample


_SAMPLES = dict(mmpretrain=_classification, mmdet=_detection, mmseg=_segmentation, mmpose=_pose)
