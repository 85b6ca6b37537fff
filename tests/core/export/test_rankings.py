"""core/export/rankings.py: networks are compared on the same proposals and points."""

import copy
from pathlib import Path

import mmdet.models  # noqa: F401
import torch
from mmseg.models.decode_heads.point_head import PointHead, calculate_uncertainty
from torch import nn

from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.core.export.export import compare
from mmcompress.core.export.rankings import Rankings

CONFIG = Path(__file__).resolve().parents[3] / 'configs/demo/dcff_faster-rcnn_r18_digits.py'


def test_scores_that_rounding_turns_around():
    """Two detectors that differ by rounding, and rank their proposals in another order."""
    torch.manual_seed(0)
    cfg = load_config(str(CONFIG))
    cfg.model.architecture.backbone.init_cfg = None
    algorithm = build_algorithm(cfg)
    rpn = algorithm.architecture.rpn_head
    torch.nn.init.normal_(rpn.rpn_cls.weight, std=1e-7)
    static = copy.deepcopy(algorithm.architecture)
    torch.nn.init.normal_(static.rpn_head.rpn_cls.weight, std=1e-7)
    difference, _ = compare(algorithm, static)
    assert 0 < difference < 1e-5
    # The maps that proposals are made of are compared too.
    torch.nn.init.normal_(static.rpn_head.rpn_reg.weight, std=1e-2)
    assert compare(algorithm, static)[0] > 1e-4
    assert 'predict_by_feat' not in vars(static.rpn_head)


def test_points_that_rounding_turns_around():
    """PointRend refines the most uncertain points: of two networks, the same ones."""
    head = PointHead(in_channels=[4], in_index=[0], channels=4, num_classes=3, num_fcs=1)
    model = nn.ModuleDict(dict(decode_head=head))
    settings = dict(subdivision_num_points=8, num_points=8, oversample_ratio=3)
    settings = type('Settings', (), dict(settings, importance_sample_ratio=0.75))
    logits = torch.rand(1, 3, 8, 8) * 1e-7
    rankings, found = Rankings(), []
    for first in (True, False):
        noise = 0 if first else torch.rand_like(logits) * 1e-7
        with rankings.of(model, first):
            for name in ('get_points_test', 'get_points_train'):
                torch.manual_seed(0)
                choose = getattr(head, name)
                found.append(choose(logits + noise, calculate_uncertainty, cfg=settings))
        assert len(rankings.maps) == 2
    test, train, test_again, train_again = found
    assert all(torch.equal(a, b) for a, b in zip(test, test_again, strict=True))
    assert torch.equal(train, train_again)
    assert 'get_points_test' not in vars(head)
    other = head.get_points_test(logits + noise, calculate_uncertainty, cfg=settings)
    assert not torch.equal(test[0], other[0])
