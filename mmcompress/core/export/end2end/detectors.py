"""Detectors of mmdet, from images to boxes.

The heads' own prior generators, box coders and ``test_cfg`` are used. What the library does image
by image on as many boxes as there are is done for the whole batch on as many as there can be:
those that don't count have the score ``NO_SCORE``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base import EndToEnd, largest, made_by, take, unsupported
from .ops import LOWEST, NO_SCORE, crop_levels, keep_best

#: How many boxes an image has at most, where ``test_cfg`` names no limit.
MOST = 300


class Candidates:
    """Boxes of a batch before suppression.

    Args:
        boxes: Tensor[N, A, 4].
        scores: Tensor[N, A]; ``NO_SCORE`` where there is none.
        labels: LongTensor[N, A], the groups that boxes are suppressed in.
    """

    def __init__(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> None:
        self.boxes, self.scores, self.labels = boxes, scores, labels

    def best(self, nms: Any, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """What suppression leaves, by falling score.

        Args:
            nms: The library's settings.
            most: M.

        Returns:
            ``Tensor[N, M, 4]``, ``Tensor[N, M]`` and ``LongTensor[N, M]``, filled up with boxes
            of zeros, scores of 0 and labels of -1.
        """
        there = self.scores > LOWEST
        boxes = self.boxes
        if not nms.get('class_agnostic', False):
            # mmcv's way to suppress class by class: each class in a place of its own.
            place = torch.where(there[..., None], boxes, torch.zeros_like(boxes)).amax(dim=(1, 2))
            boxes = boxes + (self.labels.to(boxes) * (place[:, None] + 1))[..., None]
        iou = nms.get('iou_threshold', nms.get('iou_thr'))
        kept = keep_best(boxes, self.scores, float(iou), most)
        there = kept >= 0
        at = kept.clamp(min=0)
        found = take(self.boxes, at)
        return (
            torch.where(there[..., None], found, torch.zeros_like(found)),
            torch.where(there, take(self.scores, at), torch.zeros_like(found[..., 0])),
            torch.where(there, take(self.labels, at), torch.full_like(at, -1)),
        )


def together(parts: list[Candidates]) -> Candidates:
    """Those of all levels."""
    boxes = torch.cat([part.boxes for part in parts], dim=1)
    scores = torch.cat([part.scores for part in parts], dim=1)
    return Candidates(boxes, scores, torch.cat([part.labels for part in parts], dim=1))


def top(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The best scores of each image and where they are; ``NO_SCORE`` where there are less.

    Args:
        scores: Tensor[N, A].
        most: How many; all of them, in their order, where it isn't above 0.
    """
    n, length = scores.shape
    if most <= 0:
        return scores, torch.arange(length, device=scores.device).expand(n, length)
    # So that there are always as many as are asked for, on small images as well.
    filled = torch.cat([scores, scores.new_full((n, most), NO_SCORE)], dim=1)
    best, at = filled.topk(most, dim=1)
    return best, torch.where(best > LOWEST, at, torch.zeros_like(at))


