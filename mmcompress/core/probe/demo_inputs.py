"""A batch that any OpenMMLab model accepts: random images and data samples to match.

The analyzer runs the model's own forward pass on it. Which kind of data sample a model wants
is read off the library its classes come from, so that nothing is imported that the model does
not already use; a model of no such library may have a method ``demo_samples`` that makes them.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: (height, width) at which a library's models mostly work: how much of a detector's MACs its
#: heads take depends on it. A side of 1333 is padded to 1344 there.
SIZES = dict(mmpretrain=(224, 224), mmdet=(800, 1344), mmseg=(512, 1024), mmpose=(256, 192))


def library_of(model: nn.Module) -> str:
    """Name of the task library that ``model``'s class comes from, or ``''``.

    A user's own class counts as belonging to the library of its nearest base class.
    """
    for base in type(model).__mro__:
        library = base.__module__.split('.')[0]
        if library in _SAMPLES:
            return library
    return ''


def forward_modes(model: nn.Module) -> tuple[str, ...]:
    """Modes of ``model.forward`` that say something about its channels, cheapest first.

    Self-supervised models return bare features in mode ``tensor`` and predict nothing; trackers
    have no ``tensor``.
    """
    bases = {base.__name__ for base in type(model).__mro__}
    if 'BaseSelfSupervisor' in bases:
        return ('loss',)
    if 'BaseMOTModel' in bases:
        return ('loss', 'predict')
    return ('tensor', 'loss', 'predict')


def demo_batch(
    model: nn.Module, shape: tuple[int, ...], mode: str = 'tensor'
) -> tuple[Any, Any | None]:
    """Random images and, where the model's library is known, ground truth for them.

    Args:
        model: An OpenMMLab model.
        shape: ``(N, C, H, W)``.
        mode: The mode of ``model.forward`` that will get them.

    Returns:
        ``Tensor[N, C, H, W]`` and a list of N data samples (``None`` for plain models). Where the
        model is made for other batches: several views of the images, frames of a video, or
        branches by name.
    """
    inputs = torch.randn(shape)
    samples = getattr(model, 'demo_samples', None)
    if samples is not None:
        return inputs, samples(inputs)
    build = _SAMPLES.get(library_of(model))
    if build is None:
        return inputs, None
    samples = [build(model, shape[2], shape[3]) for _ in range(shape[0])]
    bases = {base.__name__ for base in type(model).__mro__}
    if 'BaseSelfSupervisor' in bases:
        return [torch.randn(shape) for _ in range(_views(model))], samples
    if 'SemiBaseDetector' in bases and mode == 'loss':
        names = ('sup', 'unsup_teacher', 'unsup_student')
        return dict.fromkeys(names, inputs), {name: copy.deepcopy(samples) for name in names}
    if 'BaseMOTModel' in bases:
        return _video(inputs, samples, 2 if mode == 'loss' else 1)
    if 'BaseReID' in bases:
        # Triplet losses want several images of several persons.
        return inputs.repeat(4, 1, 1, 1), [_identity(samples[0], n // 2) for n in range(4)]
    if library_of(model) == 'mmpose' and mode == 'loss':
        for sample in samples:
            _add_pose_labels(model, inputs, sample)
    return inputs, samples


def fixed_size(model: nn.Module) -> tuple[int, int] | None:
    """The one height and width that a model's head is made for, where there is one."""
    head: Any = getattr(model, 'head', None)
    if not hasattr(head, 'in_featuremap_size'):
        return None
    width, height = head.decoder.input_size
    return int(height), int(width)


def _views(model: nn.Module) -> int:
    """How many views of an image a self-supervised model compares."""
    crops = getattr(getattr(model.head, 'loss_module', None), 'num_crops', None)
    return sum(crops) if crops else 2


def _video(images: Tensor, samples: list[Any], frames: int) -> tuple[Tensor, list[Any]]:
    """The same image over and over, as a video of some frames."""
    from mmdet.structures import TrackDataSample

    videos = []
    for sample in samples:
        video = TrackDataSample()
        video.video_data_samples = [copy.deepcopy(sample) for _ in range(frames)]
        for number, frame in enumerate(video.video_data_samples):
            frame.set_metainfo(dict(frame_id=number, ori_video_length=frames))
        video.set_metainfo(dict(key_frames_inds=[0], ref_frames_inds=list(range(1, frames))))
        videos.append(video)
    return images[:, None].expand(-1, frames, -1, -1, -1), videos


def _identity(sample: Any, person: int) -> Any:
    """The label of a person, for re-identification."""
    from mmdet.structures import ReIDDataSample

    return ReIDDataSample(metainfo=sample.metainfo).set_gt_label(person)


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
        border=[0, height, 0, width],
        homography_matrix=np.eye(3, dtype=np.float32),
    )


def _classification(model: nn.Module, height: int, width: int) -> Any:
    from mmpretrain.structures import DataSample

    sample = DataSample(metainfo=_metainfo(height, width)).set_gt_label(0)
    head: Any = getattr(model, 'head', None)
    loss = getattr(head, 'loss_module', None)
    if getattr(loss, 'use_sigmoid', False) or getattr(loss, 'use_soft', False):
        # What mixes of images are labelled with.
        sample.set_gt_score(torch.eye(head.num_classes)[0])
    return sample


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
    sample.gt_instances.instances_ids = torch.arange(len(boxes))
    if not getattr(model, 'with_rpn', True):
        sample.proposals = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))
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
    from mmengine.structures import InstanceData
    from mmpose.structures import PoseDataSample

    head = getattr(model, 'head', None)
    joints = getattr(head, 'num_joints', None) or getattr(head, 'out_channels', None) or 17
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
    return sample


def _add_pose_labels(model: nn.Module, images: Tensor, sample: Any) -> None:
    """Labels of the form that the head predicts: heatmaps, coordinates, or one axis at a time."""
    from mmengine.structures import InstanceData, PixelData
    from mmpose.structures import MultilevelPixelData

    with torch.no_grad():
        predicted = model(images[:1], [sample], mode='tensor')
    parts = [predicted] if isinstance(predicted, Tensor) else list(predicted)
    maps = [part for part in parts if part.ndim == 4]
    rows = [part for part in parts if part.ndim == 3]
    joints = rows[0].shape[1] if rows else sample.gt_instances.keypoints.shape[1]
    labels = InstanceData(keypoint_weights=torch.ones(1, joints))
    if len(maps) > 1:
        sample.gt_fields = MultilevelPixelData(heatmaps=[torch.zeros(m.shape[1:]) for m in maps])
    elif maps:
        sample.gt_fields = PixelData(heatmaps=torch.zeros(maps[0].shape[1:]))
    if len(rows) == 2:
        labels.keypoint_x_labels, labels.keypoint_y_labels = map(torch.zeros_like, rows)
    elif rows:
        labels.keypoint_labels = torch.zeros(1, joints, 2)
    sample.gt_instance_labels = labels


_SAMPLES = dict(mmpretrain=_classification, mmdet=_detection, mmseg=_segmentation, mmpose=_pose)
