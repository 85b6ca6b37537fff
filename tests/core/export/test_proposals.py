"""core/export/proposals.py: detectors are compared on the same proposals."""

import copy
from pathlib import Path

import mmdet.models  # noqa: F401
import torch

from mmcompress.cli.launch import build_algorithm, load_config
from mmcompress.core.export.export import compare

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
