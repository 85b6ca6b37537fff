"""An end-to-end ONNX file in the place of a model, for the evaluators of the libraries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from mmcompress.core.errors import CompressionError

from .sessions import Session

Outputs = dict[str, np.ndarray]
Samples = list[BaseDataElement]


def add_classes(outputs: Outputs, samples: Samples) -> None:
    """Scores of classes, as mmpretrain's classifiers give them.

    Args:
        outputs: ``scores``, ``[N, classes]``; ``labels``, ``[N]``.
        samples: mmpretrain's; get ``pred_score`` and ``pred_label``.
    """
    for sample, scores, label in zip(samples, outputs['scores'], outputs['labels'], strict=True):
        sample.set_pred_score(torch.from_numpy(scores))
        sample.set_pred_label(torch.from_numpy(np.atleast_1d(label)))


def add_boxes(outputs: Outputs, samples: Samples) -> None:
    """Boxes, as mmdet's detectors give them: in pixels of the image as it was before resizing.

    Args:
        outputs: ``boxes``, ``[N, M, 4]``, corners in pixels of the input; ``scores`` and
            ``labels``, ``[N, M]``. Labels below zero fill up rows without a box.
        samples: mmdet's; get ``pred_instances``.
    """
    fields = (outputs[name] for name in ('boxes', 'scores', 'labels'))
    for sample, boxes, scores, labels in zip(samples, *map(torch.from_numpy, fields), strict=True):
        there = labels >= 0
        height, width = sample.img_shape[:2]
        # The input may have a margin, which makes all images of a batch equally large.
        limits = boxes.new_tensor([width, height, width, height])
        factors = boxes.new_tensor(sample.get('scale_factor', (1.0, 1.0))[:2]).repeat(2)
        found = torch.minimum(boxes[there].clamp(min=0), limits) / factors
        sample.pred_instances = InstanceData(
            bboxes=found, scores=scores[there], labels=labels[there].long()
        )


def add_label_map(outputs: Outputs, samples: Samples) -> None:
    """Labels of pixels, as mmseg's segmenters give them: of the image before resizing.

    mmseg enlarges scores; here each pixel takes the label of the nearest. The two are the same
    where images have not been resized.

    Args:
        outputs: ``label_map``, ``[N, H, W]``.
        samples: mmseg's; get ``pred_sem_seg``.
    """
    for sample, labels in zip(samples, torch.from_numpy(outputs['label_map']), strict=True):
        margins = sample.get('img_padding_size', sample.get('padding_size', [0] * 4))
        left, right, top, bottom = margins
        height, width = labels.shape
        labels = labels[top : height - bottom, left : width - right]
        shape = tuple(sample.ori_shape[:2])
        if labels.shape != shape:
            resized = nn.functional.interpolate(
                labels[None, None].float(), size=shape, mode='nearest-exact'
            )
            labels = resized[0, 0].to(labels.dtype)
        sample.set_data(dict(pred_sem_seg=PixelData(data=labels[None])))


def add_keypoints(outputs: Outputs, samples: Samples) -> None:
    """Points of one instance an image, as mmpose's top-down estimators give them.

    Args:
        outputs: ``keypoints``, ``[N, K, 2]``, in pixels of the input, which is cut out of the
            image around the instance; ``scores``, ``[N, K]``.
        samples: mmpose's; get ``pred_instances``, in pixels of the whole image.
    """
    for sample, points, scores in zip(
        samples, outputs['keypoints'], outputs['scores'], strict=True
    ):
        size, scale, center = (
            np.asarray(sample.get(f'input_{name}')) for name in ('size', 'scale', 'center')
        )
        instances = InstanceData(
            keypoints=(points / size * scale + center - 0.5 * scale)[None],
            keypoint_scores=scores[None],
            keypoints_visible=scores[None],
        )
        for name in ('bboxes', 'bbox_scores'):
            instances.set_field(sample.gt_instances.get(name), name)
        sample.pred_instances = instances


def add_images(outputs: Outputs, samples: Samples) -> None:
    """Enlarged images.

    Args:
        outputs: ``pred_images``, ``[N, C, H, W]`` of 0 to 255.
        samples: Get ``pred_img``.
    """
    for sample, image in zip(samples, torch.from_numpy(outputs['pred_images']), strict=True):
        sample.pred_img = image


#: How to read an end-to-end file, by the names of its outputs.
TASKS: dict[frozenset[str], Callable[[Outputs, Samples], None]] = {
    frozenset({'scores', 'labels'}): add_classes,
    frozenset({'boxes', 'scores', 'labels'}): add_boxes,
    frozenset({'label_map'}): add_label_map,
    frozenset({'keypoints', 'scores'}): add_keypoints,
    frozenset({'pred_images'}): add_images,
}


class OnnxPredictor(BaseModel):
    """An end-to-end ONNX file, evaluated as the model that it was made of.

    Args:
        session: The file.
        data_preprocessor: That of the model.

    Raises:
        CompressionError: If the outputs of the file are none that can be evaluated.
    """

    def __init__(self, session: Session, data_preprocessor: nn.Module) -> None:
        super().__init__(data_preprocessor)
        self.session = session
        if frozenset(session.names) not in TASKS:
            raise CompressionError(
                f'the file gives {", ".join(session.names)}, which are raw outputs; `mmcompress '
                'export --onnx end2end` writes a file whose predictions can be evaluated'
            )
        self._add = TASKS[frozenset(session.names)]

    def forward(
        self, inputs: Tensor, data_samples: Samples | None = None, mode: str = 'predict'
    ) -> Samples:
        """Predict a batch.

        Args:
            inputs: ``Tensor[N, C, H, W]``, preprocessed.
            data_samples: Get the predictions.
            mode: ``'predict'``.

        Raises:
            ValueError: If the mode is another, or there are no data samples.
        """
        if mode != 'predict' or data_samples is None:
            raise ValueError(f'mode={mode!r}: a file can only predict data samples')
        self._add(self.session.by_name(inputs.cpu()), data_samples)
        return data_samples
