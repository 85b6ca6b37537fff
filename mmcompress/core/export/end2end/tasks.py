"""Classifiers, segmenters, pose estimators and super-resolution, end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import EndToEnd, largest, made_by, take, undecided, unsupported


class Classifier(EndToEnd):
    """Images to probabilities and the best class (mmpretrain)."""

    names = ('scores', 'labels')
    says = ('[N, K] probabilities of the K classes', '[N] int64, the class with the highest')

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if not made_by(model.head, '_get_predictions', 'mmpretrain.ClsHead'):
            raise unsupported(model.head)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to probabilities and labels."""
        scores = self.model(images, mode='tensor').softmax(dim=1)
        return scores, scores.argmax(dim=1)

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """By ``predict``."""
        predicted = self.model.predict(images)
        labels = torch.cat([sample.pred_label for sample in predicted])
        return torch.stack([sample.pred_score for sample in predicted]), labels

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        scores, labels = expected
        wrong = (labels != found[1]) & ~undecided(scores, tolerance)
        return dict(scores=largest(scores, found[0]), labels=int(wrong.sum()))

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """Probabilities within the tolerance, the same labels."""
        return dict(scores=tolerance, labels=0)


class Segmenter(EndToEnd):
    """Images to the class of each pixel (mmsegmentation)."""

    names = ('label_map',)
    says = ('[N, H, W] int64, the class of each pixel of the input',)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        mode = model.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            raise unsupported(
                f'test_cfg.mode={mode!r}',
                "images are cut in windows; set it to 'whole' where that is as good",
            )
        if not made_by(model, 'postprocess_result', 'mmseg.BaseSegmentor'):
            raise unsupported(model)

    def logits(self, images: Tensor) -> Tensor:
        """``Tensor[N, K, H, W]``, one K for each class."""
        size = tuple(images.shape[2:])
        metas = [dict(img_shape=size, ori_shape=size, pad_shape=size)]  # all are of one size
        return self.model.encode_decode(images, metas)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to the label map."""
        logits = self.logits(images)
        if logits.shape[1] > 1:
            return (logits.argmax(dim=1),)
        return ((logits[:, 0].sigmoid() > self.model.decode_head.threshold).long(),)

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """By ``predict``."""
        predicted = self.model.predict(images)
        return (torch.stack([sample.pred_sem_seg.data[0].long() for sample in predicted]),)

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        logits = self.logits(images)
        unsure = undecided(logits, tolerance)
        if logits.shape[1] == 1:
            scores = logits[:, 0].sigmoid()
            unsure = (scores - self.model.decode_head.threshold).abs() < tolerance
        return dict(label_map=int(((expected[0] != found[0]) & ~unsure).sum()))

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """The same labels."""
        return dict(label_map=0)


class Pose(EndToEnd):
    """Crops of one object each to its key points (mmpose, heatmaps and SimCC)."""

    names = ('keypoints', 'scores')
    says = (
        '[N, K, 2] x and y of the K key points, in pixels of the input',
        '[N, K], how sure each is',
    )

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        codec = getattr(model.head, 'decoder', None)
        if codec is None:
            raise unsupported(model.head, 'it has no decoder')
        self.decode: Callable[[Any], tuple[Tensor, ...]]
        if made_by(codec, 'decode', 'mmpose.MSRAHeatmap') and not codec.unbiased:
            self.decode = self._heatmaps
        elif made_by(codec, 'decode', 'mmpose.SimCCLabel') and not codec.use_dark:
            self.decode = self._bins
        else:
            known = 'key points are read off MSRAHeatmap and SimCCLabel, without refinement'
            raise unsupported(codec, known)
        if not made_by(model.head, 'decode', 'mmpose.BaseHead'):
            raise unsupported(model.head)
        if model.test_cfg.get('flip_test', False):
            self.left.append(
                'The graph looks at an image once; the library, as the config is, at its mirror '
                'image too (`test_cfg.flip_test`), and takes the mean.'
            )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to places and scores."""
        return self.decode(self.model(images, None, mode='tensor'))

    def _heatmaps(self, heatmaps: Tensor) -> tuple[Tensor, ...]:
        """The highest place of each map, a quarter of a pixel towards its higher neighbour."""
        height, width = sides(heatmaps)
        flat = heatmaps.flatten(2)
        scores, at = flat.max(dim=2)
        x, y = at % width, at // width
        # By the library's rule the second row and column aren't refined, for want of a neighbour.
        dx, dy = self._steps(flat, x, y, height, width)
        quarter = 0.25 * torch.stack([dx.sign(), dy.sign()], dim=2)
        places = torch.stack([x, y], dim=2).to(heatmaps.dtype) + quarter
        places = torch.where((scores > 0)[..., None], places, -torch.ones_like(places))
        scale = places.new_tensor([float(s) for s in self.model.head.decoder.scale_factor])
        return places * scale, scores

    def _steps(
        self, flat: Tensor, x: Tensor, y: Tensor, height: Tensor, width: Tensor
    ) -> tuple[Tensor, Tensor]:
        """By how much the next values to the right and below are higher than those before."""

        def rise(inside: Tensor, step: Tensor) -> Tensor:
            place = y * width + x
            # Outside, some place that there is, whose value doesn't count.
            both = [torch.where(inside, place + by, place) for by in (step, -step)]
            after, before = (take(flat.flatten(0, 1), at.flatten(0, 1)[:, None]) for at in both)
            gap = (after - before).reshape(place.shape)
            return torch.where(inside, gap, torch.zeros_like(gap))

        dx = rise((x > 1) & (x < width - 1) & (y > 0) & (y < height), torch.ones_like(width))
        return dx, rise((y > 1) & (y < height - 1) & (x > 0) & (x < width), width)

    def _bins(self, rows: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The best of the bins of each axis."""
        best = [row.max(dim=2) for row in rows]
        scores = torch.minimum(best[0].values, best[1].values)
        places = torch.stack([found.indices for found in best], dim=2).to(scores.dtype)
        places = torch.where((scores > 0)[..., None], places, -torch.ones_like(places))
        return places / float(self.model.head.decoder.simcc_split_ratio), scores

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """By the head's ``predict``, without the way back to the whole photograph."""
        features = self.model.extract_feat(images)
        predicted = self.model.head.predict(features, self.samples(images), test_cfg={})
        return tuple(
            torch.stack([torch.as_tensor(sample[key][0]) for sample in predicted]).float()
            for key in ('keypoints', 'keypoint_scores')
        )

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        raw = self.model(images, None, mode='tensor')
        if isinstance(raw, Tensor):
            flat = raw.flatten(2)
            at = flat.argmax(dim=2)
            height, width = sides(raw)
            steps = self._steps(flat, at % width, at // width, height, width)
            close = tolerance * max(1.0, float(flat.abs().max()))
            unsure = undecided(flat, tolerance, dim=2) | (expected[1].abs() < close)
            for step in steps:
                unsure = unsure | ((step != 0) & (step.abs() < close))
        else:
            unsure = undecided(raw[0], tolerance, dim=2) | undecided(raw[1], tolerance, dim=2)
        sure = ~unsure[..., None]
        return dict(
            keypoints=largest(expected[0] * sure, found[0] * sure),
            scores=largest(expected[1], found[1]),
        )

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """A thousandth of a pixel; scores within the tolerance."""
        return dict(keypoints=1e-3, scores=max(tolerance, 1e-3))


def sides(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Height and width as tensors: a graph can compare these when both are free."""
    height, width = (torch.full((), side, dtype=torch.long) for side in maps.shape[2:])
    return height, width


class SuperResolution(EndToEnd):
    """Images to larger ones (mmcompress)."""

    names = ('pred_images',)
    says = ('[N, C, sH, sW], the images s times as large, 0 to 255, not rounded',)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        # Tiles would give the same, and a runtime may cut images in tiles itself.
        model.test_cfg = dict(model.test_cfg, chop=None)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, C, H, W]`` to ``Tensor[N, C, sH, sW]``."""
        enlarged = self.model.enlarge(images)
        return (self.model.data_preprocessor.restore(enlarged).clamp(0, 255),)

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """By ``predict``."""
        return (torch.stack([sample.pred_img for sample in self.model.predict(images)]),)

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        return dict(pred_images=largest(expected[0], found[0]))

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """A share of the 255 grey levels."""
        return dict(pred_images=255 * tolerance)
