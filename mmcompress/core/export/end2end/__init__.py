"""Models of the libraries from images to boxes, labels and key points, as one graph.

This folder is the place that knows how the libraries post-process; it imports none of them.
"""

from __future__ import annotations

from typing import Any

from .base import EndToEnd, unsupported
from .tasks import Classifier, Pose, Segmenter, SuperResolution

__all__ = ['EndToEnd', 'end_to_end']

TASKS = {
    'mmpretrain.ImageClassifier': Classifier,
    'mmseg.EncoderDecoder': Segmenter,
    'mmpose.TopdownPoseEstimator': Pose,
    'mmcompress.SuperResolver': SuperResolution,
}
DETECTORS = {'mmdet.SingleStageDetector': 'OneStage', 'mmdet.TwoStageDetector': 'TwoStage'}


def end_to_end(model: Any) -> EndToEnd:
    """A model from images to what its library predicts.

    Args:
        model: A model of an OpenMMLab library; part of what is returned.

    Raises:
        CompressionError: If the model, or a part of it, has no end-to-end graph.
    """
    for base in type(model).__mro__:
        name = f'{base.__module__.split(".")[0]}.{base.__name__}'
        if name in TASKS:
            return TASKS[name](model).eval()
        if name in DETECTORS:
            from . import detectors

            return getattr(detectors, DETECTORS[name])(model).eval()
    raise unsupported(model, 'it is no classifier, detector, segmenter or pose estimator')