def decoded(coder: Any, priors: Tensor, deltas: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes, clipped to the images where the coder clips.

    Args:
        coder: The library's.
        priors: Tensor[N, A, 2 or 4].
        deltas: Tensor[N, A, 4].
        size: Height and width of the images.

    Returns:
        Tensor[N, A, 4].
    """
    n, length = deltas.shape[:2]
    boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
    boxes = getattr(boxes, 'tensor', boxes).reshape(n, length, 4)
    return clipped(boxes, size) if getattr(coder, 'clip_border', False) else boxes


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes within images of a height and width."""
    height, width = size
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def large_enough(boxes: Tensor, scores: Tensor, cfg: Any) -> Tensor:
    """``NO_SCORE`` for boxes of at most ``min_bbox_size``."""
    least = cfg.get('min_bbox_size', -1)
    if least < 0:
        return scores
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.where((sides > least).all(dim=-1), scores, torch.full_like(scores, NO_SCORE))


def flat(level: Tensor, width: int) -> Tensor:
    """``Tensor[N, a * width, H, W]`` of a head to ``Tensor[N, H * W * a, width]``."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width)


def probabilities(head: Any, logits: Tensor) -> Tensor:
    """``Tensor[N, A, K]`` of the classes without that of the background."""
    if getattr(head.loss_cls, 'custom_cls_channels', False):
        return head.loss_cls.get_activation(logits)
    return logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]


def dense_candidates(
    head: Any, outputs: Any, cfg: Any, size: tuple[int, int], labels_are_levels: bool = False
) -> Candidates:
    """``BaseDenseHead._predict_by_feat_single`` and its sister of ``RPNHead``, up to suppression.

    Args:
        head: A dense head.
        outputs: What its forward pass returned.
        cfg: Its ``test_cfg``.
        size: Height and width of the images.
        labels_are_levels: Suppress level by level and without a threshold, as for proposals.
    """
    classes, deltas, *factors = outputs
    priors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in classes], dtype=classes[0].dtype, device=classes[0].device
    )
    parts = []
    for number, (logits, delta, prior) in enumerate(zip(classes, deltas, priors, strict=True)):
        scores = probabilities(head, flat(logits, head.cls_out_channels))
        kinds = scores.shape[2]
        values = scores.flatten(1)
        if not labels_are_levels:
            # Those of at most the threshold don't count, and the rest by falling score.
            there = values > cfg.get('score_thr', 0)
            values = torch.where(there, values, torch.full_like(values, NO_SCORE))
        values, at = top(values, cfg.get('nms_pre', -1))
        where, labels = at // kinds, at % kinds
        if labels_are_levels:
            labels = torch.full_like(labels, number)
        if factors and not labels_are_levels:
            factor = take(flat(factors[0][number], 1)[..., 0].sigmoid(), where)
            values = torch.where(values > LOWEST, values * factor, values)
        chosen = prior.index_select(0, where.flatten()).reshape(*where.shape, -1)
        delta = take(flat(delta, head.bbox_coder.encode_size), where)
        boxes = decoded(head.bbox_coder, chosen, delta, size)
        parts.append(Candidates(boxes, large_enough(boxes, values, cfg), labels))
    return together(parts)


def yolox_candidates(head: Any, outputs: Any, cfg: Any) -> Candidates:
    """``YOLOXHead.predict_by_feat``, up to suppression."""
    levels, deltas, objectness = outputs
    priors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in levels],
        dtype=levels[0].dtype,
        device=levels[0].device,
        with_stride=True,
    )
    scores = torch.cat([flat(level, head.cls_out_channels) for level in levels], dim=1).sigmoid()
    sure = torch.cat([flat(level, 1)[..., 0] for level in objectness], dim=1).sigmoid()
    boxes = head._bbox_decode(
        torch.cat(priors), torch.cat([flat(level, 4) for level in deltas], dim=1)
    )
    best, labels = scores.max(dim=2)
    values = best * sure
    there = values >= cfg.score_thr
    return Candidates(boxes, torch.where(there, values, torch.full_like(values, NO_SCORE)), labels)


def check_nms(nms: Any, key: str) -> None:
    """See that suppression is the plain one.

    Raises:
        CompressionError: If it is another.
    """
    kind = None if nms is None else nms.get('type', 'nms')
    if kind != 'nms':
        raise unsupported(f'{key}.type={kind!r}', "ONNX knows 'nms' alone")
    for name, plain in (('offset', 0), ('score_threshold', 0)):
        if nms.get(name, plain) != plain:
            raise unsupported(f'{key}.{name}={nms[name]!r}', f'ONNX knows {plain} alone')


def limit(cfg: Any) -> int | None:
    """How many boxes of an image stay, if settings say so."""
    numbers = [cfg.get('max_per_img', -1), cfg.nms.get('max_num', -1)]
    return min((number for number in numbers if number > 0), default=None)


class Detector(EndToEnd):
    """What detectors have in common: what comes out, and how it is compared."""

    names = ('boxes', 'scores', 'labels')
    cfg: Any
    most: int

    def finish(self, cfg: Any, key: str) -> None:
        """Take the settings of what comes last."""
        check_nms(cfg.get('nms'), key)
        found = limit(cfg)
        self.cfg, self.most = cfg, found or MOST
        self.says = (
            f'[N, {self.most}, 4] left, top, right, bottom in pixels of the input, best first; '
            'rows of zeros behind the last',
            f'[N, {self.most}], 0 behind the last',
            f'[N, {self.most}] int64, the class, -1 behind the last',
        )
        if found is None:
            self.left.append(
                f'The best {MOST} boxes of an image come out; the library, as the config is, has '
                'no limit.'
            )
        self.left.append(
            'Boxes are clipped to the input. Where an image was padded at the right and at the '
            'bottom, clip them to the image; the library does so before suppression.'
        )

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """By ``predict``."""
        boxes = images.new_zeros(len(images), self.most, 4)
        scores = images.new_zeros(len(images), self.most)
        labels = torch.full(scores.shape, -1)
        predicted = self.model.predict(images, self.samples(images), rescale=False)
        for i, sample in enumerate(predicted):
            found = sample.pred_instances[: self.most]
            there = slice(0, len(found))
            given = getattr(found.bboxes, 'tensor', found.bboxes)
            boxes[i, there], scores[i, there], labels[i, there] = given, found.scores, found.labels
        return boxes, scores, labels

    def _differences(
        self, images: Tensor, expected: tuple[Tensor, ...], found: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        worst = dict(boxes=0.0, scores=0.0, labels=0)
        for image in range(len(images)):
            ours, theirs = ([part[image] for part in side] for side in (found, expected))
            for name, gap in self._one_image(ours, theirs, tolerance).items():
                worst[name] = worst[name] + gap if name == 'labels' else max(worst[name], gap)
        return worst

    def _one_image(
        self, found: list[Tensor], expected: list[Tensor], tolerance: float
    ) -> dict[str, float]:
        """Match boxes of a label; ``labels`` counts those that have no partner and should."""
        found, expected = ([part[side[2] >= 0] for part in side] for side in (found, expected))
        gaps = (found[0][:, None] - expected[0][None]).abs().amax(dim=2)
        gaps = gaps + (found[1][:, None] - expected[1][None]).abs()
        gaps = torch.where(found[2][:, None] == expected[2][None], gaps, torch.inf)
        pairs = []
        for index in range(len(found[0])):
            if gaps.shape[1] and float(gaps[index].min()) < 1:
                partner = int(gaps[index].argmin())
                pairs.append((index, partner))
                gaps[:, partner] = torch.inf
        left = set(range(len(found[0]))) - {one for one, _ in pairs}
        missing = set(range(len(expected[0]))) - {other for _, other in pairs}
        # The lowest score that counts: rounding decides on which side of it a box is.
        lowest = [float(self.cfg.get('score_thr', 0))]
        for side in (found, expected):
            lowest += [float(side[1].min())] if len(side[1]) == self.most else []
        unmatched = [float(found[1][i]) for i in left] + [float(expected[1][i]) for i in missing]
        wrong = sum(score > max(lowest) + tolerance for score in unmatched)
        one, other = ([pair[side] for pair in pairs] for side in (0, 1))
        return dict(
            boxes=largest(found[0][one], expected[0][other]),
            scores=largest(found[1][one], expected[1][other]),
            labels=wrong,
        )

    def limits(self, images: Tensor, tolerance: float) -> dict[str, float]:
        """Boxes within a share of the longer side, scores within the tolerance, every label."""
        return dict(boxes=tolerance * max(images.shape[2:]), scores=max(tolerance, 1e-3), labels=0)


class OneStage(Detector):
    """Detectors with a dense head: RetinaNet, FCOS, ATSS, RTMDet, YOLOX and more."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        head = model.bbox_head
        self.yolox = made_by(head, 'predict_by_feat', 'mmdet.YOLOXHead')
        if not self.yolox and not plain_dense(head):
            raise unsupported(head)
        if not made_by(model, 'predict', 'mmdet.SingleStageDetector'):
            raise unsupported(model)
        self.finish(head.test_cfg, 'test_cfg.nms')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to boxes, scores and labels."""
        head = self.model.bbox_head
        outputs = head(self.model.extract_feat(images))
        if self.yolox:
            found = yolox_candidates(head, outputs, self.cfg)
        else:
            height, width = images.shape[2:]
            found = dense_candidates(head, outputs, self.cfg, (height, width))
        return found.best(self.cfg.nms, self.most)


def plain_dense(head: Any) -> bool:
    """Whether a head does what ``BaseDenseHead`` does, and nothing else."""
    steps = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
    return all(made_by(head, step, 'mmdet.BaseDenseHead') for step in steps)


class TwoStage(Detector):
    """Faster R-CNN and its like: proposals, and a head that looks at each."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        rpn, roi = model.rpn_head, model.roi_head
        if not made_by(model, 'predict', 'mmdet.TwoStageDetector'):
            raise unsupported(model)
        steps = ('_predict_by_feat_single', '_bbox_post_process')
        if not all(made_by(rpn, step, 'mmdet.RPNHead') for step in steps):
            raise unsupported(rpn)
        steps = ('predict_bbox', '_bbox_forward')
        if not all(made_by(roi, step, 'mmdet.StandardRoIHead') for step in steps):
            raise unsupported(roi)
        if roi.with_mask:
            raise unsupported(roi.mask_head, 'masks are not part of it')
        if not made_by(roi.bbox_head, '_predict_by_feat_single', 'mmdet.BBoxHead'):
            raise unsupported(roi.bbox_head)
        check_nms(rpn.test_cfg.get('nms'), 'test_cfg.rpn.nms')
        proposals = limit(rpn.test_cfg)
        if proposals is None:
            raise unsupported('test_cfg.rpn.max_per_img', 'it has to be above 0')
        self.proposals = proposals
        self.crops = Crops(roi.bbox_roi_extractor)
        self.finish(roi.test_cfg, 'test_cfg.rcnn.nms')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map ``Tensor[N, 3, H, W]`` to boxes, scores and labels."""
        rpn, roi = self.model.rpn_head, self.model.roi_head
        height, width = images.shape[2:]
        size = height, width
        features = self.model.extract_feat(images)
        found = dense_candidates(rpn, rpn(features), rpn.test_cfg, size, labels_are_levels=True)
        boxes, scores, labels = found.best(rpn.test_cfg.nms, self.proposals)
        n, count = scores.shape
        image = torch.arange(n, device=boxes.device).to(boxes)[:, None, None]
        rois = torch.cat([image.expand(n, count, 1), boxes], dim=2).flatten(0, 1)
        crops = self.crops(features, rois)
        if roi.with_shared_head:
            crops = roi.shared_head(crops)
        classes, deltas = roi.bbox_head(crops)
        head = roi.bbox_head
        if head.custom_cls_channels:
            scores = head.loss_cls.get_activation(classes)[:, :-1]
        else:
            scores = classes.softmax(-1)[:, :-1]
        kinds = scores.shape[1]
        ways = 1 if head.reg_class_agnostic else kinds
        priors = rois[:, None, 1:].expand(-1, ways, 4).reshape(n, count * ways, 4)
        decoded_boxes = decoded(
            head.bbox_coder, priors, deltas.reshape(n, count * ways, 4), size
        ).reshape(n, count, ways, 4)
        decoded_boxes = decoded_boxes.expand(n, count, kinds, 4).reshape(n, count * kinds, 4)
        scores = scores.reshape(n, count, kinds)
        there = (scores > self.cfg.score_thr) & (labels >= 0)[..., None]
        scores = torch.where(there, scores, torch.full_like(scores, NO_SCORE)).flatten(1)
        label = torch.arange(kinds, device=scores.device).expand(n, count, kinds).flatten(1)
        return Candidates(decoded_boxes, scores, label).best(self.cfg.nms, self.most)


class Crops(nn.Module):
    """``SingleRoIExtractor`` as one operation."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        if not made_by(extractor, 'forward', 'mmdet.SingleRoIExtractor'):
            raise unsupported(extractor)
        for layer in extractor.roi_layers:
            if type(layer).__name__ != 'RoIAlign' or layer.pool_mode != 'avg':
                raise unsupported(layer, 'regions are cropped by RoIAlign with means')
        self.extractor = extractor

    def forward(self, features: Any, rois: Tensor) -> Tensor:
        """Map ``Tensor[R, 5]`` to ``Tensor[R, C, h, w]``."""
        layers = self.extractor.roi_layers
        features = list(features[: self.extractor.num_inputs])
        return crop_levels(
            features,
            rois,
            self.extractor.map_roi_levels(rois, len(features)),
            [int(side) for side in layers[0].output_size],
            [float(layer.spatial_scale) for layer in layers],
            int(layers[0].sampling_ratio),
            bool(layers[0].aligned),
        )
